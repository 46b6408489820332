// SPDX-License-Identifier: Apache-2.0
//
// Cache writes: every bit of both caches.
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/kv_cache.h"
#include "core/status_macros.h"
#include "testing/compare.h"
#include "testing/golden/golden_args.h"
#include "testing/golden/golden_data.h"
#include "testing/golden/judges.h"

namespace weft::testing {
namespace {

struct ReshapeCase {
  KvCacheLayout layout;
  DType dtype = DType::kF32;  // of key and value
  int64_t num_blocks = 0;
  SafeTensor key, value, slots, k_scale, v_scale;
  SafeTensor key_cache, value_cache;    // the reference
  SafeTensor key_answer, value_answer;  // the kernel's
};

// "nhd": two tensors [num_blocks, block_size, num_kv_heads, head_size].
absl::StatusOr<KvCacheLayout> NhdPair(DType dtype, int64_t block_size, int64_t heads,
                                      int64_t head_size) {
  const std::optional<int64_t> token = CheckedMul(heads, head_size);
  const std::optional<int64_t> block = token ? CheckedMul(*token, block_size) : std::nullopt;
  if (!block) return absl::OutOfRangeError("the size of a block does not fit 63 bits");
  const KvStrides strides = {*block, *token, head_size};
  return KvCacheLayout::Strided(dtype, block_size, heads, head_size, strides, strides, 0, 0);
}

absl::Status ReadCaches(const GoldenArgs& args, const SafeTensorsFile& file, ReshapeCase& c) {
  ASSIGN_OR_RETURN(const DType cache, args.CacheDtype("kv_dtype", c.dtype));
  ASSIGN_OR_RETURN(const int64_t heads, args.Integer("num_kv_heads"));
  ASSIGN_OR_RETURN(const int64_t head_size, args.Integer("head_size"));
  ASSIGN_OR_RETURN(const int64_t block_size, args.Integer("block_size"));
  ASSIGN_OR_RETURN(const std::string layout, args.String("layout"));
  std::vector<int64_t> key_shape = {-1, block_size, heads, head_size};
  std::vector<int64_t> value_shape = key_shape;
  if (layout == "nhd") {
    ASSIGN_OR_RETURN(c.layout, NhdPair(cache, block_size, heads, head_size));
  } else if (layout == "5d") {
    ASSIGN_OR_RETURN(const int64_t x, args.Integer("x"));
    ASSIGN_OR_RETURN(c.layout, KvCacheLayout::SplitX(cache, block_size, heads, head_size, x));
    key_shape = {-1, heads, head_size / x, block_size, x};
    value_shape = {-1, heads, head_size, block_size};
  } else {
    return absl::DataLossError(absl::StrCat("args.layout is neither nhd nor 5d"));
  }
  const std::string_view name = SafeTensorsName(cache);
  ASSIGN_OR_RETURN(c.key_cache, file.Get("ref_key_cache", name, key_shape));
  ASSIGN_OR_RETURN(c.key_answer, file.Get("out_key_cache", name, c.key_cache.shape));
  c.num_blocks = c.key_cache.shape[0];
  value_shape[0] = c.num_blocks;
  ASSIGN_OR_RETURN(c.value_cache, file.Get("ref_value_cache", name, value_shape));
  ASSIGN_OR_RETURN(c.value_answer, file.Get("out_value_cache", name, value_shape));
  return absl::OkStatus();
}

absl::StatusOr<ReshapeCase> ReadReshapeCase(const GoldenArgs& args, const SafeTensorsFile& file) {
  ReshapeCase c;
  ASSIGN_OR_RETURN(c.dtype, args.Dtype("dtype"));
  RETURN_IF_ERROR(ReadCaches(args, file, c));
  const std::string_view name = SafeTensorsName(c.dtype);
  ASSIGN_OR_RETURN(c.key,
                   file.Get("key", name, {-1, c.layout.num_kv_heads(), c.layout.head_size()}));
  ASSIGN_OR_RETURN(c.value, file.Get("value", name, c.key.shape));
  ASSIGN_OR_RETURN(c.slots, file.Get("slot_mapping", "I64", {-1}));
  ASSIGN_OR_RETURN(c.k_scale, file.Get("k_scale", "F32", {1}));
  ASSIGN_OR_RETURN(c.v_scale, file.Get("v_scale", "F32", {1}));
  return c;
}

// A cache before the call: the reference, with every bit turned over in the slots that the call
// must write. So each of these must be written, and no other may be.
std::vector<uint8_t> Before(const SafeTensor& reference, const KvCacheLayout& layout,
                            const KvStrides& strides, const std::vector<int64_t>& slots,
                            int64_t num_slots) {
  std::vector<uint8_t> before(reference.data.begin(), reference.data.end());
  const int64_t size = SizeOf(layout.dtype());
  for (int64_t slot : slots) {
    if (slot < 0 || slot >= num_slots) continue;
    for (int64_t head = 0; head < layout.num_kv_heads(); ++head) {
      const int64_t place = slot / layout.block_size() * strides.block +
                            slot % layout.block_size() * strides.token + head * strides.head;
      for (int64_t d = 0; d < layout.head_size(); ++d) {
        for (int64_t byte = 0; byte < size; ++byte) {
          const int64_t at = (place + DimOffset(strides, d)) * size + byte;
          before[at] = static_cast<uint8_t>(~reference.data[at]);
        }
      }
    }
  }
  return before;
}

// One scale for each head, as the operation wants them.
absl::StatusOr<DeviceTensor> UploadScales(Backend& backend, Queue& queue, const SafeTensor& scale,
                                          int64_t heads) {
  const std::vector<float> scales(static_cast<size_t>(heads), Values<float>(scale)[0]);
  return UploadTensor(
      backend, queue, DType::kF32, {heads},
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(scales.data()), scales.size() * 4));
}

}  // namespace

