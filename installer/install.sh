#!/bin/sh
# Makes this host a Daalu agent, mends or upgrades one. README.md beside this file has the chain of trust.
#
# Usage: install.sh [OPTIONS] [INVITE]
#
#   INVITE                from `daalu agents invite`; not needed where this host is enrolled already
#   --release-key KEY     base64 of the release key's public half; needed the first time, pinned afterwards
#   --check               say what is missing, change nothing
#   --invite-file FILE    the invite, out of sight of the list of processes
#   --name NAME           this host's name at the control plane (default: the host's own)
#   --simulated-card NAME no GPU here: report a made-up card, labelled so everywhere
#   --models DIRECTORY    where models are kept (default: /var/lib/daalu-agent/models)
#   --disk-gib N          free space wanted for models (default: 30)
#   --engine none|pip     pip: vLLM from the public package index, some GB; none: see --engine-python (default)
#   --engine-python FILE  the Python of an engine environment that is there
#   --wait SECONDS        for the connection, at the end (default: 150)
#   --no-start            where systemd does not run: install and enrol only
#   --allow-older         take a release that is older than the one that is installed
#   --new-release-key     pin KEY in place of the key that was pinned before
#
# Exit status: 0 done; 1 it failed, and a host that was not enrolled is as it was; 2 wrong usage.

set -eu
umask 022

OPT=/opt/daalu-agent
ETC=/etc/daalu-agent
STATE=/var/lib/daalu-agent
UNIT=/etc/systemd/system/daalu-agent.service
COMMAND=/usr/local/bin/daalu-agent
LOCK=/run/daalu-agent-install.lock
USER_NAME=daalu-agent
PYTHON_MINOR_MIN=11
CARD_MIB_MIN=7000
# CUDA 13, which the engine's wheels bring, wants this driver.
DRIVER_MIN=580
CLOCK_TOLERANCE_S=30
OPT_MIB=1000
ENGINE_MIB=16000

say() { printf '%s\n' "$*" >&2; }
step() { say "== $*"; }
wrong_usage() { say "install.sh: $*"; exit 2; }

die() {
  say "install.sh: $*"
  exit 1
}

main() {
  read_arguments "$@"
  work=$(mktemp -d "${TMPDIR:-/tmp}/daalu-install.XXXXXX")
  # What the control plane sends lies apart from what this script writes.
  release=$work/release
  mkdir "$release"
  undo=nothing
  trap 'leave $?' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  [ "$(id -u)" = 0 ] || die "run it as root: sudo sh install.sh"
  one_at_a_time
  find_control_plane
  step "checking this host"
  check_host
  if [ "$check_only" = yes ]; then
    say "this host is ready; nothing was changed"
    return
  fi
  step "fetching release $version of $url"
  fetch_release
  [ -e "$STATE/identity.json" ] || undo=packages
  verify_signature
  hand_over "$@"
  [ "$undo" = nothing ] || undo=all
  # What changes the host comes with the release.
  # shellcheck source=setup.sh
  . "$release/setup.sh"
  set_up
}

# What was begun on a host that is not enrolled is taken back; a killed run is taken up by the next.
leave() {
  trap - EXIT
  case $1-$undo in
    0-* | *-nothing) ;;
    *-all) take_back "$release/uninstall.sh" ;;
    *) if [ -e "$OPT/uninstall.sh" ]; then take_back "$OPT/uninstall.sh"; else remove_packages; fi ;;
  esac
  rm -rf "$work"
  exit "$1"
}

take_back() {
  say "taking back what was done"
  exec 9>&-
  sh "$1" --undo >&2 || say "that failed: see what is left in $OPT"
}

