#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install_pip.sh FOLDER -- pip for the machine's Python, unpacked under FOLDER (a PYTHONPATH).
set -euo pipefail
FOLDER=$1
# shellcheck source=tools/setup/debian.sh
. "$(dirname "$0")/debian.sh"

rm -rf "$FOLDER"
mkdir -p "$FOLDER"
# shellcheck disable=SC1091
SUITE=$(. /etc/os-release; echo "${VERSION_CODENAME:-bookworm}")
for package in python3-pip python3-distutils python3-lib2to3; do
  file=$(fetch_package "$FOLDER/apt" "$SUITE" binary "$package") || {
    # Python 3.12 and later have no distutils, and pip there needs none.
    [[ $package != python3-pip ]] || die "python3-pip is not to be had; please install it"
    continue
  }
  dpkg -x "${file% *}" "$FOLDER/root"
done
for library in "$FOLDER"/root/usr/lib/python3/dist-packages "$FOLDER"/root/usr/lib/python3.*; do
  [[ ! -d $library ]] || cp -r "$library/." "$FOLDER"
done
rm -rf "$FOLDER/root" "$FOLDER/apt"
PYTHONPATH=$FOLDER python3 -m pip --version >&2 || die "pip from $SUITE does not run"
