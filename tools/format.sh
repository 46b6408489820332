#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/format.sh          formats C++ and CUDA sources, and BUILD files where buildifier is to be had
# tools/format.sh --check  changes nothing, and fails where something would change
set -euo pipefail
cd "$(dirname "$0")/.."
clang_format=(clang-format -i) buildifier=(buildifier -mode=fix -lint=fix -r .)
if [[ ${1:-} == --check ]]; then
  clang_format=(clang-format --dry-run --Werror)
  buildifier=(buildifier -mode=check -lint=warn -r .)
fi
find . -path './bazel-*' -prune -o -type f -regex '.*\.\(h\|cc\|cu\|cuh\)' -print0 |
  xargs -0 "${clang_format[@]}"
if command -v buildifier >/dev/null; then "${buildifier[@]}"; fi
