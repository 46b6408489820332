#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install_vulkan.sh FOLDER -- a Vulkan device in software, for tests: Mesa's lavapipe with a loader
# and the validation layer, as Debian packages them, unpacked and not installed.
#
# All libraries lie beside each other in FOLDER and find each other there, whatever LD_LIBRARY_PATH
# says; of the host they need libc, libstdc++ and libgcc alone. The manifests name them by relative
# paths. Preferred is Mesa 25.0 of bookworm-backports, built against bookworm's libc, which later
# Debians have too; what comes after it is older (bookworm) or wants a newer libc (trixie).
set -euo pipefail
FOLDER=$1
# shellcheck source=tools/setup/debian.sh
. "$(dirname "$0")/debian.sh"
SUITES=(bookworm-backports+bookworm trixie bookworm)
ROOT=$FOLDER/root
LIBDIR=usr/lib/$(uname -m)-linux-gnu
DRIVER=libvulkan_lvp.so LOADER=libvulkan.so.1 LAYER=libVkLayer_khronos_validation.so
# What the host has, or what the driver never loads.
PROVIDED=(libc6 libstdc++6 libgcc-s1 gcc-12-base debconf python3 dpkg)

rm -rf "$FOLDER"
mkdir -p "$FOLDER"
private_patchelf "$FOLDER/patchelf"

# download SUITES: driver, loader, layer and all that they need, into ROOT.
download() {
  local release=() deb
  rm -rf "$ROOT"
  private_apt "$FOLDER/apt/$1" "$1" "${PROVIDED[@]}"
  [[ $1 != *-backports+* ]] || release=(-t "${1%%+*}")
  # Only Mesa may come from the backports: the loader and the layer are to be the stable ones.
  apt-get "${APT[@]}" -y --download-only "${release[@]}" install \
    mesa-vulkan-drivers "libvulkan1${release:+/${1#*+}}" "vulkan-validationlayers${release:+/${1#*+}}" \
    >"$FOLDER/download.log" 2>&1 || return 1
  MESA=$(basename "$(ls "$FOLDER/apt/$1"/cache/archives/mesa-vulkan-drivers_*.deb)")
  for deb in "$FOLDER/apt/$1"/cache/archives/*.deb; do dpkg -x "$deb" "$ROOT" || return 1; done
}

# gather LIBRARY: copies it, and what it needs of the packages, beside each other.
gather() {
  local name=$1 file needed
  [[ ! -e $FOLDER/$name ]] || return 0
  file=$(find "$ROOT/$LIBDIR" "$ROOT/lib" -name "$name" 2>/dev/null | head -n1)
  [[ -n $file ]] || return 0  # the host's
  cp -L "$file" "$FOLDER/$name"
  chmod 755 "$FOLDER/$name"
  patchelf --force-rpath --set-rpath "\$ORIGIN" "$FOLDER/$name"
  for needed in $(patchelf --print-needed "$FOLDER/$name"); do gather "$needed"; done
}

# manifest FILE LIBRARY TARGET: the package's own manifest, with a relative path.
manifest() {
  mkdir -p "$(dirname "$3")"
  sed -E "s#(\"library_path\": *\")[^\"]*#\1$2#" "$1" > "$3"
}

for suite in "${SUITES[@]}"; do
  find "$FOLDER" -maxdepth 1 -name '*.so*' -delete
  if ! download "$suite"; then say "no Mesa from $suite"; continue; fi
  for library in $DRIVER $LOADER $LAYER; do gather "$library"; done
  # shellcheck disable=SC2144  # one file
  manifest "$(ls "$ROOT"/usr/share/vulkan/icd.d/lvp_icd*.json | head -n1)" "./$DRIVER" "$FOLDER/lvp_icd.json"
  manifest "$ROOT/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json" "../$LAYER" \
    "$FOLDER/layers/VkLayer_khronos_validation.json"
  if device=$(python3 "$(dirname "$0")/try_vulkan.py" "$FOLDER" 2>"$FOLDER/try.log"); then
    rm -rf "$ROOT" "$FOLDER/apt"
    say "$device ($MESA)"
    [[ $suite == "${SUITES[0]}" ]] || say "WARNING: this is not the Mesa that weft is tested with"
    exit 0
  fi
  say "$MESA does not run here: $(tail -n1 "$FOLDER/try.log")"
done
die "no software Vulkan device from [${SUITES[*]}]"
