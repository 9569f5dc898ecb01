# shellcheck shell=sh
# shellcheck disable=SC2154,SC2034 # install.sh has set what is used here, and uses what is set
# The part of the installation that changes the host. install.sh sources it from a release that it verified,
# and has the names that it uses: what was asked for, checked and fetched.

set_up() {
  step "system packages"
  # shellcheck disable=SC2086 # a list of names
  install_packages $packages
  step "user, directories and configuration"
  make_user
  write_configuration
  step "agent environment, version $version"
  make_environment
  make_engine
  previous=$(readlink "$OPT/current" 2>/dev/null || true)
  switch_to "versions/$id"
  step "enrolling"
  enrol
  undo=nothing
  if have_systemd; then
    start_service
    say "done. daalu-agent status shows this host; $OPT/uninstall.sh removes it"
  else
    run_in_foreground
  fi
}

make_user() {
  getent group "$USER_NAME" >/dev/null || groupadd --system "$USER_NAME"
  getent passwd "$USER_NAME" >/dev/null || useradd --system --gid "$USER_NAME" --no-create-home \
    --home-dir "$STATE" --shell /usr/sbin/nologin "$USER_NAME"
  install -d -m 0755 "$OPT" "$OPT/versions" "$ETC"
  install -d -m 0700 -o "$USER_NAME" -g "$USER_NAME" "$STATE"
  if [ ! -d "$models" ]; then
    install -d -m 0755 -o "$USER_NAME" -g "$USER_NAME" "$models"
  elif [ "$(stat -c %U "$models")" != "$USER_NAME" ]; then
    say "  $models stays as it is: the user $USER_NAME must be able to read it, and to write it for downloads"
  fi
}

# put FILE MODE: from standard input, whole or not at all.
put() {
  cat >"$1.new"
  chmod "$2" "$1.new"
  mv -f "$1.new" "$1"
}

write_configuration() {
  echo "$release_key" | put "$ETC/release.pub" 0644
  printf '%s\n%s\n' "$url" "$pin" | put "$ETC/control-plane" 0644
  if [ -e "$ETC/agent.toml" ]; then
    say "  $ETC/agent.toml stays as it is"
    models=$(sed -n 's/^models = "\(.*\)"$/\1/p' "$ETC/agent.toml")
    models=${models:-$STATE/models}
  else
    {
      echo "# daalu-agent --help lists the settings. After a change: systemctl restart daalu-agent"
      printf 'engine_python = "%s"\nmodels = "%s"\n' "$engine_python" "$models"
      [ -z "$card" ] || printf 'simulated_card = "%s"\n' "$card"
    } | put "$ETC/agent.toml" 0644
  fi
  put "$COMMAND" 0755 <<COMMAND_TEXT
#!/bin/sh
# daalu-agent as the user that its state belongs to, with the one capability that its tunnel needs.
[ "\$(id -u)" = 0 ] || exec $OPT/current/bin/daalu-agent "\$@"
[ -d /run/wireguard ] || install -d -o $USER_NAME -g $USER_NAME /run/wireguard
HOME=$STATE exec setpriv --reuid $USER_NAME --regid $USER_NAME --init-groups --inh-caps=-all,+net_admin \\
  --ambient-caps=-all,+net_admin --bounding-set=-all,+net_admin $OPT/current/bin/daalu-agent "\$@"
COMMAND_TEXT
  cp "$release/install.sh" "$release/uninstall.sh" "$OPT/"
  chmod 0755 "$OPT/install.sh" "$OPT/uninstall.sh"
}

make_environment() {
  environment=$OPT/versions/$id
  [ ! -e "$environment/.complete" ] || return 0
  rm -rf "$environment"
  if [ "$python" = uv ]; then
    UV_PYTHON_INSTALL_DIR=$OPT/python uv --no-config venv --seed --python 3.12 "$environment" >&2 || die "uv could not bring a Python"
  else
    "$python" -I -m venv "$environment" >&2 || die "$python could not make an environment: its words are above"
  fi
  # Nothing but what was fetched and verified, whatever this host's pip is configured to do.
  PIP_CONFIG_FILE=/dev/null "$environment/bin/python" -I -m pip --isolated install --quiet --disable-pip-version-check --no-input --no-cache-dir \
    --no-index --no-deps --require-hashes --find-links "$release" -r "$release/requirements.txt" >&2 \
    || die "pip could not install the agent: its words are above"
  found=$("$environment/bin/daalu-agent" version) || die "the new version does not start: its words are above"
  [ "$found" = "$version" ] || die "the release says version $version, its agent $found: tell your operator"
  cp "$release/daalu-agent.service" "$environment/"
  touch "$environment/.complete"
}

