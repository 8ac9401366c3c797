#!/usr/bin/env bash
# Makes a machine ready to build and run Ridgepoint: a Rust toolchain, a C compiler and a Vulkan
# adapter. Run it as often as you like: what is there already is left alone.
#
# It changes the system only on Debian and Ubuntu, only through apt, and only when something is
# missing. On a terminal it asks first; without one it says what it does and goes ahead.
set -euo pipefail
trap 'printf "setup: stopped by an error at line %s\n" "$LINENO" >&2' ERR
cd "$(dirname "$0")/.."

# llvmpipe before this major version of Mesa reads storage buffers many times slower.
readonly FAST_MESA=24

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
# True if version $1 is at least $2.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | sed -n 1p)" = "$2" ]; }

check_rust() {
  local want got
  want=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
  if ! have cargo || ! have rustc; then
    fail "no Rust toolchain found; Ridgepoint needs Rust $want or newer" \
      "install it from https://rustup.rs, open a new shell and run this again"
  fi
  got=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
  at_least "$got" "$want" || fail "Rust $got is too old: Ridgepoint needs $want or newer" \
    "update it ('rustup update stable' where rustup manages it) and run this again"
  say "Rust $got: fine (needs $want)"
}

# --- What is there -------------------------------------------------------------------------

has_loader() {
  grep -q 'libvulkan\.so\.1' <<<"$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null || true)" ||
    compgen -G '/usr/lib*/libvulkan.so.1' >/dev/null ||
    compgen -G '/usr/lib/*/libvulkan.so.1' >/dev/null ||
    compgen -G '/usr/local/lib*/libvulkan.so.1' >/dev/null
}

# The driver manifests that the Vulkan loader would read, one a line.
driver_manifests() {
  local named=${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}} dir
  if [ -n "$named" ]; then
    tr ':' '\n' <<<"$named"
    return
  fi
  for dir in /etc /usr/share /usr/local/etc /usr/local/share "${XDG_DATA_HOME:-${HOME:-/nonexistent}/.local/share}"; do
    compgen -G "$dir/vulkan/icd.d/*.json" || true
  done
}

# Prints 'hardware', 'software' or 'none': the best Vulkan adapter that answers. vulkaninfo asks
# the drivers themselves; without it, manifests and device nodes tell, and a GPU is only 'likely':
# Mesa's package has every driver's manifest, and a virtual display has a node too.
find_adapter() {
  local types manifests
  has_loader || { echo none; return; }
  if have vulkaninfo; then
    types=$(timeout 30 vulkaninfo --summary 2>/dev/null | sed -n 's/.*deviceType *= *PHYSICAL_DEVICE_TYPE_//p' || true)
    case $types in
      *GPU*) echo hardware; return ;;
      *CPU* | *OTHER*) echo software; return ;;
    esac
  fi
  manifests=$(driver_manifests)
  if grep -qvE '/(lvp|lavapipe|vk_swiftshader)' <<<"${manifests:-/lvp}" && compgen -G '/dev/dri/renderD*' >/dev/null; then
    echo likely
  elif grep -q nvidia <<<"$manifests" && [ -e /dev/nvidiactl ]; then
    echo hardware
  elif grep -qE '/(lvp|lavapipe|vk_swiftshader)' <<<"$manifests"; then
    echo software
  else
    echo none
  fi
}

# --- Debian and Ubuntu ---------------------------------------------------------------------

installed_version() { dpkg-query -W -f='${db:Status-Abbrev} ${Version}' "$1" 2>/dev/null | sed -n 's/^ii *//p' || true; }
# '25.0.7-2~bpo12+1' -> '25'
major() { sed 's/^[0-9]*://; s/[^0-9].*//' <<<"$1"; }
# Every version that apt's lists offer, newest first.
offered_versions() { apt-cache madison "$1" 2>/dev/null | awk -F'|' '{ gsub(/ /, "", $2); print $2 }' | sort -rVu || true; }

# Prints the command's prefix for root, or fails with what to type.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo; then
    if [ -t 0 ]; then sudo "$@"; else sudo -n "$@"; fi
  else
    fail "this needs root and there is no sudo. As root, type:" "  $PWD/scripts/setup.sh"
  fi
}

