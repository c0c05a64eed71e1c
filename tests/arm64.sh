#!/usr/bin/env bash
# `make arm64`: everything of the release for aarch64, built here and run under QEMU's emulator of
# programs. The Fluent Bits to load the plugin into are named by FLUENT_BIT_ARM64 (several with :
# between them); ARM64_ROOT is a folder with the libraries of an arm64 system that they need.
set -euo pipefail
cd "$(dirname "$0")/.."

triple=aarch64-unknown-linux-gnu
cargo=${CARGO:-cargo}
root=${ARM64_ROOT:-/usr/aarch64-linux-gnu}
emulator=(qemu-aarch64-static -L "$root")

# cargo for aarch64. librdkafka has its own configure script, which needs the names of the tools.
there() {
    CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++ AR=aarch64-linux-gnu-ar \
        RANLIB=aarch64-linux-gnu-ranlib OBJCOPY=aarch64-linux-gnu-objcopy STRIP=aarch64-linux-gnu-strip \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="${emulator[*]}" \
        $cargo "$1" --locked --target $triple "${@:2}"
}
there build --release -p flb-in-kubeletstats -p kubeletstats-cli -p scrape-work
there build --release --manifest-path consumer/Cargo.toml --target-dir target
there build -p embedded-host
there build --lib --features panic-injection --target-dir target/panic

built=$PWD/target/$triple
install "$built/release/libflb_in_kubeletstats.so" "$built/release/flb-in_kubeletstats.so"
install "target/panic/$triple/debug/libflb_in_kubeletstats.so" "target/panic/$triple/flb-in_kubeletstats.so"
for file in flb-in_kubeletstats.so kubeletstats metrics-consumer; do
    readelf -h "$built/release/$file" | grep -q 'Machine: *AArch64' || { echo "$file is not for aarch64" >&2; exit 1; }
done
"${emulator[@]}" "$built/release/metrics-consumer" --help | head -1

# Programs that the tests can start as if they were of this machine.
programs=$built/emulated
rm -rf "$programs"
mkdir -p "$programs"
emulated() {
    printf '#!/bin/sh\nexec %s "%s" "$@"\n' "${emulator[*]}" "$(realpath "$1")" > "$programs/$2"
    chmod +x "$programs/$2"
}
emulated "$built/release/kubeletstats" kubeletstats
emulated "$built/debug/embedded-host" embedded-host
hosts=()
IFS=: read -ra named <<<"${FLUENT_BIT_ARM64:-}"
for host in "${named[@]}"; do
    emulated "$host" "fluent-bit-${#hosts[@]}"
    hosts+=("$programs/fluent-bit-${#hosts[@]}")
done

# The layouts of structures, as the C compiler for aarch64 has them, and the unit tests of the plugin.
there test -q -p json-skip
there test -q -p flb-in-kubeletstats --lib
export KUBELETSTATS_REQUIRE=1 KUBELETSTATS_SO=$built/release/flb-in_kubeletstats.so
export KUBELETSTATS_PANICKING_SO=$PWD/target/panic/$triple/flb-in_kubeletstats.so
export KUBELETSTATS=$programs/kubeletstats EMBEDDED_HOST=$programs/embedded-host
# The test of a process that is no host starts itself again. The emulator cannot do that, so this runs what is started.
KUBELETSTATS_TEST_LOADS_PLUGIN=1 there test -q -p flb-in-kubeletstats --test e2e -- \
    --exact no_host::a_process_without_the_hosts_symbols --nocapture 2>&1 \
    | grep 'this host cannot run the plugin: it lacks flb_input_chunk_append_raw' \
    || { echo "the plugin does not say that a process is no host" >&2; exit 1; }
# Every captured reply has to give the same records as on this machine.
ARM64_REQUIRE=1 $cargo test -q --locked -p scrape-work --test arm64 -- --nocapture
# End to end. The test no_host ran above. Valgrind and the demo run programs of this machine only. A list with
# nothing in it keeps the tests from using this machine's Fluent Bit.
FLUENT_BIT=:$(IFS=:; echo "${hosts[*]:-}") \
    $cargo test --locked --test e2e -- --skip no_host:: --skip memcheck --skip the_demo --nocapture --test-threads=2
if [ ${#hosts[@]} = 0 ]; then
    echo "arm64: Fluent Bit NOT RUN: FLUENT_BIT_ARM64 names none; it ran in the embedded host"
else
    echo "arm64: ran in the embedded host and in $("${hosts[0]}" --version | head -1)"
fi
