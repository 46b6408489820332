#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# list_devices_test.sh BINARY -- started with an empty environment, by its own path, through a
# symlink and by PATH, the program finds the device that the build carries.
set -euo pipefail
if "$TEST_SRCDIR/$1" | grep "carries no software Vulkan device"; then exit 0; fi
# As bazel-bin has it: the runfiles beside the program.
cd "$TEST_TMPDIR"
mkdir -p bin built
cp -L "$TEST_SRCDIR/$1" built/program
ln -sfn "$TEST_SRCDIR" built/program.runfiles
binary=$TEST_TMPDIR/built/program
ln -sf "$binary" bin/some_name
for start in "$binary" "$TEST_TMPDIR/bin/some_name" "./bin/some_name"; do
  out=$(env -i "$start") || { echo "$start failed: $out"; exit 1; }
  grep -q "bundled device: OK" <<<"$out" && grep -q "device: llvmpipe" <<<"$out" ||
    { echo "$start: $out"; exit 1; }
done
out=$(env -i PATH="$TEST_TMPDIR/bin" some_name) && grep -q "device: llvmpipe" <<<"$out" ||
  { echo "by PATH: $out"; exit 1; }
# The user's choice of drivers holds.
if out=$(env -i VK_DRIVER_FILES=/nonexistent.json VK_ICD_FILENAMES=/nonexistent.json "$binary"); then
  echo "a driver appeared that the user had not chosen: $out"
  exit 1
fi
echo "$out"
