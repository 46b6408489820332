#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# setup.sh REPOSITORY CACHE READY [BAZEL] -- what ./bazelw needs, made under CACHE.
#
# Makes READY/bazel (the command: BAZEL if that fits) and READY/bazelrc, the latter last, so that its
# presence says that all is well. Each part lies in a folder that bears the hash of the script that
# makes it, and a file .complete when it is whole: a set-up that broke half way is made again, and two
# versions of this repository do not disturb each other. Runs under a lock.
set -euo pipefail
REPOSITORY=$1 CACHE=$2 READY=$3 BAZEL=${4:-}
SETUP=$REPOSITORY/tools/setup
# shellcheck source=tools/setup/debian.sh
. "$SETUP/debian.sh"

if [[ -e $READY/bazelrc ]]; then exit 0; fi  # another launcher was faster
rm -rf "$READY"
mkdir -p "$READY"

# part NAME SCRIPT [INPUT]...: runs SCRIPT FOLDER unless that was done before; FOLDER is its result.
part() {
  local name=$1 script=$2 hash start=$SECONDS
  shift 2
  hash=$(cat "$script" "$@" | sha256sum)
  FOLDER=$CACHE/$name-${hash:0:12}
  if [[ -e $FOLDER/.complete ]]; then say "$name: already in $FOLDER"; return 0; fi
  say "$name: making $FOLDER"
  "$script" "$FOLDER" || return 1
  touch "$FOLDER/.complete"
  say "$name: done in $((SECONDS - start)) s"
}

# fits BAZEL: the right version, and able to resolve our modules.
fits() {
  local want version
  want=$(cat "$REPOSITORY/.bazelversion")
  version=$(cd "$REPOSITORY" && "$1" --version 2>/dev/null) || { say "$1 --version fails"; return 1; }
  if [[ $version != "bazel $want"* ]]; then say "$1 is \"$version\", not $want"; return 1; fi
  (cd "$REPOSITORY" && timeout 300 "$1" mod graph --depth=1 >/dev/null 2>&1) ||
    { say "$1 cannot resolve MODULE.bazel (no network?)"; return 1; }
}

own_bazel() {
  case $(realpath -m "$CACHE") in
    /tmp | /tmp/*) die "$CACHE lies under /tmp, which Bazel's sandbox hides: set XDG_CACHE_HOME or HOME" ;;
  esac
  host_tools g++=g++ python3=python3 unzip=unzip xz=xz-utils
  part bazel "$SETUP/install_bazel.sh" || die "Bazel could not be set up"
  local prefix=$FOLDER
  part sources "$SETUP/install_deps.sh" "$REPOSITORY"/third_party/*.BUILD || die "the sources could not be set up"
  python3 "$SETUP/write_registry.py" "$REPOSITORY/MODULE.bazel" "$prefix" "$FOLDER" "$READY" || die "no module registry"
  ln -s "$prefix/bazel" "$READY/bazel"
  cat "$prefix/bazelrc" "$READY/sources.bazelrc" > "$READY/rc"
}

# pip fetches the CUDA toolkit (tools/build_defs/cuda). Without it there is none, and the build says so.
pip() {
  if python3 -m pip --version >/dev/null 2>&1; then return 0; fi
  if part pip "$SETUP/install_pip.sh"; then
    echo "common --repo_env=WEFT_PIP=$FOLDER" >> "$READY/rc"
  else
    say "WARNING: no pip; without an installed CUDA toolkit its targets will be skipped"
  fi
}

# A software Vulkan device. Without one the tests that want a device say so; the build goes on.
software_vulkan() {
  if ! command -v apt-get >/dev/null; then say "no apt-get: no software Vulkan device is set up"; return 0; fi
  if part vulkan "$SETUP/install_vulkan.sh"; then
    echo "common --repo_env=WEFT_SOFTWARE_VULKAN=$FOLDER" >> "$READY/rc"
  else
    say "WARNING: no software Vulkan device could be set up; tests that want one will not run"
  fi
}

# A newer validation layer, for a few tests (tools/setup/install_layers.sh).
vulkan_layers() {
  if ! command -v apt-get >/dev/null; then say "no apt-get: no newer validation layer is set up"; return 0; fi
  if part layers "$SETUP/install_layers.sh"; then
    echo "common --repo_env=WEFT_VULKAN_LAYERS=$FOLDER" >> "$READY/rc"
  else
    say "WARNING: no newer validation layer could be set up; the tests of //vulkan/layers will be skipped"
  fi
}

if [[ -n $BAZEL ]] && fits "$BAZEL"; then
  say "using $BAZEL"
  ln -s "$BAZEL" "$READY/bazel"
  : > "$READY/rc"
else
  own_bazel
fi
pip
software_vulkan
vulkan_layers
# lavapipe compiles shaders with LLVM; what it made once is kept, also for sandboxed tests.
mkdir -p "$CACHE/mesa-shader-cache"
printf '%s\n' "common:linux --sandbox_writable_path=$CACHE/mesa-shader-cache" \
  "test --test_env=MESA_SHADER_CACHE_DIR=$CACHE/mesa-shader-cache" >> "$READY/rc"
mv "$READY/rc" "$READY/bazelrc"
