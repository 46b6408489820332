#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/sanitizers/fuzz.sh [SECONDS [TARGET]...] -- runs the fuzzers of //testing/fuzz, one after the
# other, SECONDS each (300), from the checked-in corpus on. What they find beside it is kept in
# $WEFT_FUZZ_DIR (a new folder): crashes, to be put into the corpus once repaired, and the new inputs.
# Needs Clang 16 or later with its runtime: clang-19 and libclang-rt-19-dev on Debian.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${1:-300}
shift || true
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=(metadata partition trace safetensors manifest)
folder=${WEFT_FUZZ_DIR:-$(mktemp -d)}

./bazelw build --config=fuzz "${targets[@]/#///testing/fuzz:}"
programs=$(./bazelw info --config=fuzz bazel-bin 2>/dev/null)/testing/fuzz
failed=0
for target in "${targets[@]}"; do
  mkdir -p "$folder/$target"
  echo "== $target: $seconds s"
  "$programs/$target" -max_total_time="$seconds" -max_len=4096 -timeout=60 -rss_limit_mb=4096 \
    -print_final_stats=1 -dict=testing/fuzz/text.dict -artifact_prefix="$folder/$target-" \
    "$folder/$target" \
    "testing/fuzz/corpus/$target" >"$folder/$target.log" 2>&1 || failed=1
  grep -E 'cov:|ERROR|runtime error|Check failed|stat::number_of_executed|Test unit' "$folder/$target.log" | tail -n 4
done
echo "== $folder"
exit "$failed"
