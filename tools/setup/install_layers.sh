#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install_layers.sh FOLDER -- a validation layer that sees hazards between dispatches, with the Mesa,
# the loader, the spirv-val and the libc that go with it (docs/vulkan.md, 3.2 and 4.3).
#
# They are newer than what the machine's libc runs. So a program that wants them is started by the
# suite's own dynamic loader:
#   FOLDER/ld.so --library-path FOLDER PROGRAM
# A program compiled here runs there unchanged. Nothing of the machine's is touched.
set -euo pipefail
FOLDER=$1
# shellcheck source=tools/setup/debian.sh
. "$(dirname "$0")/debian.sh"
SUITE=forky
# A suite in development goes on; what weft was tested with. Others are tried, with a warning.
TESTED=(mesa-vulkan-drivers_26.1. vulkan-validationlayers_1.4.363. spirv-tools_2026.4)
PACKAGES=(libc6 libstdc++6 mesa-vulkan-drivers libvulkan1 vulkan-validationlayers spirv-tools)
# What configures or documents, and is never loaded.
PROVIDED=(debconf python3 dpkg libx11-data)
ROOT=$FOLDER/root
LIBDIR=$ROOT/usr/lib/$(uname -m)-linux-gnu
DRIVER=libvulkan_lvp.so LOADER=libvulkan.so.1 LAYER=libVkLayer_khronos_validation.so

rm -rf "$FOLDER"
mkdir -p "$FOLDER/layers"
private_apt "$FOLDER/apt" "$SUITE" "${PROVIDED[@]}"
apt-get "${APT[@]}" -y --download-only install "${PACKAGES[@]}" >"$FOLDER/download.log" 2>&1 ||
  die "$SUITE: $(grep -m1 '^E:' "$FOLDER/download.log" || tail -n1 "$FOLDER/download.log")"
ARCHIVES=$FOLDER/apt/cache/archives
for want in "${TESTED[@]}"; do
  ls "$ARCHIVES/$want"* >/dev/null 2>&1 ||
    say "WARNING: weft is tested with $want*, $SUITE has $(basename "$ARCHIVES/${want%%_*}"_*.deb)"
done
for deb in "$ARCHIVES"/*.deb; do dpkg -x "$deb" "$ROOT"; done

# What the suite's loader says that they load, beside each other.
LD=$(ls "$LIBDIR"/ld-linux-*.so.* | head -n1)
cp -L "$LD" "$FOLDER/ld.so"
cp "$ROOT/usr/bin/spirv-val" "$FOLDER/spirv-val"
for library in $DRIVER $LOADER $LAYER libstdc++.so.6 ../../bin/spirv-val; do
  [[ $library == */* ]] || echo "$LIBDIR/$library"
  "$LD" --library-path "$LIBDIR" --list "$LIBDIR/$library" | awk '$3 ~ "^/" { print $3 }'
done | sort -u > "$FOLDER/libraries"
while read -r library; do
  [[ $library == "$ROOT"/* ]] || die "$library is not of $SUITE"
  cp -L "$library" "$FOLDER"
done < "$FOLDER/libraries"

manifest() { sed -E "s#(\"library_path\": *\")[^\"]*#\1$2#" "$ROOT/usr/share/vulkan/$1" > "$3"; }
manifest icd.d/lvp_icd.json "./$DRIVER" "$FOLDER/lvp_icd.json"
manifest explicit_layer.d/VkLayer_khronos_validation.json "../$LAYER" "$FOLDER/layers/VkLayer_khronos_validation.json"
"$FOLDER/ld.so" --library-path "$FOLDER" "$FOLDER/spirv-val" --version >"$FOLDER/try.log" 2>&1 ||
  die "spirv-val of $SUITE does not run here: $(tail -n1 "$FOLDER/try.log")"
say "$(cd "$ARCHIVES" && echo mesa-vulkan-drivers_*.deb vulkan-validationlayers_*.deb spirv-tools_*.deb) of $SUITE"
rm -rf "$ROOT" "$FOLDER/apt"