absl::Status JudgeReshape(Backend& backend, const GoldenCase& golden) {
  const GoldenArgs args(golden);
  ASSIGN_OR_RETURN(const SafeTensorsFile file, SafeTensorsFile::Read(golden.path));
  ASSIGN_OR_RETURN(const ReshapeCase c, ReadReshapeCase(args, file));
  const std::vector<int64_t> slots = Values<int64_t>(c.slots);
  const KvCacheLayout& layout = c.layout;
  const int64_t num_slots = c.num_blocks * layout.block_size();

  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  ASSIGN_OR_RETURN(const DeviceTensor key,
                   UploadTensor(backend, *queue, c.dtype, c.key.shape, c.key.data));
  ASSIGN_OR_RETURN(const DeviceTensor value,
                   UploadTensor(backend, *queue, c.dtype, c.value.shape, c.value.data));
  ASSIGN_OR_RETURN(const DeviceTensor slot_tensor,
                   UploadTensor(backend, *queue, DType::kI64, c.slots.shape, c.slots.data));
  ASSIGN_OR_RETURN(const DeviceTensor k_scales,
                   UploadScales(backend, *queue, c.k_scale, layout.num_kv_heads()));
  ASSIGN_OR_RETURN(const DeviceTensor v_scales,
                   UploadScales(backend, *queue, c.v_scale, layout.num_kv_heads()));
  ASSIGN_OR_RETURN(
      const DeviceTensor key_cache,
      UploadTensor(backend, *queue, layout.dtype(), c.key_cache.shape,
                   Before(c.key_cache, layout, layout.key_strides(), slots, num_slots)));
  ASSIGN_OR_RETURN(
      const DeviceTensor value_cache,
      UploadTensor(backend, *queue, layout.dtype(), c.value_cache.shape,
                   Before(c.value_cache, layout, layout.value_strides(), slots, num_slots)));
  ReshapeAndCacheArgs call;
  call.key = key.view;
  call.value = value.view;
  call.slots = slot_tensor.view;
  if (IsFp8(layout.dtype())) {
    call.k_scales = k_scales.view;
    call.v_scales = v_scales.view;
  }
  const KvSegment segment = {key_cache.view.address(), value_cache.view.address(), c.num_blocks};
  ASSIGN_OR_RETURN(call.cache, KvCacheView::Create(layout, backend.device(), {segment}));
  RETURN_IF_ERROR(queue->ReshapeAndCache(call));

  CompareContext context;
  context.case_line = absl::StrCat("golden ", golden.name);
  for (const auto& [name, cache, reference, answer] :
       {std::tuple("key cache", &key_cache, &c.key_cache, &c.key_answer),
        std::tuple("value cache", &value_cache, &c.value_cache, &c.value_answer)}) {
    ASSIGN_OR_RETURN(const std::vector<uint8_t> data, DownloadBytes(*queue, *cache));
    for (const SafeTensor* expected : {reference, answer}) {
      context.tensor = absl::StrCat(name, expected == reference ? "" : " (of the seed's kernel)");
      RETURN_IF_ERROR(CompareBits(layout.dtype(), reference->shape, data, expected->data, context));
    }
  }
  return absl::OkStatus();
}

}  // namespace weft::testing
