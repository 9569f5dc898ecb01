# shellcheck shell=bash
# Sourced by the other scripts: where things are cached, and the Python environment of this checkout.
#
# DAALU_CACHE (default ~/.cache/daalu) holds everything that the scripts install or build outside of
# system packages. Removing it costs only the time to fill it again.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
DAALU_CACHE=${DAALU_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/daalu}
export DAALU_CACHE
# PyTorch makes this directory when it is imported, under /tmp unless told.
export TORCHINDUCTOR_CACHE_DIR=$DAALU_CACHE/torchinductor

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# One environment for each pair of checkout and lock file: a changed lock never meets an old environment.
environment_path() {
  local key
  key=$( { echo "$ROOT"; cat "$ROOT/requirements.lock"; } | sha256sum | cut -c1-16)
  echo "$DAALU_CACHE/environments/$key"
}

# The environment that scripts/engine_environment makes for vLLM, there or not.
engine_path() {
  echo "$DAALU_CACHE/engine-$(sha256sum "$ROOT/engine.lock" | cut -c1-16)"
}

find_python() {
  PYTHON=${PYTHON:-python3}
  command -v "$PYTHON" >/dev/null || die "no $PYTHON: install Python 3.11 or later"
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || die "$PYTHON is $("$PYTHON" --version 2>&1): Python 3.11 or later is needed (set PYTHON to choose another)"
}

# Debian and Ubuntu split venv out of Python; nothing else is needed to bootstrap.
ensure_python() {
  find_python
  "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "this Python has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)"
  fi
  install_packages python3-venv
}

# Installs the Debian packages named, if any is missing.
install_packages() {
  local missing=() name
  for name in "$@"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return
  say "installing system packages: ${missing[*]}"
  mkdir -p "$DAALU_CACHE"
  { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}"; } \
    >"$DAALU_CACHE/apt.log" 2>&1 || die "apt-get could not install ${missing[*]}: see $DAALU_CACHE/apt.log"
}

# What the product needs of the system to run as a whole: the tunnel and its firewall.
RUN_PACKAGES=(wireguard-go wireguard-tools nftables iproute2 procps)
# What its tests need on top: a database server, a compiler for the NVML stub, a checker for the scripts,
# clean machines for the installer, a builder of container images, and a browser for the console.
# shellcheck disable=SC2034 # scripts/test uses it
TEST_PACKAGES=("${RUN_PACKAGES[@]}" postgresql gcc libc6-dev shellcheck debootstrap systemd-container buildah chromium
  fonts-dejavu-core)

# Installs the Debian packages named where that is possible; elsewhere the caller finds out what is missing.
install_packages_if_possible() {
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    install_packages "$@"
  fi
}

# Makes the environment of this checkout if it is not there, and puts it first on PATH.
use_environment() {
  local env log=$DAALU_CACHE/pip.log
  ensure_python
  env=$(environment_path)
  mkdir -p "$DAALU_CACHE/environments"
  exec {lock}>"$env.lock"
  flock "$lock"
  if [ ! -e "$env/.complete" ]; then
    say "installing Python packages into $env"
    rm -rf "$env"
    "$PYTHON" -m venv "$env"
    "$env/bin/pip" install --disable-pip-version-check --require-hashes -r "$ROOT/requirements.lock" \
      >"$log" 2>&1 || die "pip could not install requirements.lock: see $log"
    touch "$env/.complete"
  fi
  # The entry points of this checkout, made again when pyproject.toml changed.
  if [ ! "$env/.installed" -nt "$ROOT/pyproject.toml" ]; then
    "$env/bin/pip" install --disable-pip-version-check --no-deps --no-build-isolation -e "$ROOT" \
      >"$log" 2>&1 || die "pip could not install this checkout: see $log"
    touch "$env/.installed"
  fi
  exec {lock}>&-
  export PATH="$env/bin:$PATH" VIRTUAL_ENV="$env"
}
