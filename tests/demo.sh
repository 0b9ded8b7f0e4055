#!/bin/sh
# The main job on a machine that has nothing else installed: plan, deploy, the answering service, a second run.
set -eu
mcrun=$(realpath "$1")
scripts=$(cd "$(dirname "$0")/../scripts/demo" && pwd)
work=$(mktemp -d)
export MCRUN_STATE="$work/state" MCRUN_CONFIG="$work/mcrun.toml"
cat > "$MCRUN_CONFIG" <<'CONFIG'
[drivers]
containers = "process"

[policy]
scripts = ["containers", "exec", "ports", "registry", "health", "http:read:http://127.0.0.1:*/"]
CONFIG
finish() {
    "$mcrun" undeploy hello --yes >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM
say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
expect() { [ "$1" = "$2" ] || { echo "demo: expected \`$2\`, got \`$1\`" >&2; exit 1; }; }

say "mcrun plan hello.lua"
"$mcrun" plan "$scripts/hello.lua" --set mcrun="$mcrun"

say "mcrun hello.lua"
url=$("$mcrun" "$scripts/hello.lua" --set mcrun="$mcrun")
echo "$url"

say "mcrun ps"
"$mcrun" ps

say "mcrun visit.lua $url"
answer=$("$mcrun" "$scripts/visit.lua" "$url" 2>/dev/null)
echo "$answer"
expect "$answer" "Hello from a service that mcrun deployed."

say "mcrun hello.lua    # a second time: nothing to do"
"$mcrun" "$scripts/hello.lua" --set mcrun="$mcrun" 2>&1 | tee "$work/second"
grep -q ' 0 changed' "$work/second" || { echo "demo: the second run changed something" >&2; exit 1; }

say "mcrun undeploy hello --yes"
"$mcrun" undeploy hello --yes
printf '\ndemo: all as it should be\n'
