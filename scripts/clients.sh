#!/usr/bin/env bash
# Installs what the server's tests talk with: Python with its venv module, and a Chromium browser.
# For CI on Debian and Ubuntu, where a test may not be left out; elsewhere such a test says what it lacks.
set -euo pipefail

packages=()
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
  packages+=(chromium)
[ ${#packages[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || {
  printf 'clients: install %s, which the tests of the server need\n' "${packages[*]}" >&2
  exit 1
}
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }
printf 'clients: apt-get install %s\n' "${packages[*]}"
as_root apt-get -qq -o DPkg::Lock::Timeout=120 update
as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 \
  install -y --no-install-recommends "${packages[@]}" >/dev/null