read_arguments() {
  check_only=no release_key='' invite='' invite_file='' name='' card='' models=$STATE/models disk_gib=30
  engine=none engine_python=$OPT/engine/bin/python start=yes
  # WireGuard begins a new session with a hub that was restarted after two minutes at the latest.
  wait_s=150 allow_older=no new_key=no
  while [ $# -gt 0 ]; do
    case $1 in
      --check) check_only=yes ;;
      --no-start) start=no ;;
      --allow-older) allow_older=yes ;;
      --new-release-key) new_key=yes ;;
      -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;;
      --release-key | --invite-file | --name | --simulated-card | --models | --disk-gib | --wait | --engine | \
        --engine-python)
        [ $# -gt 1 ] || wrong_usage "$1 wants a value"
        case $1 in
          --release-key) release_key=$2 ;;
          --invite-file) invite_file=$2 ;;
          --name) name=$2 ;;
          --simulated-card) card=$2 ;;
          --models) models=$2 ;;
          --disk-gib) disk_gib=$2 ;;
          --wait) wait_s=$2 ;;
          --engine) engine=$2 ;;
          --engine-python) engine_python=$2 ;;
        esac
        shift
        ;;
      -*) wrong_usage "there is no option $1 (--help lists them)" ;;
      *) [ -z "$invite" ] || wrong_usage "two invites: $1 is one too many"; invite=$1 ;;
    esac
    shift
  done
  # They go into TOML and a systemd unit, between quotes.
  case $name$card$models$engine_python in *[!A-Za-z0-9\ ._/:@+-]*)
    wrong_usage "names and paths here may have letters, digits, spaces and . _ / : @ + -" ;;
  esac
  case $models/$engine_python in /*//*) ;; *) wrong_usage "--models and --engine-python want absolute paths" ;; esac
  case $models/ in /home/* | /root/* | /tmp/* | /run/*)
    wrong_usage "--models: the service sees no /home, /root, /tmp and /run; choose a place like /srv/models" ;;
  esac
  case $disk_gib-$wait_s in -* | *- | *[!0-9-]*) wrong_usage "--disk-gib and --wait want whole numbers" ;; esac
  case $engine in none | pip) ;; *) wrong_usage "--engine is none or pip" ;; esac
  case $release_key in '' | ???????????????????????????????????????????=) ;; *)
    wrong_usage "--release-key is not the base64 of 32 bytes: copy the whole line" ;;
  esac
  case $release_key in *[!A-Za-z0-9+/=]*) wrong_usage "--release-key is not base64: copy the whole line" ;; esac
}

one_at_a_time() {
  exec 9>"$LOCK"
  flock -n 9 || die "another install.sh or uninstall.sh is at work on this host: wait for it"
  for left in "${TMPDIR:-/tmp}"/daalu-install.*; do
    [ "$left" = "$work" ] || rm -rf "$left" || true
  done
}

# ---- who is asked, and by which keys it is known ----

find_control_plane() {
  if [ -n "$invite_file" ]; then
    invite=$(tr -d '[:space:]' <"$invite_file") || die "the invite cannot be read"
  fi
  pinned=$(cat "$ETC/release.pub" 2>/dev/null || true)
  if [ -n "$invite" ]; then
    parse_invite
  elif [ -e "$STATE/identity.json" ] && [ -e "$ETC/control-plane" ]; then
    { IFS= read -r url && IFS= read -r pin; } <"$ETC/control-plane" || die "$ETC/control-plane is damaged: paste a new line"
  else
    wrong_usage "no invite, and this host is not enrolled: paste the line of daalu agents invite"
  fi
  if [ -n "$pinned" ] && [ -n "$release_key" ] && [ "$pinned" != "$release_key" ] && [ "$new_key" = no ]; then
    die "the line names another release key than the one that this host pinned ($ETC/release.pub); nothing was \
changed. Ask your operator, on another way than the line came, whether the key was replaced; if it was: --new-release-key"
  fi
  release_key=${release_key:-$pinned}
  [ -n "$release_key" ] || wrong_usage "--release-key is missing: copy the whole line of daalu agents invite"
}

# An invite is protobuf: 0a LENGTH url, 12 20 token (32 bytes), 1a 20 key (32 bytes).
parse_invite() {
  damaged="the invite is damaged: copy the whole of it, or ask for a new one (daalu agents invite)"
  body=${invite#daalu-invite-}
  [ "$body" != "$invite" ] || die "this is no invite: an invite starts with daalu-invite-"
  case $(( ${#body} % 4 )) in 2) padding='==' ;; 3) padding='=' ;; *) padding='' ;; esac
  printf '%s%s' "$body" "$padding" | tr _- /+ | base64 -d >"$work/invite" 2>/dev/null || die "$damaged"
  # shellcheck disable=SC2046 # numbers
  set -- $(od -An -tu1 -N3 "$work/invite")
  [ "${1:-}" = 10 ] || die "$damaged"
  length=$2 head=2
  if [ "$2" -ge 128 ]; then length=$(( $2 - 128 + $3 * 128 )) head=3; fi
  [ "$(wc -c <"$work/invite")" -eq $(( head + length + 68 )) ] || die "$damaged"
  url=$(tail -c +$(( head + 1 )) "$work/invite" | head -c "$length")
  case $url in https://*) ;; *) die "$damaged" ;; esac
  case ${url#https://} in '' | *[!A-Za-z0-9.:_\[\]-]*) die "$damaged" ;; esac
  pin=sha256//$(tail -c 32 "$work/invite" | base64)
}

# Trusted by its key, whatever its certificate says. fetch NAME LIMIT_BYTES [curl's options]
fetch() {
  fetch_name=$1 limit=$2
  shift 2
  curl -fsSk --globoff --proto =https --pinnedpubkey "$pin" --max-filesize "$limit" --connect-timeout 10 \
    --retry 3 --speed-limit 1000 --speed-time 30 "$@" -o "$release/$fetch_name" "$url/install/$fetch_name"
}

# ---- what must be there ----

check_host() {
  missing=''
  check_system
  check_python
  check_card
  check_disk
  check_wireguard
  check_control_plane
  check_identity
  [ -z "$missing" ] && return
  say "this host is not ready, and nothing was changed:"
  printf '%s' "$missing" >&2
  exit 1
}

# lacks WHAT COMMAND: one line, and what mends it.
lacks() {
  missing="$missing  missing: $1. Mend it with: $2
"
}

check_system() {
  family='' os='an unknown system'
  if [ -r /etc/os-release ]; then
    # shellcheck disable=SC1091
    os=$(. /etc/os-release; echo "${PRETTY_NAME:-$ID}")
    # shellcheck disable=SC1091
    case $(. /etc/os-release; echo " $ID ${ID_LIKE:-} ") in
      *' debian '* | *' ubuntu '*) family=debian ;;
      *' rhel '* | *' fedora '*) family=rhel ;;
    esac
    # shellcheck disable=SC1091
    case $(. /etc/os-release; echo "$ID ${VERSION_ID:-}") in
      'debian 12' | 'debian 13') say "  ok: $os" ;;
      *) say "  $os: install.sh was written for it and has not been proved on it" ;;
    esac
  fi
  [ -n "$family" ] || lacks "a supported system (this is $os)" "Debian 12 or 13; Ubuntu and RHEL 9 are unproved"
  [ "$(uname -m)" = x86_64 ] || lacks "an x86-64 processor (this is $(uname -m))" "another host"
  for tool in curl setpriv sha256sum flock; do
    command -v "$tool" >/dev/null || lacks "$tool" "$(package_command "$tool")"
  done
}

package_command() {
  case $1-$family in
    setpriv-* | flock-*) set -- util-linux ;;
    sha256sum-*) set -- coreutils ;;
  esac
  if [ "$family" = rhel ]; then echo "dnf install $1"; else echo "apt-get install $1"; fi
}

good_python() {
  # -I: as root, nothing is imported from the folder that this happens to run in.
  "$1" -I -c "import sys; sys.exit(sys.version_info < (3, $PYTHON_MINOR_MIN))" 2>/dev/null
}

# $python is what the environment is made with, once $packages are installed.
check_python() {
  packages='' python=''
  for each in python3 python3.13 python3.12 python3.11; do
    if good_python "$each"; then
      python=$each
      "$each" -I -c 'import ensurepip, venv' 2>/dev/null || packages=$each-venv
      break
    fi
  done
  if [ -z "$python" ]; then
    # shellcheck disable=SC1091
    case $(. /etc/os-release 2>/dev/null; echo "${ID:-} ${VERSION_ID:-}") in
      'debian 12' | 'debian 13' | 'ubuntu 24.04' | 'ubuntu 2'[5-9].*) python=python3 packages='python3 python3-venv' ;;
      'ubuntu 22.04') python=python3.11 packages='python3.11 python3.11-venv' ;;
      'rhel 9'* | 'rocky 9'* | 'almalinux 9'* | 'centos 9'*) python=python3.12 packages=python3.12 ;;
    esac
  fi
  if [ -n "$python" ]; then
    say "  ok: $python${packages:+, from the distribution}"
  elif command -v uv >/dev/null; then
    python=uv
    say "  this system's Python is too old: uv brings one into $OPT/python"
  else
    lacks "Python 3.$PYTHON_MINOR_MIN or later, or uv to bring one" "a newer release of this system, or pip install uv"
  fi
}

check_card() {
  if [ -n "$card" ] || grep -qs '^simulated_card' "$ETC/agent.toml"; then
    say "  a SIMULATED card: nothing runs on a GPU here"
    return
  fi
  if ! command -v nvidia-smi >/dev/null; then
    lacks "the NVIDIA driver (no nvidia-smi)" "apt-get install nvidia-driver, from non-free, and a restart"
    return
  fi
  if ! cards=$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader,nounits 2>&1); then
    lacks "a working NVIDIA driver (nvidia-smi: $(echo "$cards" | head -n 1))" "modprobe nvidia, then dmesg | grep -i nvrm"
    return
  fi
  enough=no
  while IFS=, read -r card_name card_mib driver; do
    card_mib=$(echo "$card_mib" | tr -dc 0-9) driver=$(echo "$driver" | tr -d ' ')
    say "  card: $card_name, ${card_mib:-unknown} MiB, driver $driver"
    [ "${card_mib:-0}" -lt "$CARD_MIB_MIN" ] || enough=yes
    case ${driver%%.*} in '' | *[!0-9]*) driver=0 ;; esac
    [ "${driver%%.*}" -ge "$DRIVER_MIN" ] || lacks "driver $DRIVER_MIN or later" "apt-get install --only-upgrade nvidia-driver"
  done <<CARDS
$cards
CARDS
  [ "$enough" = yes ] || lacks "a card with $CARD_MIB_MIN MiB of memory or more" "another card"
}

check_disk() {
  # What was enough once, and is full of models now, is not asked for again.
  [ -e "$STATE/identity.json" ] || wants_mib "$models" $(( disk_gib * 1024 )) "models" \
    "free some, or name another place: --models DIRECTORY; or --disk-gib N"
  want=$OPT_MIB
  [ "$engine" = none ] || want=$(( want + ENGINE_MIB ))
  wants_mib "$OPT" "$want" "the programs" "free some space there"
}

# wants_mib PATH MIB WHAT COMMAND: of the file system that PATH is on, or will be.
wants_mib() {
  place=$1
  while [ ! -e "$place" ]; do place=$(dirname "$place"); done
  free=$(df -Pm "$place" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge "$2" ] || lacks "room for $3: $2 MiB at $1, where $free MiB are free" "$4"
}

check_wireguard() {
  packages="$packages openssl wireguard-tools nftables $([ "$family" = rhel ] && echo iproute || echo iproute2)"
  if [ -d /sys/module/wireguard ] || modprobe -n wireguard 2>/dev/null; then
    say "  ok: WireGuard in the kernel"
    return
  fi
  packages="$packages wireguard-go"
  if [ ! -c /dev/net/tun ]; then
    lacks "WireGuard in the kernel, and /dev/net/tun" "modprobe tun (in a container: --device /dev/net/tun)"
  elif [ $(( 0$(stat -c %a /dev/net/tun) & 6 )) != 6 ]; then
    lacks "/dev/net/tun for others than root" "chmod 666 /dev/net/tun"
  else
    say "  ok: /dev/net/tun, for wireguard-go"
  fi
}

check_control_plane() {
  command -v curl >/dev/null || return 0
  status=0
  # Asked once and for seconds only: whoever waits for the list of what is missing is to see it.
  fetch manifest 262144 --retry 0 --connect-timeout 5 -D "$work/headers" 2>"$work/curl" || status=$?
  case $status in
    0) read_manifest; check_clock ;;
    6) lacks "a name server that knows ${url#https://}" "see /etc/resolv.conf, or ask your operator for the address" ;;
    22) lacks "a release at $url ($(tail -n 1 "$work/curl"))" "daalu serve --artifacts DIRECTORY, at the control plane" ;;
    90) lacks "the right control plane: $url has another key than the invite names" "a new invite; else something stands in between" ;;
    *) lacks "a way to $url ($(tail -n 1 "$work/curl"))" "let this host out to TCP ${url##*:}" ;;
  esac
}

check_clock() {
  there=$(sed -n 's/^[Dd]ate: *//p' "$work/headers" | tr -d '\r' | tail -n 1)
  there=$(date -d "${there:-now}" +%s 2>/dev/null || date +%s)
  ahead=$(( $(date +%s) - there ))
  if [ "$ahead" -gt "$CLOCK_TOLERANCE_S" ] || [ "$ahead" -lt "-$CLOCK_TOLERANCE_S" ]; then
    lacks "the right time: this clock is $ahead s ahead of the control plane's" "timedatectl set-ntp true"
  fi
}

