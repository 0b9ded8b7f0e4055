#!/bin/sh
# Builds the Debian package from a program that is built already: deploy/debian/build.sh PROGRAM CHECKER OUT
#
# dpkg-deb is all that it takes, and no network. The version is the program's own, the day's commit behind it where it is not
# a release. What it depends on is what the program is linked against.
set -eu
if [ $# -ne 3 ]; then
    echo "usage: $0 PROGRAM CHECKER OUT" >&2
    exit 2
fi
program=$1 checker=$2 out=$3
here=$(cd "$(dirname "$0")" && pwd)
deploy=$(dirname "$here")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# The folder of the package itself is everybody's to read.
chmod 0755 "$root"
version=${MCRUN_PACKAGE_VERSION:-$("$program" --version | cut -d' ' -f2)}
architecture=$(dpkg --print-architecture)

install -D -m 0755 "$program" "$root/usr/bin/mcrun"
install -D -m 0755 "$checker" "$root/usr/bin/mcrun-check"
strip --strip-unneeded "$root/usr/bin/mcrun" "$root/usr/bin/mcrun-check"

# Units of a package lie apart from an administrator's, and start what the package brought.
for unit in mcrun.service mcrun.socket mcrun-edge.service mcrun-boot.service; do
    mkdir -p "$root/lib/systemd/system"
    sed 's|/usr/local/bin/mcrun|/usr/bin/mcrun|' "$deploy/systemd/$unit" >"$root/lib/systemd/system/$unit"
    chmod 0644 "$root/lib/systemd/system/$unit"
done
install -D -m 0644 "$deploy/systemd/sysusers.conf" "$root/usr/lib/sysusers.d/mcrun.conf"
install -D -m 0644 "$deploy/systemd/tmpfiles.conf" "$root/usr/lib/tmpfiles.d/mcrun.conf"
# With the socket that its unit listens at. dpkg asks before it overwrites one that was changed.
mkdir -p "$root/etc/mcrun"
sed '/^#\[daemon.api\]$/,/^#mode/ { s/^#\[/[/; s/^#socket /socket /; s/^#group /group / }' \
    "$deploy/mcrun.toml" >"$root/etc/mcrun/mcrun.toml"
chmod 0644 "$root/etc/mcrun/mcrun.toml"
mkdir -p -m 0755 "$root/etc/mcrun/playbooks"

# Playbooks that run as they are: `folders` in mcrun.toml names them, or a copy of one in /etc/mcrun/playbooks.
scripts="$root/usr/share/mcrun/scripts"
mkdir -p "$scripts"
for script in "$deploy"/../scripts/*.lua; do
    case $script in
        *.test.lua) ;;
        *) [ -e "$script" ] && install -m 0644 "$script" "$scripts/" ;;
    esac
done
# A whole platform, to be copied: folders beneath one of playbooks hold modules, so nothing in it starts by itself.
mkdir -p "$scripts/metacircular"
for script in "$deploy"/../scripts/metacircular/*; do
    case $script in
        *.test.lua) ;;
        *) install -m 0644 "$script" "$scripts/metacircular/" ;;
    esac
done

documents="$root/usr/share/doc/mcrun"
mkdir -p "$documents" "$root/usr/share/man/man1" "$root/usr/share/bash-completion/completions" \
    "$root/usr/share/zsh/vendor-completions" "$root/usr/share/fish/vendor_completions.d"
install -m 0644 "$deploy/../README.md" "$documents/README.md"
# As it is, whatever becomes of the one in /etc.
install -m 0644 "$deploy/mcrun.toml" "$documents/mcrun.toml"
install -m 0644 "$here/copyright" "$documents/copyright"
gzip -9n <"$deploy/../CHANGELOG.md" >"$documents/changelog.gz"
"$program" man --out "$root/usr/share/man/man1" 2>/dev/null
gzip -9n "$root"/usr/share/man/man1/*.1
"$program" completions bash >"$root/usr/share/bash-completion/completions/mcrun"
"$program" completions zsh >"$root/usr/share/zsh/vendor-completions/_mcrun"
"$program" completions fish >"$root/usr/share/fish/vendor_completions.d/mcrun.fish"

# The libraries that it is linked against, by the packages that have them. Statically linked, it needs none.
depends=$(ldd "$program" "$checker" 2>/dev/null | awk '$2 == "=>" { print $3 }' | sort -u | while read -r library; do
    real=$(readlink -f "$library")
    dpkg-query --search "$real" "$library" "/usr$real" 2>/dev/null | head -n 1 | cut -d: -f1
done | sort -u | paste -s -d, | sed 's/,/, /g')

mkdir -p "$root/DEBIAN"
for script in postinst prerm postrm; do
    install -m 0755 "$here/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find etc -type f | sed 's|^|/|' | sort >DEBIAN/conffiles)
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -print0 | sort -z | xargs -0 md5sum | sed 's|\./||' >DEBIAN/md5sums)
chmod 0644 "$root/DEBIAN/conffiles" "$root/DEBIAN/md5sums"
sed -e "s|@VERSION@|$version|" -e "s|@ARCHITECTURE@|$architecture|" -e "s|@DEPENDS@|${depends:+$depends, }|" \
    -e "s|@SIZE@|$(du -sk --exclude=DEBIAN "$root" | cut -f1)|" "$here/control" >"$root/DEBIAN/control"

package="$out/mcrun_${version}_$architecture.deb"
# A test throws it away again, and packs nothing: MCRUN_PACKAGE_COMPRESSION=none.
dpkg-deb --root-owner-group "-Z${MCRUN_PACKAGE_COMPRESSION:-xz}" --build "$root" "$package" >/dev/null
echo "$package"
