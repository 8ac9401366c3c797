#!/usr/bin/env bash
# The whole test suite: format, lints, docs, tests. Stops at the first part that fails.
# Dependencies are compiled twice: their metadata for clippy and docs (dev profile), and once
# optimised (release) for the tests and the binary that they run.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
  printf '\n== %s\n' "$*"
  SECONDS=0
  "$@"
  printf '== %s s: %s\n' "$SECONDS" "$*"
}

[ "${CI:-}" != true ] || step scripts/clients.sh
step cargo fmt --check
step cargo clippy --locked --all-targets -- -D warnings
# --examples: so that dev-dependencies count in choosing features, as for clippy, and metadata is shared.
step env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib --examples
# Half of the kernels' programs, which the driver compiles for minutes: `make test-drivers` runs them all.
step env ONE_PROGRAM_IN=2 cargo test --locked --release
# The benches, only to see that they run and that what they time is right.
step env QUICK=1 cargo bench --locked --bench kernels --bench ceilings --bench engine --bench profiling
step cargo bench --locked --bench cpu -- --test