# Never a second identity: an enrolled host stays with its control plane until it is uninstalled.
check_identity() {
  [ -e "$STATE/identity.json" ] || return 0
  if ! grep -qF "\"control_plane_url\": \"$(with_port "$url")\"" "$STATE/identity.json"; then
    lacks "a host that is free: this one is enrolled at another control plane" "$OPT/uninstall.sh, then paste the line again"
  fi
}

with_port() {
  case $1 in *:*:*[!]] | *]:*) echo "$1" ;; *) echo "$1:443" ;; esac
}

# ---- what is fetched, and why it may be believed ----

read_manifest() {
  bad="the manifest of $url is damaged; nothing was changed. Try again; if it stays so, tell your operator"
  : >"$work/sums"
  : >"$work/sizes"
  {
    if ! { IFS= read -r format && read -r word version && read -r word_2 released; }; then die "$bad"; fi
    [ "$format $word $word_2" = "daalu-release 1 version released" ] || die "$bad"
    case $version in [0-9]*) ;; *) die "$bad" ;; esac
    case $version in *[!0-9A-Za-z.+-]*) die "$bad" ;; esac
    case $released in '' | *[!0-9]*) die "$bad" ;; esac
    while IFS=' ' read -r sum size file; do
      case $sum in *[!0-9a-f]*) die "$bad" ;; esac
      case $size in '' | *[!0-9]*) die "$bad" ;; esac
      case $file in '' | [!A-Za-z0-9_]* | *[!A-Za-z0-9._+-]* | manifest*) die "$bad" ;; esac
      [ ${#sum} = 64 ] || die "$bad"
      printf '%s  %s\n' "$sum" "$file" >>"$work/sums"
      printf '%s %s\n' "$size" "$file" >>"$work/sizes"
    done
  } <"$release/manifest"
  id=$version-$released
}

