#!/usr/bin/env bash
# Makes target/dist for the machine it runs on. The same commit and toolchain give
# the same bytes, wherever the source lies. Needs what the build needs, git, and jq.
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022
cd "$(dirname "$0")/.."

for tool in git jq dpkg-deb dpkg-shlibdeps; do
    command -v $tool >/dev/null || { echo "make dist needs $tool (Debian: apt-get install git jq dpkg-dev)" >&2; exit 1; }
done

cargo=${CARGO:-cargo}
package=fluent-bit-kubeletstats
triple=$(rustc -vV | sed -n 's/^host: //p')
machine=${triple%%-*}
arch=$(dpkg --print-architecture)
version=$($cargo metadata --locked --no-deps --format-version 1 \
    | jq -r '.packages[] | select(.name == "flb-in-kubeletstats").version')
# Of a source archive without git: set SOURCE_DATE_EPOCH and MAINTAINER.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
maintainer=${MAINTAINER:-$(git log -1 --format='%an <%ae>')}

target=${CARGO_TARGET_DIR:-target}
dist=$target/dist
built=$target/$triple/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$dist"
mkdir -p "$dist"

# Build. With --target the flags stay off build scripts, and the output does not
# mix with that of `make build`. Source paths end up in panic messages: the user's
# and the build folder's are taken out.
separator=$'\x1f'
export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo${separator}--remap-path-prefix=$PWD=/src"
$cargo build --locked --release --target "$triple" -p flb-in-kubeletstats -p kubeletstats-cli
unset CARGO_ENCODED_RUSTFLAGS

plugin=$work/flb-in_kubeletstats.so
command=$work/kubeletstats
install -m 644 "$built/libflb_in_kubeletstats.so" "$plugin"
install -m 755 "$built/kubeletstats" "$command"
if grep -aqF -e "$PWD/" -e "${CARGO_HOME:-$HOME/.cargo}/" "$plugin" "$command"; then
    echo "a built file holds a path of this machine" >&2
    exit 1
fi

# Papers: what is linked, and under which licence.
sbom=$dist/$package-$version-linux-$machine
packaging/sbom.sh "$triple" flb-in-kubeletstats "$plugin" > "$sbom.plugin.cdx.json"
packaging/sbom.sh "$triple" kubeletstats-cli "$command" > "$sbom.command.cdx.json"
packaging/licences.sh "$sbom".*.cdx.json > "$work/THIRD-PARTY.txt"

# The archive: unpack it anywhere, run Fluent Bit inside.
root=$work/$package-$version-linux-$machine
mkdir "$root"
cp "$plugin" "$command" LICENSE CHANGELOG.md fluent-bit.conf "$work/THIRD-PARTY.txt" "$root"
sed 's#target/release/#./#' plugins.conf > "$root/plugins.conf"
cp packaging/INSTALL.md "$root"
cp "$sbom.plugin.cdx.json" "$root/plugin.cdx.json"
cp "$sbom.command.cdx.json" "$root/command.cdx.json"
tar -C "$work" --sort=name --format=ustar --owner=0 --group=0 --numeric-owner \
    --mtime="@$SOURCE_DATE_EPOCH" -cf - "$(basename "$root")" \
    | gzip -9n > "$dist/$(basename "$root").tar.gz"

# The .deb, beside Fluent Bit's own package and never over its files.
deb=$work/deb
doc=$deb/usr/share/doc/$package
install -Dm 644 "$plugin" "$deb/usr/lib/fluent-bit/flb-in_kubeletstats.so"
install -Dm 755 "$command" "$deb/usr/bin/kubeletstats"
install -d "$deb/etc/fluent-bit" "$deb/var/lib/$package" "$doc" "$deb/DEBIAN"
# The head of the file speaks of the source tree.
{
    cat packaging/debian/kubeletstats.conf.head
    sed -e '1,/^$/d' \
        -e 's#flb-storage#/var/lib/fluent-bit-kubeletstats#' \
        -e 's#\(Plugins_File  *\)plugins.conf#\1/etc/fluent-bit/kubeletstats-plugins.conf#' fluent-bit.conf
} > "$deb/etc/fluent-bit/kubeletstats.conf"
cp packaging/debian/kubeletstats-plugins.conf "$deb/etc/fluent-bit/kubeletstats-plugins.conf"
install -d "$deb/usr/share/man/man1"
gzip -9nc packaging/debian/kubeletstats.1 > "$deb/usr/share/man/man1/kubeletstats.1.gz"
gzip -9nc "$work/THIRD-PARTY.txt" > "$doc/third-party.txt.gz"
cp packaging/debian/copyright "$doc/copyright"
cp packaging/INSTALL.md "$doc/README.md"
gzip -9nc "$sbom.plugin.cdx.json" > "$doc/plugin.cdx.json.gz"
gzip -9nc "$sbom.command.cdx.json" > "$doc/command.cdx.json.gz"
gzip -9nc CHANGELOG.md > "$doc/NEWS.gz"
printf '%s (%s) unstable; urgency=medium\n\n  * Release %s: see NEWS.gz.\n\n -- %s  %s\n' \
    $package "$version" "$version" "$maintainer" "$(date -Rd "@$SOURCE_DATE_EPOCH")" \
    | gzip -9n > "$doc/changelog.gz"

printf '/etc/fluent-bit/%s\n' kubeletstats-plugins.conf kubeletstats.conf > "$deb/DEBIAN/conffiles"
install -m 755 packaging/debian/postrm "$deb/DEBIAN/postrm"
(cd "$deb" && find etc usr -type f -print0 | sort -z | xargs -0 md5sum) > "$deb/DEBIAN/md5sums"
# The lowest libraries that have every symbol used, from Debian's own tables.
mkdir "$work/debian"
: > "$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O "$plugin" -e"$command" 2>shlibdeps.log) \
    || { cat "$work/shlibdeps.log" >&2; exit 1; }
depends=${depends#shlibs:Depends=}
# Files only: how large a folder is depends on the file system.
size=$(find "$deb/etc" "$deb/usr" -type f -printf '%s\n' | awk '{ kib += int(($1 + 1023) / 1024) } END { print kib }')
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@DEPENDS@/$depends/" \
    -e "s/@MAINTAINER@/$maintainer/" -e "s/@SIZE@/$size/" \
    packaging/debian/control.in > "$deb/DEBIAN/control"
# dpkg-deb takes later times back to SOURCE_DATE_EPOCH, and sorts.
find "$deb" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --build "$deb" "$dist/${package}_${version}_$arch.deb" >/dev/null

(cd "$dist" && sha256sum -- * > "$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
echo "target/dist:"
(cd "$dist" && ls -l | awk 'NR > 1 { printf "  %9d  %s\n", $5, $9 }')
