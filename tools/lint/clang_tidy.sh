#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# clang_tidy.sh STAMP CONFIG SOURCE FLAG...   runs clang-tidy, and makes STAMP where it is content.
# CLANG_TIDY (--action_env=CLANG_TIDY=...) names the program; by default the newest one installed.
stamp=$1 config=$2 source=$3
shift 3
tidy=${CLANG_TIDY:-$(find /usr/bin -name 'clang-tidy*' | grep -E 'tidy(-[0-9]+)?$' | sort -V | tail -n1)}
output=$("$tidy" --quiet --config-file="$config" "$source" -- "$@" 2>&1) || {
  echo "$output" >&2
  exit 1
}
: > "$stamp"
