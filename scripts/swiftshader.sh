#!/usr/bin/env bash
# Prints the path of SwiftShader's Vulkan driver manifest, for VK_DRIVER_FILES:
#
#   VK_DRIVER_FILES=$(scripts/swiftshader.sh) ridgepoint doctor
#
# Debian carries SwiftShader in chromium-common. Where that is not installed, the package is fetched
# through apt and unpacked under target/: nothing is installed, and no root is needed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly file=usr/lib/chromium/vk_swiftshader_icd.json
readonly folder=$PWD/target/swiftshader

fail() {
  printf 'swiftshader: %s\n' "$@" >&2
  exit 1
}

for manifest in "/$file" "$folder/$file"; do
  if [ -r "$manifest" ]; then
    echo "$manifest"
    exit
  fi
done

command -v apt-get >/dev/null 2>&1 ||
  fail "SwiftShader is fetched from Debian's chromium-common, and there is no apt-get here" \
    "set VK_DRIVER_FILES yourself to a vk_swiftshader_icd.json"
rm -rf "$folder"
mkdir -p "$folder"
# Where a package of another name carries it (chromium itself did once), that one is tried too.
for package in chromium-common chromium; do
  (cd "$folder" && apt-get download -qq "$package" >&2) || continue
  for deb in "$folder"/*.deb; do
    # Only the driver: the package has some 100 MB of browser.
    dpkg-deb --fsys-tarfile "$deb" |
      tar -x -C "$folder" --wildcards '*/vk_swiftshader_icd.json' '*/libvk_swiftshader.so' 2>/dev/null || true
  done
  rm -f "$folder"/*.deb
  if [ -r "$folder/$file" ]; then
    echo "$folder/$file"
    exit
  fi
done
fail "neither chromium-common nor chromium could be fetched with $file in it" \
  "'apt-get update' as root, then run this again; or set VK_DRIVER_FILES to a vk_swiftshader_icd.json"
