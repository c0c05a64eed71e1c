#!/usr/bin/env bash
# Looks at target/dist as a user would get it: checksums, the same bytes from a copy of
# the source elsewhere, and the .deb installed into an empty root, run on a real Fluent
# Bit against the simulated kubelet, verified, and purged. Needs no root.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

package=fluent-bit-kubeletstats
target=$(realpath "${CARGO_TARGET_DIR:-target}")
dist=$target/dist
work=$(mktemp -d)
kubelet=
trap '[ -z "$kubelet" ] || kill "$kubelet" 2>/dev/null || true; rm -rf "$work"' EXIT
say() { printf '%-14s %s\n' "$1" "$2"; }
fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }
# Waits for a command to succeed.
until_true() { for _ in $(seq 300); do "$@" 2>/dev/null && return; sleep 0.1; done; return 1; }

(cd "$dist" && sha256sum --quiet -c SHA256SUMS) || fail "SHA256SUMS"
say checksums "match"

# Panic messages name the crates they come from: each has to be on the list.
tar -C "$work" -xzf "$dist/$package"-*.tar.gz
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
export MAINTAINER=${MAINTAINER:-$(git log -1 --format='%an <%ae>')}
(cd "$work/elsewhere/src" && CARGO_TARGET_DIR=$work/elsewhere/built packaging/dist.sh >"$work/again.log" 2>&1) \
    || { tail -20 "$work/again.log"; fail "a second build"; }
cmp "$dist/SHA256SUMS" "$work/elsewhere/built/dist/SHA256SUMS" || fail "a second build gives other bytes"
say reproducible "a copy built elsewhere gives the same bytes"
rm -rf "$work/elsewhere"

# Installed by dpkg into a root of its own.
root=$work/root
mkdir -p "$root/var/lib/dpkg/"{info,updates,triggers} "$root/etc/fluent-bit"
touch "$root/var/lib/dpkg/status" "$root/etc/fluent-bit/fluent-bit.conf"
in_root() {
    dpkg --root="$root" --log=/dev/null --force-not-root --force-depends --force-script-chrootless "$@"
}
contents() { (cd "$root" && find . -not -path './var/lib/dpkg*' | sort); }
contents > "$work/before"
in_root --install "$dist/${package}"_*.deb >"$work/install.log" 2>&1 || { cat "$work/install.log"; fail "dpkg -i"; }
[ -z "$(in_root --verify $package)" ] || fail "dpkg -V"
say installed "dpkg -V finds nothing changed"

# Real Fluent Bit, the installed configuration, and nothing else.
fluent_bit=${FLUENT_BIT:-$(command -v fluent-bit || echo /opt/fluent-bit/bin/fluent-bit)}
fluent_bit=${fluent_bit%%:*}
if [ -x "$fluent_bit" ]; then
    ${CARGO:-cargo} build -q --locked -p sim-kubelet
    "$target/debug/sim-kubelet" --listen 127.0.0.1:0 --dir "$work/kubelet" --sample-period 1s >"$work/kubelet.log" &
    kubelet=$!
    until_true grep -q 'client key' "$work/kubelet.log" || fail "no simulated kubelet"
    # The paths in the files are those of an installed system.
    sed -i "s#/\(etc/fluent-bit\|usr/lib\|var/lib\)/#$root/\1/#" "$root"/etc/fluent-bit/kubeletstats*.conf
    KAFKA_BROKERS=127.0.0.1:9 TARGET_NAMESPACE=default SCRAPE_INTERVAL_MS=500 \
        KUBELET_URL=$(sed -n 's/^listening on //p' "$work/kubelet.log") \
        KUBELET_TOKEN_FILE=$work/kubelet/token KUBELET_CA_FILE=$work/kubelet/ca.crt KUBELET_SERVER_NAME=vm \
        "$fluent_bit" -c "$root/etc/fluent-bit/kubeletstats.conf" >"$work/records.log" 2>&1 &
    host=$!
    until_true grep -aq '"cpu":' "$work/records.log" || { cat "$work/records.log"; kill $host; fail "no record"; }
    kill $host
    wait $host || true
    say run "$("$fluent_bit" --version | head -1): $(grep -ac '"cpu":' "$work/records.log") records"
    kill "$kubelet"
    kubelet=
else
    say run "SKIPPED: no Fluent Bit here (FLUENT_BIT, PATH, /opt/fluent-bit)"
fi

in_root --purge $package >"$work/purge.log" 2>&1 || { cat "$work/purge.log"; fail "dpkg --purge"; }
contents | diff "$work/before" - || fail "purge leaves something behind"
say purged "nothing is left"
