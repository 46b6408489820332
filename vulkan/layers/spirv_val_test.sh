#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# spirv_val_test.sh LD_SO MODULE... -- spirv-val has nothing to say about any kernel, and something
# about one that was damaged.
set -euo pipefail
folder=$(dirname "$TEST_SRCDIR/$1")
shift
if [[ ! -s $folder/ld.so ]]; then
  reason="WARNING: $TEST_TARGET is SKIPPED: no spirv-val was set up (tools/setup/install_layers.sh)"
  echo "$reason" >&2
  cat > "$XML_OUTPUT_FILE" <<XML
<testsuites><testsuite name="$TEST_TARGET" tests="1"><testcase name="run"><skipped message="$reason"/></testcase></testsuite></testsuites>
XML
  exit 0
fi

val() { "$folder/ld.so" --library-path "$folder" "$folder/spirv-val" --target-env vulkan1.3 --scalar-block-layout "$1"; }

failed=0
for module in "$@"; do
  val "$TEST_SRCDIR/$module" || { echo "$module is not valid"; failed=1; }
done
# The last instruction, OpFunctionEnd, is cut off.
size=$(stat -Lc %s "$TEST_SRCDIR/$1")
head -c $((size - 4)) "$TEST_SRCDIR/$1" > "$TEST_TMPDIR/damaged.spv"
if val "$TEST_TMPDIR/damaged.spv" 2>/dev/null; then echo "a damaged module passed"; failed=1; fi
echo "$# modules"
exit "$failed"
