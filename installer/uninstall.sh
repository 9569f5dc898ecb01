#!/bin/sh
# Takes the agent off this host: ends what runs, revokes it, and removes all that install.sh brought.
#
# Usage: uninstall.sh [--purge-models] [--keep-packages] [--no-revoke]
#
# The NVIDIA driver stays, and so do models, unless --purge-models is given. Safe to run twice.
# Exit status: 0 done; 3 done, but the control plane could not be told; 1 it failed; 2 wrong usage.

set -eu

OPT=/opt/daalu-agent
ETC=/etc/daalu-agent
STATE=/var/lib/daalu-agent
UNIT=/etc/systemd/system/daalu-agent.service
COMMAND=/usr/local/bin/daalu-agent
LOCK=/run/daalu-agent-install.lock
USER_NAME=daalu-agent
END_S=15

say() { printf '%s\n' "$*" >&2; }

die() {
  say "uninstall.sh: $*"
  exit 1
}

main() {
  purge_models=no keep_packages=no revoke=yes status=0
  for each in "$@"; do
    case $each in
      --purge-models) purge_models=yes ;;
      --keep-packages) keep_packages=yes ;;
      # --undo: of an installation that did not come to its enrolment.
      --no-revoke | --undo) revoke=no ;;
      -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;;
      *) say "uninstall.sh: there is no option $each (--help lists them)"; exit 2 ;;
    esac
  done
  [ "$(id -u)" = 0 ] || die "run it as root"
  exec 9>"$LOCK"
  flock -n 9 || die "another install.sh or uninstall.sh is at work on this host: wait for it"
  if [ ! -e "$OPT" ] && [ ! -e "$ETC" ] && [ ! -e "$STATE/identity.json" ] && ! getent passwd "$USER_NAME" >/dev/null; then
    say "nothing of daalu-agent is on this host"
    return
  fi
  stop
  [ "$revoke" = no ] || leave_control_plane
  remove_files
  remove_user
  remove_packages
  rm -rf "$OPT"
  rm -f "$LOCK"
  say "daalu-agent is off this host"
  exit "$status"
}

leave_control_plane() {
  [ -e "$STATE/identity.json" ] || return 0
  if ! "$COMMAND" leave; then
    say "THE CONTROL PLANE COULD NOT BE TOLD, and still knows this host: have your operator run"
    say "    daalu agents revoke $(sed -n 's/^ *"agent_id": "\(.*\)",*$/\1/p' "$STATE/identity.json")"
    status=3
  fi
}

stop() {
  if [ -d /run/systemd/system ] && [ -e "$UNIT" ]; then
    systemctl disable --quiet --now daalu-agent || die "systemd could not stop daalu-agent: systemctl status daalu-agent"
  fi
  # Engine and tunnel outlive the daemon: it takes them down, and what it cannot is ended below.
  if [ -e "$OPT/current/.complete" ] && [ -d "$STATE" ]; then
    "$COMMAND" down >/dev/null || say "daalu-agent down failed: ending its processes by hand"
  fi
  end_processes
}

# Whatever still runs as the agent's user, which is nobody else's.
end_processes() {
  owner=$(id -u "$USER_NAME" 2>/dev/null) || return 0
  waited=0
  while [ "$waited" -le $(( END_S + 5 )) ]; do
    signal=TERM
    [ "$waited" -lt "$END_S" ] || signal=KILL
    running=no
    for each in /proc/[0-9]*; do
      if [ "$(stat -c %u "$each" 2>/dev/null)" = "$owner" ] && ! grep -qs '^State:.Z' "$each/status"; then
        running=yes
        [ "$waited" != 0 ] && [ "$waited" -lt "$END_S" ] || kill -s "$signal" "${each#/proc/}" 2>/dev/null || true
      fi
    done
    [ "$running" = yes ] || return 0
    sleep 1
    waited=$(( waited + 1 ))
  done
  die "processes of the user $USER_NAME do not end: ps -u $USER_NAME"
}

remove_files() {
  models=$(sed -n 's/^models = "\(.*\)"$/\1/p' "$ETC/agent.toml" 2>/dev/null || true)
  models=${models:-$STATE/models}
  while [ "$models" != / ] && [ "${models%/}" != "$models" ]; do models=${models%/}; done
  if [ "$purge_models" = yes ]; then
    # Whoever set models to / or /srv did not mean all that is there.
    case $models in *//* | */../* | */..) say "$models is no plain path: see to it yourself" ;; /?*/?*) rm -rf "$models" ;; *) say "$models is too much to remove: see to it yourself" ;; esac
  elif [ -n "$(ls -A "$models" 2>/dev/null)" ]; then
    chown -R --from="$USER_NAME" root:root "$models"
    say "models stay in $models: rm -r $models removes them"
  elif [ "$(stat -c %U "$models" 2>/dev/null)" = "$USER_NAME" ]; then
    rmdir "$models"
  fi
  rm -rf "$UNIT" "$UNIT.d" /etc/modules-load.d/daalu-agent.conf "$COMMAND" "$COMMAND.new" "$ETC"
  rmdir /run/wireguard 2>/dev/null || true
  if [ -d /run/systemd/system ]; then systemctl daemon-reload; systemctl reset-failed daalu-agent 2>/dev/null || true; fi
  if [ -d "$STATE" ]; then
    # identity.json last: until then a second run still knows whom to revoke.
    find "$STATE" -mindepth 1 -maxdepth 1 ! -path "$models" ! -name identity.json -exec rm -rf {} +
    rm -f "$STATE/identity.json"
    rmdir "$STATE" 2>/dev/null || chown root:root "$STATE"
  fi
}

remove_user() {
  ! getent passwd "$USER_NAME" >/dev/null || userdel "$USER_NAME"
  ! getent group "$USER_NAME" >/dev/null || groupdel "$USER_NAME"
}

# Those that install.sh brought, and only where nothing else has come to need them since.
remove_packages() {
  [ -s "$OPT/packages" ] && [ "$keep_packages" = no ] || return 0
  if ! command -v apt-get >/dev/null; then
    say "system packages stay: dnf remove $(sort -u "$OPT/packages" | tr '\n' ' ')"
    return 0
  fi
  export DEBIAN_FRONTEND=noninteractive
  [ -z "$(dpkg --audit)" ] || dpkg --configure -a >&2 || die "dpkg --configure -a fails: mend this system's packages first"
  ours=''
  # shellcheck disable=SC2013 # names have no spaces
  for each in $(sort -u "$OPT/packages"); do
    ! dpkg-query -W -f '${db:Status-Status}' "$each" 2>/dev/null | grep -qv not-installed || ours="$ours $each"
  done
  [ -n "$ours" ] || return 0
  # shellcheck disable=SC2086 # a list of names
  others=$(apt-get -s -q purge $ours | sed -n 's/^\(Purg\|Remv\) \([^ ]*\) .*/\2/p' | grep -vxF "$(printf '%s\n' $ours)" || true)
  if [ -n "$others" ]; then
    say "system packages stay, since $(echo "$others" | tr '\n' ' ')needs some of them:$ours"
    return 0
  fi
  say "removing the system packages that install.sh brought"
  # shellcheck disable=SC2086
  said=$(apt-get -q -o DPkg::Lock::Timeout=120 purge -y $ours 2>&1) || die "apt-get could not remove$ours:
$said"
}

main "$@"