fetch_release() {
  installed=$(readlink "$OPT/current" 2>/dev/null || true)
  if [ "${installed##*-}" -gt "$released" ] 2>/dev/null && [ "$allow_older" = no ]; then
    die "$url serves release $id, which is older than ${installed#versions/}, which is installed; nothing was changed. \
Ask your operator why; --allow-older takes it"
  fi
  fetch manifest.sig 64 || die "the signature could not be fetched; nothing was changed"
  while read -r size file; do
    fetch "$file" "$size" || die "$file did not arrive whole; nothing was changed. Try again"
  done <"$work/sizes"
  (cd "$release" && sha256sum -c --quiet --strict "$work/sums") >&2 \
    || die "what arrived is not what the manifest names; nothing was changed. Try again; if it stays so, tell your operator"
  for file in install.sh setup.sh uninstall.sh daalu-agent.service requirements.txt; do
    [ -e "$release/$file" ] || die "the release has no $file; nothing was changed. Tell your operator"
  done
}

# openssl comes from the distribution before anything that came from the control plane is trusted.
verify_signature() {
  if ! command -v openssl >/dev/null; then
    say "installing openssl from the distribution, to verify the release's signature"
    install_packages openssl
  fi
  # An Ed25519 key in PEM is these 12 bytes and the key.
  printf -- '-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA%s\n-----END PUBLIC KEY-----\n' "$release_key" >"$work/key.pem"
  openssl pkeyutl -verify -pubin -inkey "$work/key.pem" -rawin -in "$release/manifest" \
    -sigfile "$release/manifest.sig" >/dev/null 2>&1 \
    || die "the release is not signed with the key $release_key: refused. Either the control plane serves what its \
makers did not release, or the line was not copied whole. Tell your operator"
  say "  signed by $release_key"
}

