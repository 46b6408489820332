#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install_deps.sh FOLDER -- the third-party sources that MODULE.bazel names, from Debian's registry.
#
# trixie comes first: it is frozen, and the older side of what users of weft will have. Upstream's
# tarballs ("source") are unpacked as they are; of -dev packages ("headers") usr/include is taken.
# write_registry.py gives the sources to Bazel.
set -euo pipefail
FOLDER=$1
SUITES="trixie forky"
# shellcheck source=tools/setup/debian.sh
. "$(dirname "$0")/debian.sh"
OVERLAYS=$(cd "$(dirname "$0")/../../third_party" && pwd)

# Bazel name, kind, Debian package, sha256 where the version must be this one.
PACKAGES=(
  "abseil-cpp source abseil -"
  "googletest source googletest -"
  "google_benchmark source benchmark -"
  "glslang source glslang 180f17ea51e6b71bf57b9e0fea78ba3ecd76e3ec8e4c91f0771b922eb22bf4b2"
  "vulkan_headers headers libvulkan-dev -"
  "nlohmann_json headers nlohmann-json3-dev -"
  "cli11 headers libcli11-dev -"
)

rm -rf "$FOLDER"
mkdir -p "$FOLDER"
for line in "${PACKAGES[@]}"; do
  read -r name kind package sha256 <<<"$line"
  target=$FOLDER/$name
  mkdir "$target"
  if [[ $kind == source ]]; then
    found=$(fetch_package "$FOLDER/apt" "$SUITES" source "$package") || die "$package is not to be had"
    tar xf "${found% *}" -C "$target" --strip-components=1
  else
    found=$(fetch_package "$FOLDER/apt" "$SUITES" binary "$package") || die "$package is not to be had"
    dpkg -x "${found% *}" "$target/deb"
    mv "$target/deb/usr/include" "$target/include"
    rm -rf "$target/deb"
  fi
  if [[ $sha256 != - ]]; then
    echo "$sha256  ${found% *}" | sha256sum --check --status || die "$(basename "${found% *}") is not the pinned one"
  fi
  if [[ -e $OVERLAYS/$name.BUILD && $name != glslang ]]; then
    cp "$OVERLAYS/$name.BUILD" "$target/BUILD.bazel"
    printf 'module(name = "%s", version = "0")\nbazel_dep(name = "rules_cc", version = "0.0.9")\n' "$name" \
      > "$target/MODULE.bazel"
  fi
  touch "$target/WORKSPACE"
  say "$name: $(basename "${found% *}") (${found##* })"
done
rm -rf "$FOLDER/apt"
