#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run_all.sh PROGRAM... -- runs the examples on each backend; each checks its own result.
set -uo pipefail
failed=0
for program in "$@"; do
  for backend in reference vulkan; do
    output=$("./$program" "$backend" 2>&1)
    status=$?
    if ((status != 0)) && [[ $output == *UNAVAILABLE* && ",${WEFT_REQUIRE_BACKENDS:-}," != *",$backend,"* ]]; then
      echo "SKIPPED $program $backend: $output"
      continue
    fi
    echo "== $program $backend: exit $status"
    echo "$output"
    # A program that says nothing has checked nothing.
    if ((status != 0)) || [[ $output != *"largest difference"*": fine"* ]]; then failed=1; fi
  done
done
exit "$failed"
