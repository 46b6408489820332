// SPDX-License-Identifier: Apache-2.0
#include "vulkan/ops/attention_shape.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "vulkan/ops/shader_dtype.h"

namespace weft::vulkan {
namespace {

// A power of two: 64 pieces for the largest row, of 256 floats.
uint32_t PiecesOfRow(DType dtype, int64_t bucket) {
  return static_cast<uint32_t>(bucket * SizeOf(dtype) / kPieceBytes);
}

AttentionShape StartShape(const DeviceLimits& limits, DType dtype, int64_t bucket, bool aligned,
                          uint32_t lanes) {
  AttentionShape shape;
  shape.dtype = dtype;
  shape.aligned = aligned;
  shape.subgroup = limits.subgroup_size;
  const uint32_t pieces = PiecesOfRow(dtype, bucket);
  shape.lanes = std::min({lanes, limits.subgroup_size, pieces});
  shape.chunks = pieces / shape.lanes;
  return shape;
}

void SetRowsAndKeys(uint32_t rows, uint32_t keys, AttentionShape& shape) {
  shape.rows = std::min(rows, shape.lanes);
  shape.keys = std::clamp(keys, shape.lanes / shape.rows, shape.lanes);
}

}  // namespace

DType KernelDType(DType dtype, DType kv_dtype) {
  if (!IsFp8(kv_dtype)) return kv_dtype;
  return dtype == DType::kF32 ? DType::kF32 : DType::kF16;
}

uint32_t PieceBytes(DType dtype, DType kv_dtype) {
  const auto elements = static_cast<uint32_t>(kPieceBytes / SizeOf(KernelDType(dtype, kv_dtype)));
  return elements * static_cast<uint32_t>(SizeOf(kv_dtype));
}

int64_t HeadBucket(int64_t head_size) {
  return head_size <= 64 ? 64 : head_size <= 128 ? 128 : 256;
}

std::vector<uint32_t> AttentionShape::Constants() const {
  return {ShaderDType(dtype),  lanes,    chunks,  rows,  keys, aligned ? 1u : 0u,
          two_paths ? 1u : 0u, subgroup, threads, narrow};
}

std::string AttentionShape::ToString() const {
  return absl::StrCat(threads, " threads, teams of ", lanes, " lanes with ", rows, " rows, ", keys,
                      " keys at a time, rows of up to ", lanes * chunks * kPieceBytes, " bytes in ",
                      aligned ? "whole pieces" : "whole pieces where they lie so");
}

// The numbers were measured: on lavapipe (arithmetic and compile time) and on an H200. On the GPU
// 8 dimensions a lane and 4 rows are what fits the registers: with twice as many of either the
// prefill spilled, and ran at a fifth of the speed. A second path pays in the prefill, and in a
// decode of few rows; small workgroups pay in decodes.
AttentionShape PrefillShape(const DeviceLimits& limits, DType dtype, int64_t bucket, bool aligned) {
  if (limits.is_software) {
    AttentionShape shape = StartShape(limits, dtype, bucket, aligned, 8);
    // Fewer keys cost little speed there, and compile in half the time.
    SetRowsAndKeys(bucket > 128 ? 4 : 8, bucket > 64 ? 2 : 4, shape);
    shape.threads = shape.subgroup;
    return shape;
  }
  const auto lanes = static_cast<uint32_t>(bucket / 8);
  AttentionShape shape = StartShape(limits, dtype, bucket, aligned, lanes);
  // f32 sums in two levels (FoldGranule), which takes as many registers again.
  SetRowsAndKeys(dtype == DType::kF32 ? 2 : 4, 8, shape);
  shape.two_paths = true;
  shape.threads = std::max(shape.subgroup, std::min(128u, limits.max_invocations));
  return shape;
}

AttentionShape DecodeShape(const DeviceLimits& limits, DType dtype, int64_t bucket, bool aligned,
                           int64_t group_size) {
  if (limits.is_software) {
    AttentionShape shape = StartShape(limits, dtype, bucket, aligned, 8);
    const uint32_t most_rows = bucket > 128 ? 4 : 8;
    SetRowsAndKeys(group_size == 1 ? 1 : group_size <= 4 ? 4 : most_rows, 4, shape);
    shape.threads = shape.subgroup;
    return shape;
  }
  const uint32_t lanes = dtype == DType::kF32 ? 32 : 16;
  AttentionShape shape = StartShape(limits, dtype, bucket, aligned, lanes);
  SetRowsAndKeys(group_size <= 2 ? 2 : 4, 8, shape);
  shape.two_paths = shape.rows <= 2;
  shape.threads = std::clamp(64u, shape.subgroup, 4 * shape.subgroup);
  // The sums of the subgroups meet in shared memory.
  while (shape.threads > shape.subgroup &&
         DecodeSharedBytes(shape) > limits.max_shared_memory_bytes) {
    shape.threads -= shape.subgroup;
  }
  return shape;
}

int64_t DecodeSharedBytes(const AttentionShape& shape) {
  const int64_t subgroups = shape.threads / shape.subgroup;
  if (subgroups == 1) return 3 * sizeof(float);
  const int64_t row_dims = shape.lanes * shape.chunks * (kPieceBytes / SizeOf(shape.dtype));
  return subgroups * shape.rows * (row_dims + 2) * static_cast<int64_t>(sizeof(float));
}

int64_t TileTokens(const AttentionShape& prefill, int64_t group_size) {
  return std::max<int64_t>(16, (prefill.rows_per_group() + group_size - 1) / group_size);
}

std::vector<uint32_t> MergeConstants(const DeviceLimits& limits) {
  return {limits.is_software ? 32u : 64u};
}

}  // namespace weft::vulkan
