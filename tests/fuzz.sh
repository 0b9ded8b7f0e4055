#!/bin/sh
# Looks for inputs that break what reads them: every target of tests/targets, FUZZ_SECONDS (600) each, guided by coverage.
# `tests/fuzz.sh rows diff` takes only these. What it finds is written to tests/fuzz/found and is to become a seed.
set -eu
cd "$(dirname "$0")/fuzz"
# Every target has a folder of seeds, which the suite replays: none is forgotten here.
targets=${*:-$(ls seeds)}
out=${CARGO_TARGET_DIR:-../../target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
# What `cargo fuzz` sets, spelt for a stable compiler. With a target named, programs of the build itself go without.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cdebug-assertions"
cargo build --target "$host" --target-dir "$out"
for target in $targets; do
    mkdir -p "$out/corpus/$target" found
    echo "== $target"
    MCRUN_FUZZ_TARGET=$target "$out/$host/debug/fuzz" -max_total_time="${FUZZ_SECONDS:-600}" -rss_limit_mb=2048 \
        -timeout=10 -max_len=16384 -print_final_stats=1 -verbosity=1 -artifact_prefix="found/$target-" \
        "$out/corpus/$target" "seeds/$target"
done