make_engine() {
  [ "$engine" = pip ] || return 0
  [ ! -e "$OPT/engine/.complete" ] || return 0
  [ -e "$release/engine.txt" ] || die "this release carries no list of engine packages: --engine none, and see its README"
  step "engine environment: vLLM, some GB from the public package index"
  rm -rf "$OPT/engine"
  "$environment/bin/python" -I -m venv "$OPT/engine"
  "$OPT/engine/bin/python" -I -m pip install --disable-pip-version-check --no-input --no-cache-dir --require-hashes \
    -r "$release/engine.txt" >&2 || die "pip could not install the engine: its words are above"
  touch "$OPT/engine/.complete"
}

# switch_to VERSION: in one rename; the unit goes with the version.
switch_to() {
  ln -sfn "$1" "$OPT/current.new"
  mv -Tf "$OPT/current.new" "$OPT/current"
  have_systemd || return 0
  put "$UNIT" 0644 <"$OPT/current/daalu-agent.service"
  if [ "${models#"$STATE"}" = "$models" ]; then
    mkdir -p "$UNIT.d"
    printf '[Service]\nReadWritePaths="%s"\n' "$models" | put "$UNIT.d/models.conf" 0644
  fi
  # Loaded at each boot before the service starts, since its rules name the devices that are there then.
  if command -v nvidia-smi >/dev/null && [ ! -e /etc/modules-load.d/daalu-agent.conf ]; then
    echo nvidia-uvm | put /etc/modules-load.d/daalu-agent.conf 0644
    modprobe nvidia-uvm 2>/dev/null || say "  the module nvidia-uvm is not loaded yet: a restart of this host does it"
  fi
  systemctl daemon-reload
}

enrol() {
  if [ -e "$STATE/identity.json" ]; then
    say "  this host is enrolled already and stays who it is"
    return
  fi
  printf '%s\n' "$invite" | "$COMMAND" enrol --name "${name:-$(uname -n)}" - >&2 || die "not enrolled: the reason is above"
}

# ---- running ----

have_systemd() { [ -d /run/systemd/system ]; }

start_service() {
  step "starting"
  systemctl enable --quiet daalu-agent
  if start_and_wait; then
    remove_old_versions
    return
  fi
  say "the last of its log:"
  journalctl -q -u daalu-agent -n 15 --no-pager -o cat >&2 || true
  if [ -z "$previous" ] || [ "$previous" = "versions/$id" ]; then
    die "installed and enrolled, and not connected: the reason is above. Paste the line again once it is mended"
  fi
  step "going back to ${previous#versions/}"
  switch_to "$previous"
  start_and_wait || die "version $id did not connect, and neither does ${previous#versions/}: journalctl -u daalu-agent"
  rm -rf "${OPT:?}/versions/$id"
  die "version $id did not connect and was taken back; ${previous#versions/} runs again, as before"
}

start_and_wait() {
  systemctl reset-failed daalu-agent 2>/dev/null || true
  systemctl restart daalu-agent && "$COMMAND" wait --timeout "$wait_s"
}

# The one before stays, to go back to by hand.
remove_old_versions() {
  for each in "$OPT"/versions/*; do
    case versions/${each##*/} in "versions/$id" | "$previous") ;; *) rm -rf "$each" ;; esac
  done
}

run_in_foreground() {
  say "no systemd runs here. The agent runs in the foreground, and takes tunnel and engine down when it ends:"
  say "    daalu-agent run --ephemeral"
  [ "$start" = yes ] || return 0
  if "$COMMAND" wait --timeout 1 2>/dev/null; then
    say "it runs already; stop that one and start it again to have version $version"
    return
  fi
  rm -rf "$work"
  exec 9>&-
  "$COMMAND" run --ephemeral &
  daemon=$!
  trap 'kill -TERM $daemon 2>/dev/null' INT TERM HUP
  "$COMMAND" wait --timeout "$wait_s" || { kill -TERM "$daemon" 2>/dev/null || true; wait "$daemon" || true; exit 1; }
  say "done; Ctrl-C ends it"
  # A signal ends a wait before the daemon has ended.
  while kill -0 "$daemon" 2>/dev/null; do wait "$daemon" || true; done
}
