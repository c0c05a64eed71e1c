#!/usr/bin/env bash
# sbom.sh TRIPLE PACKAGE FILE: a CycloneDX 1.6 bill of materials of one built file, on
# stdout. It lists the crates that are linked into it: cargo's own tree without the
# edges of build scripts, tests and procedural macros, which end with the build.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
triple=$1 package=$2 file=$3
cargo=${CARGO:-cargo}

# `name version`, one a line, this package first.
linked=$($cargo tree --locked --target "$triple" -p "$package" -e normal,no-proc-macro \
    --prefix none --no-dedupe --format '{p}' | awk '{ sub(/^v/, "", $2); print $1, $2 }' | awk '!seen[$0]++')
# Each crate's archive, as cargo checked it when it was fetched.
checksums=$(awk '/^name = /{n=$3} /^version = /{v=$3} /^checksum = /{print n, v, $3}' Cargo.lock | tr -d '"')
rustc=$(rustc -V | cut -d' ' -f2)

$cargo metadata --locked --format-version 1 --filter-platform "$triple" | jq -S \
    --arg linked "$linked" --arg checksums "$checksums" --arg rustc "$rustc" \
    --arg package "$package" --arg file "$(basename "$file")" \
    --arg sha256 "$(sha256sum "$file" | cut -d' ' -f1)" \
    --arg time "$(date -ud "@$SOURCE_DATE_EPOCH" +%FT%TZ)" '
  def purl: "pkg:cargo/\(.name)@\(.version)";
  def licence: [{expression: (.license | gsub("/"; " OR "))}];
  ($linked | split("\n")) as $linked
  | ($checksums | split("\n") | map(split(" ") | {key: "\(.[0]) \(.[1])", value: .[2]}) | from_entries) as $sums
  | [.packages[] | select("\(.name) \(.version)" | IN($linked[]))] as $all
  | ($all | map({key: .id, value: purl}) | from_entries) as $known
  | ($all[] | select(.name == $package)) as $self
  | ("pkg:generic/rust-std@" + $rustc) as $std
  | {
      bomFormat: "CycloneDX", specVersion: "1.6", version: 1,
      metadata: {
        timestamp: $time,
        component: {
          type: (if $file | endswith(".so") then "library" else "application" end), name: $file, version: $self.version, description: $self.description,
          "bom-ref": ($self | purl), purl: ($self | purl), licenses: ($self | licence),
          hashes: [{alg: "SHA-256", content: $sha256}]
        }
      },
      components: ([$all[] | select(.name != $package) | {
          type: "library", name, version, "bom-ref": purl, purl: purl, licenses: licence, scope: "required"
        }
        + (if .description then {description: (.description | gsub("\\s+"; " "))} else {} end)
        + (if .repository then {externalReferences: [{type: "vcs", url: .repository}]} else {} end)
        + ($sums["\(.name) \(.version)"] as $sum
           | if $sum then {hashes: [{alg: "SHA-256", content: $sum}]} else {} end)]
        + [{type: "library", name: "rust-std", version: $rustc, "bom-ref": $std, scope: "required",
            description: "The Rust standard library and what it links",
            licenses: [{expression: "MIT OR Apache-2.0"}]}]
        | sort_by(."bom-ref")),
      dependencies: ([.resolve.nodes[] | select($known[.id]) | {
          ref: $known[.id],
          dependsOn: ([.deps[] | select(any(.dep_kinds[]; .kind == null)) | $known[.pkg] // empty]
                      + (if $known[.id] == ($self | purl) then [$std] else [] end) | unique)
        }] + [{ref: $std, dependsOn: []}] | sort_by(.ref))
    }'
