#!/usr/bin/env bash
# Plants each mistake of tests/mutants in a copy of the tree and expects that the tests which it names fail. With names as
# arguments only those. A patch that no longer fits, or that no test notices, is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target} CARGO_INCREMENTAL=0
tree=$CARGO_TARGET_DIR/mutants
# The copy lies inside a checkout, perhaps, whose paths must not count for it.
export GIT_CEILING_DIRECTORIES=$CARGO_TARGET_DIR
fail() { echo "mutants: $1" >&2; exit 1; }

# One place for all of them: what a mistake does not touch is compiled once.
# Only what differs is copied, so that its time tells cargo to compile it again.
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    [ -e "$file" ] || continue
    cmp --silent "$file" "$tree/$file" || install -D --mode="$(stat --format=%a "$file")" "$file" "$tree/$file"
done

caught=0
for patch in tests/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    command=$(sed -n 's/^caught by: //p' "$patch")
    [ -n "$command" ] || fail "$name does not say which tests catch it"
    words=($command)
    rounds=()
    if [[ ${words[0]} == *=* ]]; then
        rounds=("${words[0]}")
        words=("${words[@]:1}")
    fi
    git -C "$tree" apply "$root/$patch" || fail "$name does not apply any more"
    log=$tree.log
    # What does not compile is not caught.
    (cd "$tree" && cargo test --locked --quiet "${words[@]}" --no-run) >"$log" 2>&1 || { cat "$log"; fail "$name does not compile"; }
    if (cd "$tree" && env -u MCRUN_RELIABILITY RUST_BACKTRACE=0 ${rounds[@]+"${rounds[@]}"} cargo test --locked --quiet "${words[@]}") >"$log" 2>&1; then
        fail "$name is not caught by: cargo test $command"
    fi
    grep -q '^test result: FAILED' "$log" || { cat "$log"; fail "$name ended in another way than by a failed test"; }
    git -C "$tree" apply --reverse "$root/$patch"
    caught=$((caught + 1))
    echo "caught: $name, $(head -n 1 "$patch")"
done
[ -z "${MCRUN_RELIABILITY:-}" ] || echo "| mistakes planted in journal and corridor, each caught by a test | $caught mistakes | 0 |" >>"$MCRUN_RELIABILITY"
echo "$caught mistakes, all of them caught"
