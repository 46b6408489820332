// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/reshape_checks.h"

#include <limits>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/conformance/attention_case.h"
#include "testing/conformance/cache_image.h"
#include "testing/conformance/case_line.h"
#include "testing/conformance/random.h"
#include "testing/conformance/strided_image.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

absl::StatusOr<KvCacheLayout> LayoutOf(const ReshapeCase& c) {
  AttentionCase attention;
  attention.dtype = c.dtype;
  attention.kv_heads = c.heads;
  attention.head_size = c.head_size;
  attention.block_size = c.block_size;
  attention.layout = c.apart ? LayoutKind::kApart : LayoutKind::kNhd;
  return attention.Layout();
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

// Any bits: what is copied need not be a number.
std::vector<uint8_t> RandomBytes(int64_t bytes, RandomStream& random) {
  std::vector<uint8_t> result(static_cast<size_t>(bytes));
  for (uint8_t& byte : result) byte = static_cast<uint8_t>(random.Next());
  return result;
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
  if (strided) absl::StrAppend(&line, " io=strided");
  if (apart) absl::StrAppend(&line, " layout=apart");
  return line;
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
  int io = 0, layout = 0;
  reader.ReadWord("io", {"dense", "strided"}, &io);
  reader.ReadWord("layout", {"nhd", "apart"}, &layout);
  c.strided = io == 1;
  c.apart = layout == 1;
  if (c.rows > c.blocks * c.block_size) reader.Fail("rows", "at most the slots of the cache");
  if (!IsFloat(c.dtype)) reader.Fail("dtype", "f32, f16 or bf16");
  RETURN_IF_ERROR(reader.Finish());
  return c;
}

absl::Status CheckReshape(Backend& backend, const ReshapeCase& c) {
  ASSIGN_OR_RETURN(const KvCacheLayout layout, LayoutOf(c));
  ASSIGN_OR_RETURN(CacheImage cache, CacheImage::Create(layout, c.blocks, c.segments));
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  RandomStream random({c.seed, 0x5107});
  const std::vector<int64_t> slots = SlotsOf(c, random);

  const int64_t total = c.rows + c.extra;
  const int64_t head_stride = c.head_size + (c.strided ? 3 : 0);
  const int64_t row_stride = c.heads * head_stride + (c.strided ? 5 : 0);
  const int64_t offset = c.offset * SizeOf(c.dtype);
  StridedImage key(c.dtype, {total, c.heads, c.head_size}, {row_stride, head_stride, 1}, offset);
  StridedImage value(c.dtype, {total, c.heads, c.head_size}, {row_stride + 1, head_stride, 1},
                     offset);
  // The slots stand in a longer array: one read too far finds a valid slot, and shows.
  std::vector<int64_t> slot_array = slots;
  slot_array.insert(slot_array.end(), 4, 0);

  ReshapeAndCacheArgs args;
  ASSIGN_OR_RETURN(args.cache, cache.ToDevice(backend, *queue));
  for (int64_t row = 0; row < total; ++row) {
    const std::vector<uint8_t> k = RandomBytes(key.row_bytes(), random);
    const std::vector<uint8_t> v = RandomBytes(value.row_bytes(), random);
    key.SetRow(row, k);
    value.SetRow(row, v);
    if (row >= c.rows || slots[row] < 0 || slots[row] >= cache.num_slots()) continue;
    cache.SetKey(slots[row], k);
    cache.SetValue(slots[row], v);
  }
  ASSIGN_OR_RETURN(args.key, key.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(args.value, value.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> slot_buffer,
                   Upload(backend, *queue, AsBytes(slot_array)));
  ASSIGN_OR_RETURN(args.slots, TensorView::Contiguous(slot_buffer->address(), DType::kI64, {c.rows},
                                                      backend.device()));
  RETURN_IF_ERROR(queue->ReshapeAndCache(args));
  const absl::Status written = cache.CheckDevice(*queue);
  if (written.ok()) return written;
  return absl::Status(written.code(), absl::StrCat(written.message(), "\n  case: ", c.ToString()));
}

}  // namespace weft::testing
