#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# no_gpu_headers_test.sh DEPS SOURCE... -- core stays free of GPUs: no source of core includes a
# CUDA, Vulkan, MPI or NCCL header, and no dependency of core leads to one (DEPS: a query's result).
set -uo pipefail
deps=$1
shift
include='^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]([^">]*/)?(cuda|vulkan|vk_|nccl|mpi|cublas)'
target='cuda|vulkan|nccl|@.*mpi//|//(collectives|testing|tools/weft|tools/replay)'

fail() {
  printf '%s\n' "$@"
  exit 1
}

# A check that cannot fail proves nothing.
[[ $# -ge 30 ]] || fail "only $# sources were given"
for header in cuda_runtime.h vulkan/vulkan.h nccl.h mpi.h; do
  grep -qiE "$include" <<<"  # include <$header>" || fail "the pattern misses $header"
done
grep -q '^//core:plan$' "$deps" || fail "the query of core's dependencies is empty"

found=$(grep -HinE "$include" "$@")
[[ -z $found ]] || fail "GPU headers in core:" "$found"
found=$(grep -E "$target" "$deps")
[[ -z $found ]] || fail "core depends on:" "$found"
