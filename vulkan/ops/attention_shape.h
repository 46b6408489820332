// SPDX-License-Identifier: Apache-2.0
//
// What attention kernels are made of: the specialization constants of vulkan/shaders/
// attention_core.glsl, chosen from the device, the cache's element type and the head size. Pure
// arithmetic. `dtype` is a KernelDType.
#ifndef WEFT_VULKAN_OPS_ATTENTION_SHAPE_H_
#define WEFT_VULKAN_OPS_ATTENTION_SHAPE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "vulkan/runtime/device.h"

namespace weft::vulkan {

inline constexpr int64_t kMinHeadSize = 32;
inline constexpr int64_t kMaxHeadSize = 256;

// Rows are read in pieces of this many bytes, where all rows of a cache begin at multiples of it.
inline constexpr uint32_t kPieceBytes = 16;

// The type that the kernels of a layer of `dtype` take a cache's elements as: fp8 codes are widened
// as they are read, to floats if the layer's type is f32, else to halves. A piece has as many
// codes.
DType KernelDType(DType dtype, DType kv_dtype);
uint32_t PieceBytes(DType dtype, DType kv_dtype);

// A head size is rounded up to 64, 128 or 256: kernels are made for these three.
int64_t HeadBucket(int64_t head_size);

// Invariants: lanes, rows and keys are powers of two; rows <= lanes <= subgroup; lanes / rows <=
// keys <= lanes; lanes * chunks * 16 bytes hold a row of the bucket; threads is a multiple of
// subgroup.
struct AttentionShape {
  DType dtype = DType::kF16;  // KernelDType
  uint32_t lanes = 0;         // of a team, which shares its query rows
  uint32_t chunks = 0;        // pieces of 16 bytes of a row, in each lane
  uint32_t rows = 0;          // query rows of a team
  uint32_t keys = 0;          // of a key block
  bool aligned = true;        // keys and values are read in whole pieces; false: asked at run time
  bool two_paths = false;     // one of them for key blocks that are seen in full
  uint32_t subgroup = 0;
  uint32_t threads = 0;  // of a workgroup
  uint32_t narrow = 2;   // an fp8 cache: 0 no, 1 yes, 2 asked at run time

  uint32_t teams() const { return threads / lanes; }
  int64_t rows_per_group() const { return int64_t{teams()} * rows; }
  std::vector<uint32_t> Constants() const;  // constant_id 0, 1, ...
  std::string ToString() const;
};

AttentionShape PrefillShape(const DeviceLimits& limits, DType dtype, int64_t bucket, bool aligned);

// For `group_size` query heads of one kv head.
AttentionShape DecodeShape(const DeviceLimits& limits, DType dtype, int64_t bucket, bool aligned,
                           int64_t group_size);
// Shared memory that the decode kernel takes.
int64_t DecodeSharedBytes(const AttentionShape& shape);

// Query tokens of a prefill tile: enough for a workgroup's rows, whatever the group size.
int64_t TileTokens(const AttentionShape& prefill, int64_t group_size);

// Constants of the merge kernel.
std::vector<uint32_t> MergeConstants(const DeviceLimits& limits);

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_OPS_ATTENTION_SHAPE_H_