# Asks before the system is changed; without a terminal it says so and goes on.
agree() {
  local answer
  if [ -t 0 ] && [ -t 1 ]; then
    read -r -p "setup: $1. Go ahead? [Y/n] " answer
    case $answer in
      '' | [Yy]*) ;;
      *) fail "nothing was changed. Ridgepoint computes on a Vulkan, Metal or DX12 adapter and needs the above" ;;
    esac
  else
    say "$1 (no terminal to ask on: going ahead)"
  fi
}

# Prints an apt source for suite $2, made from the source that already serves suite $1: same
# mirror, same keyring. Reads .sources (deb822) and .list files. Prints nothing if none serves it.
source_like() {
  local file
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -r "$file" ] || continue
    awk -v from="$1" -v to="$2" '
      BEGIN { RS = ""; FS = "\n" }
      {
        serves = 0; enabled = 1; out = ""
        for (i = 1; i <= NF; i++) {
          line = $i
          if (line ~ /^#/) continue
          if (line ~ /^[Ee]nabled:[ \t]*[Nn]o/) enabled = 0
          if (line ~ /^[Tt]ypes:/) { if (line !~ /[ \t:]deb([ \t]|$)/) enabled = 0; line = "Types: deb" }
          if (line ~ /^[Ss]uites:/) {
            n = split(substr(line, 8), suites, /[ \t]+/)
            for (s = 1; s <= n; s++) if (suites[s] == from) serves = 1
            line = "Suites: " to
          }
          if (line ~ /^[Cc]omponents:/) line = "Components: main"
          out = out line "\n"
        }
        if (serves && enabled) { printf "%s", out; exit }
      }' "$file"
  done | awk 'NR > 1 && /^Types:/ { exit } { print }' | sed '/^$/d' >"$scratch/sources"
  if [ -s "$scratch/sources" ]; then
    cat "$scratch/sources"
    return
  fi
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -r "$file" ] || continue
    # deb [options] URI suite components
    sed -nE "s/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+)[[:space:]]+$1[[:space:]].*/deb \1\2 $2 main/p" "$file"
  done | sed -n 1p
}

serves_suite() { [ -n "$(source_like "$1" "$1")" ]; }

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 -qq "$@"
}

# Adds the backports suite in a file of its own; takes it away again if the mirror has none.
enable_backports() {
  local suite=$1 name=/etc/apt/sources.list.d/ridgepoint-backports
  serves_suite "$suite" && return
  source_like "$codename" "$suite" >"$scratch/backports"
  if [ ! -s "$scratch/backports" ]; then
    say "no apt source for '$codename' found to take the mirror from: leaving $suite out"
    return
  fi
  if grep -q '^deb ' "$scratch/backports"; then name=$name.list; else name=$name.sources; fi
  say "adding $suite in $name"
  as_root install -m 644 "$scratch/backports" "$name"
  if ! apt_get update; then
    say "$suite can't be read from this mirror: taking $name away again"
    as_root rm -f "$name"
    apt_get update
  fi
}

# Installs the given packages, Mesa's Vulkan drivers from the suite that has the newest.
install_with_apt() {
  local codename suite newest got pick=() packages=("$@")
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-${UBUNTU_CODENAME:-}}")
  suite=$codename-backports
  apt_get update || say "apt-get update reported errors: going on with what it has"
  case " ${packages[*]} " in
    *' mesa-vulkan-drivers '*)
      if [ -n "$codename" ]; then enable_backports "$suite"; fi
      newest=$(offered_versions mesa-vulkan-drivers | sed -n 1p)
      [ -n "$newest" ] || fail "apt offers no mesa-vulkan-drivers. Type 'apt-get update' as root, see what it says, and run this again"
      if grep -F -- "$newest" <<<"$(apt-cache madison mesa-vulkan-drivers)" | grep -c -- "$suite" >/dev/null; then pick=(-t "$suite"); fi
      ;;
  esac
  say "apt-get install ${pick[*]:-} ${packages[*]}"
  apt_get install -y --no-install-recommends "${pick[@]}" "${packages[@]}" >"$scratch/apt.log" 2>&1 || {
    tail -n 20 "$scratch/apt.log" >&2
    fail "apt-get install failed (above). Type it as root, mend what it says, and run this again:" \
      "  apt-get install ${pick[*]:-} ${packages[*]}"
  }
  got=$(installed_version mesa-vulkan-drivers)
  if [ -n "$got" ] && [ "$(major "$got")" -lt "$FAST_MESA" ]; then
    say "note: Mesa $got is the newest that this distribution offers; its software adapter is up to ten times slower than Mesa $FAST_MESA's"
  fi
}

