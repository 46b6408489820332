// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/reshape_checks.h"

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/conformance/cache_image.h"
#include "testing/conformance/case_line.h"
#include "testing/conformance/quantized_row.h"
#include "testing/conformance/random.h"
#include "testing/conformance/state_data.h"
#include "testing/conformance/strided_image.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

const std::vector<std::string_view>& CacheWords() {
  static const auto* const words = new std::vector<std::string_view>{"same", "f8e4m3", "f8e5m2"};
  return *words;
}
const std::vector<std::string_view>& ScaleWords() {
  static const auto* const words =
      new std::vector<std::string_view>{"none", "tensor", "head", "powers"};
  return *words;
}
const std::vector<std::string_view>& LayoutWords() {
  static const auto* const words = new std::vector<std::string_view>{"nhd", "hnd", "x", "apart"};
  return *words;
}

// One for each head, as the operation takes them, or none.
std::vector<float> Scales(const ReshapeCase& c, bool keys) {
  std::vector<float> scales = MakeScales(c.scales, c.heads, 1, keys);
  if (scales.size() == 1) scales.assign(static_cast<size_t>(c.heads), scales[0]);
  return scales;
}

// Distinct slots in random order, some of them replaced by -1 and by places outside the cache.
std::vector<int64_t> SlotsOf(const ReshapeCase& c, RandomStream& random) {
  const int64_t num_slots = c.blocks * c.block_size;
  std::vector<int64_t> slots(static_cast<size_t>(num_slots));
  std::iota(slots.begin(), slots.end(), 0);
  for (size_t i = slots.size(); i > 1; --i) std::swap(slots[i - 1], slots[random.Below(i)]);
  slots.resize(static_cast<size_t>(c.rows));
  std::vector<size_t> rows(slots.size());
  std::iota(rows.begin(), rows.end(), 0);
  for (size_t i = rows.size(); i > 1; --i) std::swap(rows[i - 1], rows[random.Below(i)]);
  const int64_t outside[] = {num_slots, -2, num_slots + c.block_size,
                             std::numeric_limits<int64_t>::max(),
                             std::numeric_limits<int64_t>::min()};
  for (int64_t i = 0; i < c.skip + c.bad && i < c.rows; ++i) {
    slots[rows[i]] = i < c.skip ? -1 : outside[(i - c.skip) % 5];
  }
  return slots;
}

// Any bits: what is copied need not be a number. What is quantised is one for two thirds, within
// and beyond what fp8 holds; a NaN is positive, since a device may turn the others' sign.
std::vector<uint8_t> RandomRow(const ReshapeCase& c, RandomStream& random) {
  const int64_t count = c.heads * c.head_size;
  std::vector<uint8_t> row(static_cast<size_t>(count * SizeOf(c.dtype)));
  for (uint8_t& byte : row) byte = static_cast<uint8_t>(random.Next());
  if (c.cache == KvKind::kSame) return row;
  for (int64_t i = 0; i < count; ++i) {
    if (random.Below(3) > 0) {
      const int exponent = static_cast<int>(random.Below(24)) - 14;
      StoreFloat(c.dtype, row.data(), i, std::ldexp(random.Symmetric(), exponent));
    } else if (std::isnan(LoadFloat(c.dtype, row.data(), i))) {
      StoreFloat(c.dtype, row.data(), i, std::numeric_limits<float>::quiet_NaN());
    }
  }
  return row;
}

}  // namespace

std::string ReshapeCase::ToString() const {
  std::string line =
      absl::StrCat("reshape dtype=", Name(dtype), " heads=", heads, " d=", head_size,
                   " block=", block_size, " blocks=", blocks, " rows=", rows, " seed=", seed);
  if (skip > 0) absl::StrAppend(&line, " skip=", skip);
  if (bad > 0) absl::StrAppend(&line, " bad=", bad);
  if (extra > 0) absl::StrAppend(&line, " extra=", extra);
  if (segments > 1) absl::StrAppend(&line, " segments=", segments);
  if (offset > 0) absl::StrAppend(&line, " offset=", offset);
  const auto word = [&](std::string_view key, std::string_view text, bool given) {
    if (given) absl::StrAppend(&line, " ", key, "=", text);
  };
  word("cache", CacheWords()[static_cast<size_t>(cache)], cache != KvKind::kSame);
  word("scales", ScaleWords()[static_cast<size_t>(scales)], scales != ScaleKind::kNone);
  word("io", "strided", strided);
  word("layout", LayoutWords()[static_cast<size_t>(layout)], layout != LayoutKind::kNhd);
  if (bias > 0) absl::StrAppend(&line, " bias=", bias);
  word("place", PlaceWords()[static_cast<size_t>(place)], place != Place::kDevice);
  return line;
}

DType ReshapeCase::cache_dtype() const {
  if (cache == KvKind::kSame) return dtype;
  return cache == KvKind::kE4M3 ? DType::kF8E4M3 : DType::kF8E5M2;
}

