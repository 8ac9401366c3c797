#!/usr/bin/env bash
# Runs every fuzz target for SECONDS_EACH seconds (30), on the stable toolchain and without a sanitizer:
# what is looked for is panics, aborts, endless loops and memory, and all of it is safe Rust.
# New inputs are kept in fuzz/corpus, a crash in fuzz/artifacts; fuzz/seeds is where each target begins.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-30}
targets="gguf safetensors config tokenizer template"
# Fewer mutated inputs than this prove nothing.
least=500
# cargo-fuzz needs the compiler's coverage flags, which stable has, but keeps behind this.
export RUSTC_BOOTSTRAP=1

if ! command -v cargo-fuzz >/dev/null; then
  echo "fuzz: installing cargo-fuzz"
  env -u RUSTC_BOOTSTRAP cargo install cargo-fuzz --locked
fi

cargo fuzz build --sanitizer none
# What a target ran of its own making: runs in all, less those that read the corpus in.
mutated() {
  awk '/^#[0-9]+[ \t]+INITED/ { first = substr($1, 2) } /^Done [0-9]+ runs/ { all = $2 } END { print all - first }' "$1"
}

failed=0
table=""
for target in $targets; do
  mkdir -p "fuzz/corpus/$target"
  log="fuzz/corpus/$target.log"
  printf 'fuzz: %s for %s s\n' "$target" "$seconds"
  # A unit that takes 10 s or 2 GB is a finding as well.
  verdict="no crash"
  if ! cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 >"$log" 2>&1; then
    tail -40 "$log" >&2
    verdict="FAILED: the input is in fuzz/artifacts/$target"
    failed=1
  fi
  runs=$(mutated "$log")
  if [ "$verdict" = "no crash" ] && [ "$runs" -lt "$least" ]; then
    verdict="FAILED: expected at least $least"
    failed=1
  fi
  table+=$(printf '%-12s %8s   %s' "$target" "$runs" "$verdict")$'\n'
done
printf '\nmutated inputs in %s s each:\n%s' "$seconds" "$table"
exit "$failed"