# From here on the release's own installer, which may be newer than the one that was kept here.
hand_over() {
  if [ -z "${DAALU_HANDED_OVER:-}" ] && ! cmp -s "$0" "$release/install.sh"; then
    say "going on with the release's own install.sh"
    DAALU_HANDED_OVER=1 exec sh "$release/install.sh" "$@" 9>&-
  fi
}

# ---- changes ----

# What is not there yet; each new package is noted before it comes, so that uninstall.sh can take it away.
install_packages() {
  mkdir -p "$OPT"
  if [ "$family" = rhel ]; then
    for package in "$@"; do rpm -q "$package" >/dev/null 2>&1 || echo "$package" >>"$OPT/packages"; done
    dnf install -y -q "$@" >&2 || die "dnf could not install $*: its words are above"
    return
  fi
  export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
  # A killed run may have left packages half installed.
  [ -z "$(dpkg --audit)" ] || dpkg --configure -a >&2 || die "dpkg --configure -a fails: mend this system's packages first"
  lacking=''
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || lacking="$lacking $package"
  done
  [ -n "$lacking" ] || return 0
  say "  from the distribution:$lacking"
  apt_get update || say "apt-get update failed: going on with the lists that are there"
  # shellcheck disable=SC2086 # a list of names
  apt-get -s -q install --no-install-recommends $lacking >"$work/plan" 2>&1 || { cat "$work/plan" >&2; die "apt-get \
cannot install$lacking: its words are above"; }
  # "Inst NAME (VERSION": new; an upgrade has its old version in brackets in between.
  sed -n 's/^Inst \([^ ]*\) (.*/\1/p' "$work/plan" >>"$OPT/packages"
  # shellcheck disable=SC2086
  apt_get install -y --no-install-recommends $lacking || die "apt-get could not install$lacking: its words are above"
}

apt_get() {
  apt-get -q -o DPkg::Lock::Timeout=120 "$@" >"$work/apt" 2>&1 || { cat "$work/apt" >&2; return 1; }
}

remove_packages() {
  [ -s "$OPT/packages" ] || { rm -rf "$OPT"; return 0; }
  # shellcheck disable=SC2046 # a list of names
  case $family in
    rhel) dnf remove -y -q $(sort -u "$OPT/packages") >&2 ;;
    *) DEBIAN_FRONTEND=noninteractive apt_get purge -y $(sort -u "$OPT/packages") ;;
  esac && rm -rf "$OPT"
}

# Last: of a script that was cut off on its way nothing runs.
main "$@"