absl::StatusOr<ReshapeCase> ReshapeCase::Parse(std::string_view line) {
  CaseLineReader reader(line, "reshape");
  ReshapeCase c;
  reader.Read("dtype", &c.dtype);
  reader.Read("heads", 1, &c.heads);
  reader.Read("d", 1, &c.head_size);
  reader.Read("block", 1, &c.block_size);
  reader.Read("blocks", 1, &c.blocks);
  reader.Read("rows", 0, &c.rows);
  reader.Read("skip", 0, &c.skip);
  reader.Read("bad", 0, &c.bad);
  reader.Read("extra", 0, &c.extra);
  reader.Read("segments", 1, &c.segments);
  reader.Read("offset", 0, &c.offset);
  reader.Read("seed", &c.seed);
  int io = 0, layout = 0, cache = 0, scales = 0, place = 0;
  reader.ReadWord("cache", CacheWords(), &cache);
  reader.ReadWord("scales", ScaleWords(), &scales);
  reader.ReadWord("io", {"dense", "strided"}, &io);
  reader.ReadWord("layout", LayoutWords(), &layout);
  reader.Read("bias", 0, &c.bias);
  reader.ReadWord("place", PlaceWords(), &place);
  c.cache = static_cast<KvKind>(cache);
  c.scales = static_cast<ScaleKind>(scales);
  c.strided = io == 1;
  c.layout = static_cast<LayoutKind>(layout);
  c.place = static_cast<Place>(place);
  // A slot outside may lie inside a biased view.
  if (c.bias > 0 && c.bad > 0) reader.Fail("bad", "0 with a bias");
  if (c.cache == KvKind::kSame && c.scales != ScaleKind::kNone) {
    reader.Fail("scales", "none without an fp8 cache");
  }
  if (c.rows > c.blocks * c.block_size) reader.Fail("rows", "at most the slots of the cache");
  if (!IsFloat(c.dtype) && (!IsFp8(c.dtype) || c.cache != KvKind::kSame)) {
    reader.Fail("dtype", "f32, f16 or bf16; or an fp8 type, copied");
  }
  RETURN_IF_ERROR(reader.Finish());
  return c;
}

absl::Status CheckReshape(Backend& backend, const ReshapeCase& c) {
  ASSIGN_OR_RETURN(const KvCacheLayout layout,
                   MakeLayout(c.layout, c.cache_dtype(), c.block_size, c.heads, c.head_size));
  CacheOptions options;
  options.segments = c.segments;
  options.place = c.place;
  options.bias = c.bias;
  ASSIGN_OR_RETURN(CacheImage cache, CacheImage::Create(layout, c.blocks, options));
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  RandomStream random({c.seed, 0x5107});
  const std::vector<int64_t> slots = SlotsOf(c, random);

  const int64_t total = c.rows + c.extra;
  const int64_t head_stride = c.head_size + (c.strided ? 3 : 0);
  const int64_t row_stride = c.heads * head_stride + (c.strided ? 5 : 0);
  const int64_t offset = c.offset * SizeOf(c.dtype);
  StridedImage key(c.dtype, {total, c.heads, c.head_size}, {row_stride, head_stride, 1}, offset,
                   c.place);
  StridedImage value(c.dtype, {total, c.heads, c.head_size}, {row_stride + 1, head_stride, 1},
                     offset, c.place);
  // The slots stand in a longer array: one read too far finds a valid slot, and shows. They count
  // from the view's first block, which may lie far before the first real one.
  std::vector<int64_t> slot_array = slots;
  for (int64_t& slot : slot_array) {
    if (slot >= 0 && slot < cache.num_slots()) slot += c.bias * c.block_size;
  }
  if (c.place == Place::kDevice) slot_array.insert(slot_array.end(), 4, c.bias * c.block_size);

  ReshapeAndCacheArgs args;
  ASSIGN_OR_RETURN(args.cache, cache.ToDevice(backend, *queue));
  const std::vector<float> scales[] = {Scales(c, true), Scales(c, false)};
  for (int64_t row = 0; row < total; ++row) {
    const std::vector<uint8_t> k = RandomRow(c, random);
    const std::vector<uint8_t> v = RandomRow(c, random);
    key.SetRow(row, k);
    value.SetRow(row, v);
    if (row >= c.rows || slots[row] < 0 || slots[row] >= cache.num_slots()) continue;
    cache.SetKey(slots[row], QuantizedRow(k, c.dtype, c.cache_dtype(), c.heads, scales[0]));
    cache.SetValue(slots[row], QuantizedRow(v, c.dtype, c.cache_dtype(), c.heads, scales[1]));
  }
  std::unique_ptr<PlacedMemory> scale_memory[2];
  ASSIGN_OR_RETURN(args.k_scales,
                   UploadFloats(backend, *queue, scales[0], c.place, scale_memory[0]));
  ASSIGN_OR_RETURN(args.v_scales,
                   UploadFloats(backend, *queue, scales[1], c.place, scale_memory[1]));
  ASSIGN_OR_RETURN(args.key, key.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(args.value, value.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(std::unique_ptr<PlacedMemory> slot_memory,
                   PlacedMemory::Create(backend, *queue, AsBytes(slot_array), c.place));
  ASSIGN_OR_RETURN(args.slots, TensorView::Contiguous(slot_memory->address(), DType::kI64, {c.rows},
                                                      backend.device()));
  RETURN_IF_ERROR(queue->ReshapeAndCache(args));
  const absl::Status written = cache.CheckDevice(*queue);
  if (written.ok()) return written;
  return absl::Status(written.code(), absl::StrCat(written.message(), "\n  case: ", c.ToString()));
}

}  // namespace weft::testing
