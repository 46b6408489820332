#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run_with_layers.sh LD_SO SETTINGS PROGRAM ARGUMENT... -- see layers_test. The first three are
# runfiles.
set -euo pipefail
folder=$(dirname "$TEST_SRCDIR/$1")
settings=$TEST_SRCDIR/$2
program=$TEST_SRCDIR/$3
shift 3

if [[ ! -s $folder/ld.so ]]; then
  reason="WARNING: $TEST_TARGET is SKIPPED: no validation layer was set up (tools/setup/install_layers.sh)"
  echo "$reason" >&2
  cat > "$XML_OUTPUT_FILE" <<XML
<testsuites><testsuite name="$TEST_TARGET" tests="1"><testcase name="run"><skipped message="$reason"/></testcase></testsuite></testsuites>
XML
  exit 0
fi

export VK_DRIVER_FILES=$folder/lvp_icd.json VK_ICD_FILENAMES=$folder/lvp_icd.json
export VK_LAYER_PATH=$folder/layers
VK_LAYER_SETTINGS_PATH=$(dirname "$settings")
export VK_LAYER_SETTINGS_PATH
# With vectors of 256 bits the LLVM of this Mesa (21.1) compiles prefills of bfloat16 wrongly for an
# EPYC 9004: three cases of the suite are far off there, always, and right without its optimisations,
# with 128 bits, on a Xeon, and with the machine's own Mesa (docs/measurements/2026-11-29-ci.md).
export LP_NATIVE_VECTOR_WIDTH=${LP_NATIVE_VECTOR_WIDTH:-128}
# LeakSanitizer does not know this loader of programs: what it allocates for threads' variables would
# be reported as leaked (20 bytes, of Mesa), and cannot be told from a leak of the program, which goes
# by the loader's name here. The same code is looked at in //vulkan and //vulkan/runtime.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
# /proc/self/exe is ld.so, so that a program cannot find its runfiles by its own name.
export RUNFILES_DIR=$TEST_SRCDIR
exec "$folder/ld.so" --library-path "$folder" "$program" "$@"
