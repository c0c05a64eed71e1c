#!/usr/bin/env bash
# Tests target/dist as a user would get it: checksums, bills of materials, the same bytes from a
# copy of the source elsewhere, one content in both packages, and the packages installed, run on
# real Fluent Bits against the simulated kubelet, and removed. The .deb is installed into an
# empty root first, which needs no rights. Then, if the user is root and there is debootstrap, both are
# installed into fresh Debians. ARCH is as for dist.sh. QEMU's emulator runs the other architecture.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

package=fluent-bit-kubeletstats
target=$(realpath "${CARGO_TARGET_DIR:-target}")
dist=$target/dist
work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; rm -rf --one-file-system "$work"' EXIT
say() { printf '%-14s %s\n' "$1" "$2"; }
fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }
# try WHAT COMMAND…: a step whose output is shown only if it fails.
try() {
    local what=$1
    shift
    "$@" >"$work/step.log" 2>&1 || { cat "$work/step.log"; fail "$what"; }
}
# Waits for a command to succeed.
until_true() { for _ in $(seq "${patience:-300}"); do "$@" 2>/dev/null && return; sleep 0.1; done; return 1; }

. packaging/arch.sh
# What runs the files, and the Fluent Bits to run them in.
emulator=()
named=FLUENT_BIT
if [ $machine != "$(uname -m)" ]; then
    named=FLUENT_BIT_${arch^^}
    # A folder with the libraries of that architecture.
    libraries=${arch^^}_ROOT
    libraries=${!libraries:-/usr/$machine-linux-gnu}
    emulator=("qemu-$machine-static" -L "$libraries")
    patience=1200
