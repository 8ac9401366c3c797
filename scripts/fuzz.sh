#!/usr/bin/env bash
# Runs every fuzz target for SECONDS_EACH seconds (30), on the stable toolchain and without a sanitizer:
# what is looked for is panics, aborts, endless loops and memory, and all of it is safe Rust.
# New inputs are kept in fuzz/corpus, a crash in fuzz/artifacts; fuzz/seeds is where each target begins.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-30}
targets="gguf safetensors config tokenizer template"
# cargo-fuzz needs the compiler's coverage flags, which stable has, but keeps behind this.
export RUSTC_BOOTSTRAP=1

if ! command -v cargo-fuzz >/dev/null; then
  echo "fuzz: installing cargo-fuzz"
  env -u RUSTC_BOOTSTRAP cargo install cargo-fuzz --locked
fi

cargo fuzz build --sanitizer none
for target in $targets; do
  mkdir -p "fuzz/corpus/$target"
  log="fuzz/corpus/$target.log"
  # A unit that takes 10 s or 2 GB is a finding as well.
  if ! cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 >"$log" 2>&1; then
    tail -40 "$log" >&2
    echo "fuzz: $target failed; the input is in fuzz/artifacts/$target" >&2
    exit 1
  fi
  runs=$(sed -n 's/^Done \([0-9]*\) runs in .*/\1/p' "$log" | tail -1)
  if [ "${runs:-0}" -lt 500 ]; then
    echo "fuzz: $target made ${runs:-no} runs in $seconds s: expected at least 500" >&2
    exit 1
  fi
  printf 'fuzz: %-12s %8s runs, no crash\n' "$target" "$runs"
done
