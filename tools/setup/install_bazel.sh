#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install_bazel.sh PREFIX -- Bazel 7.7 for a Debian machine that reaches nothing but its apt registry.
#
# Debian's newer suites package a current Bazel ("bazel-bootstrap"), which needs a newer libc than the
# machine may have. So the packages are unpacked under PREFIX, with the libc, libraries, jars and Java
# that they need, and the binaries there are pointed at that prefix. Nothing else is touched.
# Makes PREFIX/bazel (the command) and PREFIX/bazelrc (Bazel's own modules, from the prefix).
set -euo pipefail
PREFIX=$1
VERSION=7.7.1
SUITES="forky sid"                               # the first that has that version
ROOT=$PREFIX/root                                # the unpacked packages
WORK=$PREFIX/apt                                 # private apt state
LIBDIR=$ROOT/usr/lib/$(uname -m)-linux-gnu
# shellcheck source=tools/setup/debian.sh
. "$(dirname "$0")/debian.sh"

rm -rf "$PREFIX"
mkdir -p "$ROOT"
private_patchelf "$PREFIX/patchelf"

# 1. Which suite has it. What the host provides, or what Bazel never loads, is left out.
PROVIDED=(build-essential gcc g++ libc6-dev zlib1g-dev python3 perl unzip openssl util-linux
          debconf dpkg netbase media-types tzdata java-common ca-certificates-java
          default-jdk-headless libjs-jquery node-core-js node-html5shiv libmaven3-core-java
          libmaven-enforcer-plugin-java libeclipse-jdt-core-java libjgit-java liblog4j2-java)
for SUITE in $SUITES; do
  private_apt "$WORK/$SUITE" "$SUITE" "${PROVIDED[@]}"
  FOUND=$(apt-cache "${APT[@]}" policy bazel-bootstrap | awk '/Candidate:/ {print $2}')
  say "suite $SUITE: bazel-bootstrap ${FOUND:-none}"
  [[ $FOUND != "$VERSION"+* ]] || break
done
[[ $FOUND == "$VERSION"+* ]] || die "no suite of [$SUITES] offers bazel-bootstrap $VERSION"

# 2. Download (apt checks the signatures) and unpack. A library inside Bazel's jar needs libblake3-0,
#    which the package's dependencies do not say.
apt-get "${APT[@]}" -y --download-only install bazel-bootstrap bazel-rules-shell default-jre-headless \
  libblake3-0 >"$PREFIX/download.log" 2>&1 || { tail -n20 "$PREFIX/download.log" >&2; die "download of Bazel"; }
for deb in "$WORK/$SUITE"/cache/archives/*.deb; do dpkg -x "$deb" "$ROOT"; done
rm -rf "$WORK" "$ROOT"/usr/share/{doc,man,maven-repo,locale}

# 3. Relocate: absolute symbolic links, the loader and library path of every program Bazel starts.
find "$ROOT" -lname '/*' -print0 | while IFS= read -r -d '' link; do
  target=$(readlink "$link"); ln -sfn "${target/#\//$ROOT/}" "$link"
done
JRE=$(find "$ROOT/usr/lib/jvm" -maxdepth 1 -type d -name 'java-*-openjdk-*' | sort -V | tail -n1)
[[ -x $JRE/bin/java ]] || die "no Java runtime among the packages"
for exe in "$ROOT"/usr/bin/bazel "$ROOT"/usr/libexec/*/bazel/* "$JRE/bin/java" "$JRE/lib/jspawnhelper"; do
  patchelf --set-interpreter "$LIBDIR"/ld-linux-*.so.* --force-rpath \
           --set-rpath "$LIBDIR:$JRE/lib:$JRE/lib/server" "$exe"
done

# 4. The server's class path: absolute names, the jars that Debian's list leaves out, and a label, so
#    that the server knows its version (Debian's says "development version", which rules that ask
#    native.bazel_version take for one newer than all others).
SHARE=$ROOT/usr/share/bazel
CLASSPATH=$SHARE/bazel_classpath_debian_depends.txt
sed -i -E "s#^/usr/#$ROOT/usr/#" "$CLASSPATH"
mkdir "$SHARE/build-data"
echo "build.label=$(cat "$SHARE/build-label.txt")" > "$SHARE/build-data/build-data.properties"
ls -d "$ROOT"/usr/share/java/perfmark*.jar "$SHARE/build-data" >> "$CLASSPATH"

# 5. The rc file: Bazel's own modules from the prefix instead of the central registry
#    (override_repository says the same to builds that still use WORKSPACE), and empty stand-ins
#    for the ones that its @bazel_tools names but a C++ build never loads. Only modules that are in
#    every build may be named here: an override of an unused module is an error.
{ echo "# written by install_bazel.sh"
  for dir in "$SHARE"/tools/* "$SHARE"/rules/{cc,java,license,proto,python}; do
    name=$(sed -n '/^module(/,/)/s/.*name *= *"\([^"]*\)".*/\1/p' "$dir/MODULE.bazel" | head -n1)
    echo "common --override_module=$name=$dir --override_repository=$name=$dir"
  done
  for name in apple_support buildozer zlib protobuf; do
    mkdir -p "$PREFIX/stubs/$name"; echo "module(name = \"$name\")" > "$PREFIX/stubs/$name/MODULE.bazel"
    echo "common --override_module=$name=$PREFIX/stubs/$name"; touch "$PREFIX/stubs/$name/BUILD.bazel"
  done
  echo "common --override_repository=rules_shell=$SHARE/rules/shell"
  echo "common --lockfile_mode=off"     # a lock file made here would not hold elsewhere
} > "$PREFIX/bazelrc"
cat > "$PREFIX/stubs/buildozer/buildozer_binary.bzl" <<'STUB'   # "bazel mod" evaluates it
_empty = repository_rule(implementation = lambda ctx: ctx.file("BUILD.bazel"))
buildozer_binary = module_extension(implementation = lambda ctx: _empty(name = "buildozer_binary"))
STUB
#    Abseil of 2025 and later asks rules_cc for one setting that Debian's 0.0.11 does not have yet.
COMPILERS=$SHARE/rules/cc/cc/compiler/BUILD
grep -q '"emscripten"' "$COMPILERS" || printf '\nconfig_setting(name = "emscripten", %s)\n' \
  'flag_values = {"@bazel_tools//tools/cpp:compiler": "emscripten"}' >> "$COMPILERS"

# 6. The command, and a first build to see that it all holds together.
cat > "$PREFIX/bazel" <<LAUNCH
#!/bin/sh
exec $ROOT/usr/bin/bazel --nosystem_rc --install_base=$SHARE --trust_install_base \\
  --server_javabase=$JRE "\$@"
LAUNCH
chmod 755 "$PREFIX/bazel"
TRY=$PREFIX/try
mkdir "$TRY"
cd "$TRY"; echo 'int main() {}' > t.cc; touch MODULE.bazel WORKSPACE.bzlmod
echo 'cc_test(name = "t", srcs = ["t.cc"])' > BUILD.bazel
BAZEL=("$PREFIX/bazel" --nohome_rc --bazelrc="$PREFIX/bazelrc" --output_base="$TRY/out")
"${BAZEL[@]}" test //:t >"$PREFIX/try.log" 2>&1 || { cat "$PREFIX/try.log" >&2; die "a first bazel test"; }
"${BAZEL[@]}" shutdown
cd "$PREFIX"; chmod -R u+w "$TRY"; rm -rf "$TRY"
say "$("$PREFIX/bazel" --version) in $PREFIX"