fi
IFS=: read -ra hosts <<<"${!named:-}"
if [ ${#hosts[@]} = 0 ] && [ $named = FLUENT_BIT ]; then
    found=$(command -v fluent-bit || echo /opt/fluent-bit/bin/fluent-bit)
    [ ! -x "$found" ] || hosts=("$found")
fi
none="NOT RUN: no Fluent Bit for $machine ($named names one, several with : between them)"

(cd "$dist" && sha256sum --quiet -c SHA256SUMS) || fail "SHA256SUMS"
say checksums "match"

# Panic messages name the crates they come from: each has to be on the list.
tar -C "$work" -xzf "$(echo "$dist/$package"-*-$machine.tar.gz)"
unpacked=$(echo "$work/$package"-*)
for pair in flb-in_kubeletstats.so:plugin kubeletstats:command; do
    seen=$(grep -aoE 'registry/src/[^/]+/[A-Za-z0-9_.+-]+/' "$unpacked/${pair%:*}" | awk -F/ '{print $4}' | sort -u)
    listed=$(jq -r '.components[] | "\(.name)-\(.version)"' "$unpacked/${pair#*:}.cdx.json" | sort)
    missing=$(comm -23 <(echo "$seen") <(echo "$listed"))
    [ -n "$seen" ] && [ -z "$missing" ] || fail "crates in ${pair%:*} that its SBOM lacks: ${missing:-none seen}"
    say sbom "${pair%:*}: $(echo "$listed" | wc -l) listed, $(echo "$seen" | wc -l) seen in the file, none missing"
done

# The same source in another folder, built into another one.
mkdir -p "$work/elsewhere/src"
git ls-files -z --cached --others --exclude-standard | while IFS= read -rd '' file; do
    [ ! -e "$file" ] || printf '%s\0' "$file"
done | tar --null -T - -cf - | tar -C "$work/elsewhere/src" -xf -
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
(cd "$work/elsewhere/src" && CARGO_TARGET_DIR=$work/elsewhere/built packaging/dist.sh >"$work/again.log" 2>&1) \
    || { tail -20 "$work/again.log"; fail "a second build"; }
again=$work/elsewhere/built/dist/SHA256SUMS
grep -wFf <(cut -c67- "$again") "$dist/SHA256SUMS" | cmp - "$again" || fail "a second build gives other bytes"
say reproducible "a copy built elsewhere gives the same bytes"
rm -rf "$work/elsewhere"

deb=$(echo "$dist/$package"_*_$arch.deb)
rpm=$(echo "$dist/$package"-*.$machine.rpm)

# Both packages have the same files, except that licence and changes have their own places in each.
mkdir "$work/deb" "$work/rpm"
dpkg-deb -x "$deb" "$work/deb"
if command -v rpm2archive >/dev/null; then
    # tar, unlike cpio, takes the slash from nfpm's paths, and so stays in the folder.
    rpm2archive - <"$rpm" | tar -C "$work/rpm" -xz 2>/dev/null
    content() { (cd "$1" && find . -type f -not -name copyright -not -name changelog.gz -not -path '*/licenses/*' -exec sha256sum {} + | sort -k2); }
    diff <(content "$work/deb") <(content "$work/rpm") || fail "the .deb and the .rpm hold other files"
    [ "$(rpm -qp --configfiles "$rpm" 2>/dev/null)" = "$(dpkg-deb -I "$deb" conffiles)" ] \
        || fail "the .deb and the .rpm have other files of configuration"
    say content "$(content "$work/rpm" | wc -l) files, the same in the .deb and the .rpm"
else
    say content "NOT RUN: there is no rpm2archive (Debian: apt-get install rpm)"
fi

${CARGO:-cargo} build -q --locked -p sim-kubelet
"$target/debug/sim-kubelet" --listen 127.0.0.1:0 --dir "$work/kubelet" --sample-period 1s >"$work/kubelet.log" &
pids+=($!)
until_true grep -q 'client key' "$work/kubelet.log" || fail "no simulated kubelet"
settings=(KAFKA_BROKERS=127.0.0.1:9 TARGET_NAMESPACE=default SCRAPE_INTERVAL_MS=500 KUBELET_SERVER_NAME=vm
    "KUBELET_URL=$(sed -n 's/^listening on //p' "$work/kubelet.log")")
trusted() { printf '%s\n' "KUBELET_TOKEN_FILE=$1/token" "KUBELET_CA_FILE=$1/ca.crt"; }

# run LABEL VERSION ETC COMMAND…: a Fluent Bit with the installed configuration its release takes,
# and the command, until records have come. Environment from `settings` and `files`.
run() {
    local label=$1 version=$2 etc=$3 form=yaml
    shift 3
    [[ $version =~ v[45]\.|v3\.[2-9] ]] || form=conf
    env "${settings[@]}" "${files[@]}" "$@" -c "$etc/kubeletstats.$form" >"$work/records.log" 2>&1 &
    local host=$!
    pids+=($host)
    until_true grep -aq '"cpu":' "$work/records.log" || { cat "$work/records.log"; fail "no record: $label, $version"; }
    kill $host
    wait $host || true
    say run "$label, $version, kubeletstats.$form: $(grep -ac '"cpu":' "$work/records.log") records"
}
# A Fluent Bit is built for one system: it has to start in one of the roots below, not in all.
declare -A started
version_of() { { "$@" --version 2>/dev/null || true; } | sed -n 's/^Fluent Bit //p'; }
finish() {
    for host in "${hosts[@]}"; do
        [ -n "${started[$host]:-}" ] || fail "$host, which $named names, starts nowhere"
    done
    exit
}

# Installed by dpkg into a root of its own.
root=$work/root
mkdir -p "$root/var/lib/dpkg/"{info,updates,triggers} "$root/etc/fluent-bit"
touch "$root/var/lib/dpkg/status" "$root/etc/fluent-bit/fluent-bit.conf"
in_root() {
    dpkg --root="$root" --log=/dev/null --force-not-root --force-depends --force-architecture \
        --force-script-chrootless "$@"
}
contents() { (cd "$root" && find . -not -path './var/lib/dpkg*' | sort); }
contents > "$work/before"
try "dpkg -i" in_root --install "$deb"
[ -z "$(in_root --verify $package)" ] || fail "dpkg -V"
say installed "dpkg -V finds nothing changed"
# The paths in the files are those of an installed system.
sed -i "s#/\(etc/fluent-bit\|usr/lib\|var/lib\)/#$root/\1/#" "$root"/etc/fluent-bit/kubeletstats*
mapfile -t files < <(trusted "$work/kubelet")
for host in "${hosts[@]}"; do
    version=$(version_of "${emulator[@]}" "$host")
    [ -n "$version" ] || { say run "dpkg's root: $host does not start on this machine"; continue; }
    run "dpkg's root" "$version" "$root/etc/fluent-bit" "${emulator[@]}" "$host"
    started[$host]=1
done
[ ${#hosts[@]} != 0 ] || say run "$none"
if [ ${#emulator[@]} = 0 ] || command -v "${emulator[0]}" >/dev/null; then
    try "kubeletstats check" env "${settings[@]}" "${files[@]}" "${emulator[@]}" "$root/usr/bin/kubeletstats" check \
        -c "$root/etc/fluent-bit/kubeletstats.conf"
    say command "$(tail -1 "$work/step.log")"
else
    say command "NOT RUN: there is no ${emulator[0]} (Debian: apt-get install qemu-user-static)"
fi
try "dpkg --purge" in_root --purge $package
contents | diff "$work/before" - || fail "purge leaves something behind"
say purged "nothing is left"

# Fresh Debians, as users have them: 12, and 11 with the oldest glibc that an official image has.
if [ ${#emulator[@]} != 0 ] || [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
    say debian "NOT RUN: fresh Debians need root, debootstrap and a $machine"
    finish
fi
mkdir -p "$target/debootstrap"
for suite in bookworm bullseye; do
    # What the usual Fluent Bit is linked with; ca-certificates is recommended.
    [ $suite = bookworm ] && ssl=libssl3 || ssl=libssl1.1
    root=$work/$suite
    try "debootstrap $suite" debootstrap --variant=minbase --cache-dir="$target/debootstrap" \
        --include=ca-certificates,libyaml-0-2,libsasl2-2,zlib1g,$ssl $suite "$root"
    os=$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' "$root/etc/os-release")
    glibc=$(chroot "$root" ldd --version | sed -n '1s/.* //p')
    cp -r "$work/kubelet" "$root/kubelet"
    mapfile -t files < <(trusted /kubelet)
    # run_hosts LABEL: each that starts in this root.
    run_hosts() {
        local ran=0 host version
        for host in "${hosts[@]}"; do
            install -D "$host" "$root/opt/fluent-bit/bin/fluent-bit"
            version=$(version_of chroot "$root" /opt/fluent-bit/bin/fluent-bit)
            [ -n "$version" ] || continue
            run "$1" "$version" /etc/fluent-bit chroot "$root" /opt/fluent-bit/bin/fluent-bit
            started[$host]=1
            ran=$((ran + 1))
        done
        [ $ran != 0 ] || say run "$1: NOT RUN: none of $named starts there"
        try "kubeletstats check: $1" env "${settings[@]}" "${files[@]}" chroot "$root" kubeletstats check \
            -c /etc/fluent-bit/kubeletstats.conf
        say command "$1: $(tail -1 "$work/step.log")"
    }
    cp "$deb" "$root/"
    try "apt install: $os" chroot "$root" apt-get install -qy "/$(basename "$deb")"
    run_hosts "$os, glibc $glibc, .deb"
    try "apt purge: $os" chroot "$root" apt-get purge -qy $package
    if command -v rpm >/dev/null; then
        # Debian's glibc is in no database of rpm.
        try "rpm -i: $os" rpm --root "$root" --nodeps --install "$rpm"
        [ -z "$(rpm --root "$root" --nodeps --verify $package 2>&1)" ] || fail "rpm -V: $os"
        run_hosts "$os, glibc $glibc, .rpm"
        try "rpm -e: $os" rpm --root "$root" --erase $package
    else
        say rpm "NOT RUN: there is no rpm (Debian: apt-get install rpm)"
    fi
done
finish