setup_debian() {
  local adapter got need=() newest codename
  have cc || need+=(gcc libc6-dev) # rustc links with cc
  adapter=$(find_adapter)
  has_loader || need+=(libvulkan1)
  got=$(installed_version mesa-vulkan-drivers)
  case $adapter in
    none) need+=(mesa-vulkan-drivers) ;;
    software | likely)
      # Stale only if apt may still have something newer: its lists say so, are empty, or lack backports.
      if [ -n "$got" ] && [ "$(major "$got")" -lt "$FAST_MESA" ]; then
        # shellcheck source=/dev/null
        codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
        newest=$(offered_versions mesa-vulkan-drivers | sed -n 1p)
        if [ -z "$newest" ] || dpkg --compare-versions "$newest" gt "$got" || ! serves_suite "$codename-backports"; then
          say "Mesa $got is installed; its software adapter, if that is what runs here, is up to ten times slower than Mesa $FAST_MESA's"
          need+=(mesa-vulkan-drivers)
        fi
      fi
      ;;
  esac
  if [ ${#need[@]} -eq 0 ]; then
    [ "$adapter" != likely ] || adapter="a GPU, as it seems"
    say "Vulkan adapter: $adapter${got:+ (Mesa $got installed)}; nothing to install"
    return
  fi
  agree "Vulkan adapter: $adapter; will install with apt: ${need[*]} (Mesa from backports where that is newer)"
  install_with_apt "${need[@]}"
  adapter=$(find_adapter)
  [ "$adapter" != none ] || fail "a driver was installed, but no Vulkan adapter answers. 'vulkaninfo --summary' (package vulkan-tools) shows why"
  say "Vulkan adapter: $adapter (Mesa $(installed_version mesa-vulkan-drivers))"
}

# --- Elsewhere -----------------------------------------------------------------------------

# On a system whose packages this script doesn't touch: say what is missing and how to get it.
require() {
  have cc || have gcc || have clang || fail "no C compiler found. Install one: $1"
  local adapter
  adapter=$(find_adapter)
  [ "$adapter" != none ] || fail "no Vulkan adapter found. Install the loader and your GPU's driver (or Mesa's software adapter): $2"
  say "Vulkan adapter: $adapter"
}

main() {
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  check_rust
  case $(uname -s) in
    Darwin)
      have cc || fail "no C compiler found. Type: xcode-select --install"
      say "macOS: Metal is there, nothing to install"
      return
      ;;
    MINGW* | MSYS* | CYGWIN*)
      say "Windows: DX12 or Vulkan comes with the GPU's driver, nothing to install"
      return
      ;;
    Linux) ;;
    *) require "your system's clang or gcc" "the Vulkan loader and a driver from your system's packages"; return ;;
  esac
  local family
  # shellcheck source=/dev/null
  family=$( [ -r /etc/os-release ] && . /etc/os-release && echo " ${ID:-} ${ID_LIKE:-} " || true)
  case $family in
    *' debian '* | *' ubuntu '*) setup_debian ;;
    *' fedora '* | *' rhel '*) require "dnf install gcc" "dnf install vulkan-loader mesa-vulkan-drivers" ;;
    *' arch '*) require "pacman -S gcc" "pacman -S vulkan-icd-loader, and vulkan-radeon, vulkan-intel, nvidia-utils or vulkan-swrast" ;;
    *' alpine '*) require "apk add build-base" "apk add vulkan-loader, and mesa-vulkan-ati, mesa-vulkan-intel or mesa-vulkan-swrast" ;;
    *suse*) require "zypper install gcc" "zypper install libvulkan1, and libvulkan_radeon, libvulkan_intel or libvulkan_lvp" ;;
    *' nixos '*) require "gcc in your shell" "vulkan-loader in your shell, hardware.graphics.enable in the system" ;;
    *) require "gcc or clang" "the Vulkan loader (libvulkan.so.1) and Mesa's Vulkan drivers" ;;
  esac
}

main
