#!/bin/sh
# Rules that no compiler knows: dependency directions, one crypto stack, files that belong together.
set -eu
cd "$(dirname "$0")/.."
fail() { echo "lint: $1" >&2; exit 1; }

tree() { cargo tree --locked --quiet --edges normal --prefix none --package "$1" --format '{p}' | cut -d' ' -f1 | sort -u; }
for primitive in mcrun-containers mcrun-system; do
    tree mcrun-script | grep -qx "$primitive" && fail "script depends on the primitive $primitive"
done
tree mcrun-containers | grep -qx mcrun-system && fail "containers depends on system"
tree mcrun-system | grep -qx mcrun-containers && fail "system depends on containers"
tree mcrun-journal | grep -qE '^mcrun-(effect|script|system|containers)$' && fail "journal depends on another room"
tree mcrun | grep -qx ring && fail "ring is in the tree: aws-lc-rs is the only crypto stack"
tree mcrun | grep -qxE 'openssl|native-tls' && fail "a second TLS stack is in the tree"
grep -rnE 'todo!\(|unimplemented!\(|#\[ignore|dbg!\(' --include='*.rs' runtime tests && fail "unfinished code"
for patch in tests/mutants/*.patch; do
    git apply --check "$patch" || fail "$patch does not apply any more: plant its mistake anew"
    grep -q '^caught by: ' "$patch" || fail "$patch does not say which tests catch it"
done
exit 0
