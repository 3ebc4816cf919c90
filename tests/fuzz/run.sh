#!/usr/bin/env bash
# Fuzzes every reader for FUZZ_SECONDS each (60), or only those named.
#
#   tests/fuzz/run.sh [TARGET ...]
#
# What is found stays below target/fuzz/found, the inputs that reach new code below
# target/fuzz/corpus, so that the next run goes on from there. To see one again:
#   FUZZ_TARGET=wal target/fuzz/*/release/holdfast-fuzz target/fuzz/found/wal-crash-...
#
# The instrumentation is a pass of LLVM that every compiler has; libFuzzer comes with its crate. So
# neither a nightly compiler nor cargo-fuzz is needed. A target is named to cargo, since only then do
# build scripts and macros go without it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${CARGO_TARGET_DIR:-$here/../../target}/fuzz
mkdir -p "$out"
out=$(cd "$out" && pwd)
seconds=${FUZZ_SECONDS:-60}
host=$(rustc -vV | sed -n 's/^host: //p')

export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0"
# The versions that everything else is tested with; cargo adds the fuzzer's own.
cp "$here/../../Cargo.lock" "$here/Cargo.lock"
CARGO_TARGET_DIR=$out cargo build --release --quiet --target "$host" \
  --manifest-path "$here/Cargo.toml"
program=$out/$host/release/holdfast-fuzz

mapfile -t all < <(FUZZ_SEEDS=$out/corpus "$program")
[ $# -gt 0 ] || set -- "${all[@]}"
mkdir -p "$out/found"
failed=()
for target in "$@"; do
  printf 'fuzz: %s for %s s\n' "$target" "$seconds"
  log=$out/$target.log
  FUZZ_TARGET=$target "$program" "$out/corpus/$target" -artifact_prefix="$out/found/$target-" \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 \
    -max_len=70000 -print_final_stats=1 >"$log" 2>&1 || failed+=("$target")
  grep -E 'stat::number_of_executed_units|stat::peak_rss_mb' "$log" || true
  grep -E "[[:space:]](DONE|pulse|REDUCE|NEW)[[:space:]]" "$log" | tail -1 || true
done
for target in "${failed[@]}"; do
  printf 'fuzz: %s FAILED\n' "$target" >&2
  grep -E 'panicked|^ERROR|Test unit written' -A1 "$out/$target.log" | head -20 >&2
done
[ ${#failed[@]} -eq 0 ]
