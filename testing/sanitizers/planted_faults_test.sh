#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# planted_faults_test.sh PROGRAM [FAULT=MESSAGE]...
# The program without a fault ends well; with each fault it dies of the sanitizer, which says so.
set -uo pipefail
program=$1
shift
failed=0

output=$("$program" none 2>&1)
status=$?
if [[ $status != 0 || $output != survived ]]; then
  echo "FAILED: without a fault: exit $status: $output"
  failed=1
fi

for pair in "$@"; do
  fault=${pair%%=*} message=${pair#*=}
  output=$("$program" "$fault" 2>&1)
  status=$?
  if [[ $status == 0 || $output != *"$message"* ]]; then
    echo "FAILED: $fault: exit $status, wanted \"$message\": $output"
    failed=1
  else
    echo "caught: $fault (exit $status): $message"
  fi
done
exit "$failed"
