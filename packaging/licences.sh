#!/usr/bin/env bash
# licences.sh SBOM…: the licence files, whole, of every crate the SBOMs name, on stdout.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

cat <<'TEXT'
Third-party software in flb-in_kubeletstats.so and kubeletstats
================================================================

Each crate below is linked into the plugin, the command or both. Where a licence
leaves a choice, this distribution takes the Apache License 2.0 if it is offered.
Rust's standard library, with what it links, is licensed MIT OR Apache-2.0
(https://www.rust-lang.org/policies/licenses); both texts are below.
TEXT

names=$(jq -r '.components[] | "\(.name) \(.version)"' "$@" | sort -u)
$cargo metadata --locked --format-version 1 | jq -r --arg names "$names" '
    ($names | split("\n")) as $names
    | [.packages[] | select(.source and ("\(.name) \(.version)" | IN($names[])))]
    | sort_by(.name, .version)[] | [.name, .version, .license, .manifest_path] | @tsv' |
while IFS=$'\t' read -r name version licence manifest; do
    files=$(find "$(dirname "$manifest")" -maxdepth 3 -type f -not -path "*/tests/*" \
        \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'unlicense*' \) | sort)
    [ -n "$files" ] || { echo "$name $version carries no licence file" >&2; exit 1; }
    printf '\n\n%s %s: %s\n%s\n' "$name" "$version" "$licence" \
        "----------------------------------------------------------------"
    while read -r file; do
        printf "\n[%s]\n\n" "${file#"$(dirname "$manifest")"/}"
        tr -d '\r' < "$file"
    done <<<"$files"
done
