#!/bin/sh
# The main job on a machine that has nothing else installed: plan, deploy, the answering service, a second run; then the same
# service under its name, by HTTPS, and new versions of it while it is visited: not one request may fail.
set -eu
mcrun=$(realpath "$1")
scripts=$(cd "$(dirname "$0")/../scripts/demo" && pwd)
work=$(mktemp -d)
host=hello.mcrun.test
export MCRUN_STATE="$work/state" MCRUN_CONFIG="$work/mcrun.toml"
cat > "$MCRUN_CONFIG" <<'CONFIG'
[drivers]
containers = "process"

[policy]
scripts = ["containers", "exec", "ports", "registry", "health", "http:read:http://127.0.0.1:*/"]
CONFIG
daemon=
finish() {
    "$mcrun" undeploy hello --yes >/dev/null 2>&1 || true
    if [ -n "$daemon" ]; then
        edge=$("$mcrun" dns status --json 2>/dev/null | sed -n 's/.*"process": *\([0-9]*\).*/\1/p')
        kill "$daemon" 2>/dev/null || true
        wait "$daemon" 2>/dev/null || true
        # It outlives the daemon, so that nobody notices when that is replaced.
        [ -z "$edge" ] || kill "$edge" 2>/dev/null || true
        tries=0
        while [ -n "$edge" ] && [ -d "/proc/$edge" ] && [ $tries -lt 100 ]; do
            tries=$((tries + 1))
            sleep 0.1
        done
    fi
    # What still writes there must not make a demo that went well a failure.
    rm -rf "$work" 2>/dev/null || { sleep 1; rm -rf "$work" || true; }
}
trap finish EXIT
trap 'exit 130' INT TERM
say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
fail() { echo "demo: $*" >&2; exit 1; }
expect() { [ "$1" = "$2" ] || fail "expected \`$2\`, got \`$1\`"; }

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
grep -q ' 0 changed' "$work/second" || fail "the second run changed something"

# By name: the name server and the proxy listen at ports that nobody else has.
"$mcrun" "$scripts/ports.lua" names proxy --allow ports > "$work/ports" 2>/dev/null
names=$(sed -n 1p "$work/ports") proxy=$(sed -n 2p "$work/ports")
cat > "$MCRUN_CONFIG" <<CONFIG
[node]
address = "127.0.0.1"

[drivers]
containers = "process"

[dns]
listen = ["127.0.0.1:$names"]

[routes]
addresses = ["127.0.0.1"]

[policy]
scripts = ["containers", "exec", "ports", "registry", "health", "nodes", "certs", "routes", "dns"]
CONFIG
hello() {
    "$mcrun" "$scripts/hello.lua" --set mcrun="$mcrun" --set hostname=$host --set listen="$proxy" "$@"
}

say "mcrun serve &"
"$mcrun" serve 2> "$work/serve" &
daemon=$!
tries=0
until grep -q 'ready; certificates' "$work/serve"; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] && kill -0 $daemon || { cat "$work/serve" >&2; fail "mcrun serve does not get ready"; }
    sleep 0.1
done
cat "$work/serve"

say "mcrun zones set mcrun.test"
"$mcrun" zones set mcrun.test

say "mcrun plan hello.lua --set hostname=$host"
"$mcrun" plan "$scripts/hello.lua" --set mcrun="$mcrun" --set hostname=$host --set listen="$proxy"

say "mcrun hello.lua --set hostname=$host"
hello

"$mcrun" certs ca bundle > "$work/ca.pem"
address=$("$mcrun" "$scripts/resolve.lua" $host 2>/dev/null)
say "curl --cacert ca.pem https://$host:$proxy/    # our name server says: $address"
if command -v curl >/dev/null; then
    answer=$(curl -sS --cacert "$work/ca.pem" --resolve "$host:$proxy:$address" "https://$host:$proxy/")
else
    answer=$("$mcrun" demo-visit $host "$address:$proxy" "$work/ca.pem")
fi
echo "$answer"
expect "$answer" "Hello from a service that mcrun deployed."

# Each time the line before the last says what became of the requests.
roll_out() {
    say "mcrun hello.lua $*    # while it is visited"
    # The words are for the shell that the visitors start.
    "$mcrun" demo-visit $host "$address:$proxy" "$work/ca.pem" \
        "$mcrun" "$scripts/hello.lua" --set mcrun="$mcrun" --set hostname=$host --set listen="$proxy" "$@" \
        > "$work/visits" || { cat "$work/visits"; fail "requests failed"; }
    cat "$work/visits"
    grep -q '^[1-9][0-9]* requests sent, 0 failed$' "$work/visits" || fail "requests failed"
}
roll_out --set version=v2.0.0 --set message=two --set strategy=recreate
roll_out --set version=v3.0.0 --set message=three --set strategy=rolling
roll_out --set version=v4.0.0 --set message=four --set strategy=blue_green --set replicas=2
roll_out --set version=v5.0.0 --set message=five --set strategy=rolling --set replicas=2
answer=$("$mcrun" demo-visit $host "$address:$proxy" "$work/ca.pem")
expect "$answer" "five"

say "mcrun undeploy hello --yes"
"$mcrun" undeploy hello --yes
printf '\ndemo: all as it should be\n'
