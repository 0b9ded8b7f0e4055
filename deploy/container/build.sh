#!/bin/sh
# Puts a folder together that an image is built from, without a network: deploy/container/build.sh PROGRAM OUT
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 PROGRAM OUT" >&2
    exit 2
fi
program=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$out/root"
install -D -m 0755 "$program" "$out/root/usr/bin/mcrun"
strip --strip-unneeded "$out/root/usr/bin/mcrun"
# The libraries, and the program that loads them, at the places that the program names. Statically linked, it has none.
ldd "$program" 2>/dev/null | awk '$2 == "=>" { print $3 } $1 ~ "^/" { print $1 }' | sort -u | while read -r library; do
    install -D -m 0755 "$(readlink -f "$library")" "$out/root$library"
done
mkdir -p "$out/root/etc" "$out/root/var/lib/mcrun" "$out/root/run" "$out/root/proc"
chmod 0700 "$out/root/var/lib/mcrun"
mkdir -m 1777 "$out/root/tmp"
echo "root:x:0:0:root:/var/lib/mcrun:/usr/bin/mcrun" >"$out/root/etc/passwd"
echo "root:x:0:" >"$out/root/etc/group"
authorities=/etc/ssl/certs/ca-certificates.crt
[ ! -f "$authorities" ] || install -D -m 0644 "$authorities" "$out/root$authorities"
cp "$here/Containerfile" "$out/Containerfile"
