#!/usr/bin/env bash
# Writes the version of Cargo.toml into every other file that has it. With --check it changes
# nothing and names the files that have another one.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
[ -n "$version" ] || { echo "no version in Cargo.toml" >&2; exit 1; }
number='[0-9]+\.[0-9]+\.[0-9]+[-.0-9a-z]*'

# Images by their names, tags beside them, the chart, and the consumer's own manifest.
images="s#((fluent-bit-kubeletstats|kubeletstats-plugin|kubeletstats-consumer):)$number#\\1$version#g"
tags="s#^([ ]*newTag: |  tag: )$number\$#\\1$version#"
chart="s#^(version|appVersion): $number\$#\\1: $version#"
manifest="s#^version = \"$number\"#version = \"$version\"#"

differs=0
while IFS= read -r file; do
    rules=(-e "$images")
    case $file in
        */kustomization.yaml | deploy/helm/values.yaml) rules+=(-e "$tags") ;;
        */Chart.yaml) rules=(-e "$chart") ;;
        consumer/Cargo.toml) rules=(-e "$manifest") ;;
    esac
    if ! sed -E "${rules[@]}" "$file" | cmp -s - "$file"; then
        differs=1
        case ${1-} in
            --check) echo "$file has another version than $version" ;;
            *) sed -E -i "${rules[@]}" "$file" && echo "$file" ;;
        esac
    fi
done < <(git ls-files '*.md' '*.yaml' Makefile Dockerfile consumer/Cargo.toml | grep -v CHANGELOG.md)
[ "${1-}" != --check ] || exit $differs
