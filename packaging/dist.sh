#!/usr/bin/env bash
# Makes a release's files in target/dist: for this machine, or with ARCH=amd64 or ARCH=arm64 for
# that one. The same commit and tools give the same bytes, wherever the source lies. `make dist`
# makes sure that the tools are there.
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022
cd "$(dirname "$0")/.."

# The C library that a release needs: that of RHEL 7, and the oldest that Rust supports.
glibc=2.17

fail() { echo "make dist: $1" >&2; exit 1; }
cargo=${CARGO:-cargo}
package=fluent-bit-kubeletstats
. packaging/arch.sh
triple=$machine-unknown-linux-gnu

version=$($cargo metadata --locked --no-deps --format-version 1 \
    | jq -r '.packages[] | select(.name == "flb-in-kubeletstats").version')
# Of a source archive without git: set SOURCE_DATE_EPOCH.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

# Who answers for the packages. A build that is no release says so, with the only address that exists
# on every machine.
reserved='(@|\.)(example|invalid|test|local|localhost|localdomain)(\.(com|net|org))?>$'
if [ -z "${MAINTAINER:-}" ]; then
    ! git tag --points-at HEAD 2>/dev/null | grep -qxF "v$version" \
        || fail "this commit is tagged v$version: a release names who answers for it, as in MAINTAINER='Name <name@domain>'"
    MAINTAINER='local build that nobody released <root@localhost>'
elif ! [[ $MAINTAINER =~ ^[^\<\>]+\ \<[^\<\>@\ ]+@[^\<\>@\ ]+\.[^\<\>@\ ]+\>$ ]] || [[ $MAINTAINER =~ $reserved ]]; then
    fail "MAINTAINER=$MAINTAINER: nobody reads mail there: expected Name <name@domain> of a person or a list"
fi

target=${CARGO_TARGET_DIR:-target}
dist=$target/dist
built=$target/$triple/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$dist"
# Those of the other architecture stay, if they are of this version.
find "$dist" -type f \( -not -name "*[-_]$version[-_]*" -o -name "*$machine*" -o -name "*_$arch.*" \) -delete

# Build. With --target the flags stay off build scripts, and the output does not
# mix with that of `make build`. Source paths end up in panic messages: the user's
# and the build folder's are taken out.
separator=$'\x1f'
export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo${separator}--remap-path-prefix=$PWD=/src"
$cargo zigbuild --locked --release --target "$triple.$glibc" -p flb-in-kubeletstats -p kubeletstats-cli
unset CARGO_ENCODED_RUSTFLAGS

files=$work/files
mkdir "$files"
plugin=$files/flb-in_kubeletstats.so
command=$files/kubeletstats
install -m 644 "$built/libflb_in_kubeletstats.so" "$plugin"
install -m 755 "$built/kubeletstats" "$command"
if grep -aqF -e "$PWD/" -e "${CARGO_HOME:-$HOME/.cargo}/" "$plugin" "$command"; then
    fail "a built file holds a path of this machine"
fi

# The packages depend on this version of glibc, and on nothing else.
for file in "$plugin" "$command"; do
    newest=$(readelf -W --dyn-syms "$file" | grep -oE '@GLIBC_[0-9.]+' | tr -d @ | sort -uV | tail -1 || true)
    [ -n "$newest" ] || fail "$(basename "$file") names no version of glibc: is it linked dynamically?"
    [ "$(printf 'GLIBC_%s\n%s\n' $glibc "$newest" | sort -V | tail -1)" = GLIBC_$glibc ] \
        || fail "$(basename "$file") needs $newest: the packages say GLIBC_$glibc"
    others=$(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' \
        | grep -vxE '(libc|libm)\.so\.6|lib(dl|rt)\.so\.[12]|libpthread\.so\.0|ld-linux-.*' || true)
    [ -z "$others" ] || fail "$(basename "$file") needs $others, on which the packages do not depend"
    echo "$(basename "$file"): $newest at most"
done

# Bills of materials and licences: what is linked, and under which licence.
sbom=$dist/$package-$version-linux-$machine
packaging/sbom.sh "$triple" flb-in-kubeletstats "$plugin" > "$sbom.plugin.cdx.json"
packaging/sbom.sh "$triple" kubeletstats-cli "$command" > "$sbom.command.cdx.json"
packaging/licences.sh "$sbom".*.cdx.json > "$work/THIRD-PARTY.txt"

# The archive: unpack it anywhere, run Fluent Bit inside.
root=$work/$package-$version-linux-$machine
mkdir "$root"
cp "$plugin" "$command" LICENSE CHANGELOG.md fluent-bit.conf "$work/THIRD-PARTY.txt" "$root"
for file in fluent-bit.yaml plugins.conf; do
    sed 's#target/release/#./#' $file > "$root/$file"
done
cp packaging/INSTALL.md "$root"
cp "$sbom.plugin.cdx.json" "$root/plugin.cdx.json"
cp "$sbom.command.cdx.json" "$root/command.cdx.json"
tar -C "$work" --sort=name --format=ustar --owner=0 --group=0 --numeric-owner \
    --mtime="@$SOURCE_DATE_EPOCH" -cf - "$(basename "$root")" \
    | gzip -9n > "$dist/$(basename "$root").tar.gz"

# The packages. The comments at the top of the configurations are about the source tree, so they are
# replaced.
{
    cat packaging/debian/kubeletstats.yaml.head
    sed -e '1,/^$/d' -e 's#flb-storage#/var/lib/fluent-bit-kubeletstats#' \
        -e 's#target/release/#/usr/lib/fluent-bit/#' fluent-bit.yaml
} > "$files/kubeletstats.yaml"
{
    cat packaging/debian/kubeletstats.conf.head
    sed -e '1,/^$/d' -e 's#flb-storage#/var/lib/fluent-bit-kubeletstats#' \
        -e 's#\(Plugins_File  *\)plugins.conf#\1/etc/fluent-bit/kubeletstats-plugins.conf#' fluent-bit.conf
} > "$files/kubeletstats.conf"
cp packaging/debian/{kubeletstats-plugins.conf,copyright,postrm} LICENSE "$files"
cp packaging/INSTALL.md "$files/README.md"
gzip -9nc packaging/debian/kubeletstats.1 > "$files/kubeletstats.1.gz"
gzip -9nc "$work/THIRD-PARTY.txt" > "$files/third-party.txt.gz"
gzip -9nc "$sbom.plugin.cdx.json" > "$files/plugin.cdx.json.gz"
gzip -9nc "$sbom.command.cdx.json" > "$files/command.cdx.json.gz"
gzip -9nc CHANGELOG.md > "$files/NEWS.gz"
printf '%s (%s) unstable; urgency=medium\n\n  * Release %s: see NEWS.gz.\n\n -- %s  %s\n' \
    $package "$version" "$version" "$MAINTAINER" "$(date -Rd "@$SOURCE_DATE_EPOCH")" \
    | gzip -9n > "$files/changelog.gz"
find "$files" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
config=$PWD/packaging/nfpm.yaml
absolute=$(realpath "$dist")
for packager in deb rpm; do
    (cd "$files" && ARCH=$arch VERSION=$version MAINTAINER=$MAINTAINER \
        nfpm package --config "$config" --packager $packager --target "$absolute" >/dev/null)
done

(cd "$dist" && sha256sum -- * > "$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
echo "target/dist:"
(cd "$dist" && ls -l | awk 'NR > 1 { printf "  %9d  %s\n", $5, $9 }')
