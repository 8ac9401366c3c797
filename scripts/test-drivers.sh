#!/usr/bin/env bash
# What answers on one driver must be right on all: every kernel's SPIR-V by spirv-val, its WGSL by
# Tint, the kernels and tiny models on llvmpipe with subgroups of 4 and 16 and on SwiftShader, and
# under WebGPU's default limits. Needs only software drivers.
#
# A tool or driver that can't be had is named. With CI=true that is a failure, never a skip.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
began=$(date +%s)
step() {
  printf '\n== %s\n' "$*"
  SECONDS=0
  "$@"
  printf '== %s s: %s\n' "$SECONDS" "$*"
}
have() { command -v "$1" >/dev/null 2>&1; }
lacks() {
  printf '\n== missing: %s\n' "$1"
  missing+=("$1")
}

# Prints the path of spirv-val: installed, or fetched through apt and unpacked under target/.
find_spirv_val() {
  local folder=$PWD/target/spirv-tools
  if have spirv-val; then command -v spirv-val; return; fi
  if [ ! -x "$folder/usr/bin/spirv-val" ]; then
    have apt-get && have dpkg-deb || return 1
    rm -rf "$folder"
    mkdir -p "$folder"
    (cd "$folder" && apt-get download -qq spirv-tools >&2) || return 1
    dpkg-deb -x "$folder"/*.deb "$folder" || return 1
  fi
  echo "$folder/usr/bin/spirv-val"
}

# Every module that tests/portability.rs wrote; the file's name begins with the SPIR-V version.
validate_spirv() {
  local file count=0 wrong=0 env
  for file in target/tmp/spirv/*.spv; do
    [ -e "$file" ] || break
    env=vulkan1.0
    case $file in */1.3-*) env=vulkan1.1 ;; esac
    "$1" --target-env "$env" "$file" || { printf 'in %s\n' "$file"; wrong=$((wrong + 1)); }
    count=$((count + 1))
  done
  printf '%s modules, %s rejected by spirv-val\n' "$count" "$wrong"
  [ "$count" -gt 0 ] && [ "$wrong" -eq 0 ]
}

judge_by_tint() {
  [ -d target/tint/node_modules/webgpu ] || npm install --silent --no-fund --no-audit --prefix target/tint webgpu
  node scripts/tint.mjs
}

# Built once and run as they are, for each driver anew.
build_suite() {
  local list=target/tmp/test-drivers.json
  mkdir -p target/tmp
  cargo test --locked --release --no-run --message-format=json-render-diagnostics \
    --test portability --test kernels --test parity >"$list"
  for name in portability kernels parity; do
    sed -n "s/.*\"name\":\"$name\",.*\"executable\":\"\([^\"]*\)\".*/$name=\1/p" "$list"
  done >target/tmp/test-drivers.env
}
run_suite() {
  "$kernels" --nocapture
  "$parity" --nocapture
}

step build_suite
# shellcheck source=/dev/null
. target/tmp/test-drivers.env
export kernels parity
step "$portability" --nocapture
if spirv_val=$(find_spirv_val); then
  step validate_spirv "$spirv_val"
else
  lacks "spirv-val (Debian's spirv-tools)"
fi
if have node && have npm; then
  step judge_by_tint
else
  lacks "node and npm, which run Tint (npm's webgpu)"
fi

if lavapipe=$(ls /usr/share/vulkan/icd.d/lvp_icd*.json 2>/dev/null | sed -n 1p) && [ -n "$lavapipe" ]; then
  step env VK_DRIVER_FILES="$lavapipe" "$kernels" --nocapture
  for bits in 128 512; do
    # At 512 bits the driver's compiler needs half a minute for an attention: one program in seven there.
    one_in=1
    [ "$bits" = 128 ] || one_in=7
    # Mesa's cache of compiled shaders takes no notice of the width: each has its own, or code of one
    # width would run, five times slower or wrong, in the other and in whatever runs later.
    step env VK_DRIVER_FILES="$lavapipe" LP_NATIVE_VECTOR_WIDTH="$bits" ONE_PROGRAM_IN="$one_in" \
      MESA_SHADER_CACHE_DIR="$PWD/target/tmp/mesa-$bits" bash -euc "$(declare -f run_suite); run_suite"
  done
  step env VK_DRIVER_FILES="$lavapipe" target/release/ridgepoint doctor --limits webgpu --tiny-model --quiet
else
  lacks "llvmpipe (Debian's mesa-vulkan-drivers)"
fi
if swiftshader=$(scripts/swiftshader.sh); then
  step env VK_DRIVER_FILES="$swiftshader" bash -euc "$(declare -f run_suite); run_suite"
else
  lacks "SwiftShader"
fi

printf '\n== %s s in all\n' "$(($(date +%s) - began))"
if [ ${#missing[@]} -gt 0 ]; then
  printf '\nnot tested, since it is missing: %s\n' "${missing[@]}"
  [ "${CI:-}" != true ] || exit 1
fi
