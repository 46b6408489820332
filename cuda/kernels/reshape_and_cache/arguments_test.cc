// SPDX-License-Identifier: Apache-2.0
//
// Runs the kernel's own arithmetic (params.h) on the CPU, thread by thread over the grid that
// config.h chooses, and holds the cache against what plain indexing gives.
#include "cuda/kernels/reshape_and_cache/arguments.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/kv_cache.h"
#include "core/queue.h"
#include "core/tensor_view.h"
#include "cuda/kernels/element_type.h"
#include "cuda/kernels/fp8.h"
#include "cuda/kernels/host_device.h"
#include "cuda/kernels/reshape_and_cache/config.h"
#include "cuda/kernels/reshape_and_cache/params.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

constexpr DeviceId kDevice = {BackendKind::kCuda, 0};

struct Wide {
  uint64_t words[2];
};

template <typename Unit>
void RunBlock(const ReshapeAndCacheParams& p, const ReshapeAndCacheShape& shape, int64_t block) {
  std::vector<ReshapeDestination> destinations(kReshapeThreads);
  const int64_t first = block * shape.tokens_per_block;
  const int64_t left = p.num_tokens - first;
  const int count = static_cast<int>(std::min<int64_t>(left, shape.tokens_per_block));
  const auto* slots = reinterpret_cast<const int64_t*>(p.slots);
  for (int t = 0; t < count; ++t) destinations[t] = ResolveSlot(p, slots[first + t]);
  for (int y = 0; y < shape.threads_y; ++y) {
    for (int x = 0; x < shape.threads_x; ++x) {
      for (uint32_t column = x; column < p.row_units; column += shape.threads_x) {
        const ReshapeColumn at = ColumnOf(p, column, sizeof(Unit), sizeof(Unit));
        const auto store = [](uint64_t to, const Unit& unit) { StoreGlobal(to, unit); };
        ReshapeUnits<Unit, kReshapeTokensInFlight> units;
        LoadColumn(p, at, first, count, y, shape.threads_y, units,
                   [](uint64_t from) { return LoadGlobal<Unit>(from); });
        StoreColumn(destinations.data(), at, count, y, shape.threads_y, units, store, store);
      }
    }
  }
}

void RunOnCpu(const ReshapeAndCacheLaunches& launches, int num_multiprocessors) {
  for (const ReshapeAndCacheParams& p : launches.params) {
    const ReshapeAndCacheShape shape = ChooseReshapeAndCacheShape(
        p.num_tokens, p.row_units, kReshapeTokensInFlight, num_multiprocessors);
    for (int64_t block = 0; block < shape.blocks; ++block) {
      if (launches.unit_bytes == 16) RunBlock<Wide>(p, shape, block);
      if (launches.unit_bytes == 4) RunBlock<uint32_t>(p, shape, block);
      if (launches.unit_bytes == 2) RunBlock<uint16_t>(p, shape, block);
      if (launches.unit_bytes == 1) RunBlock<uint8_t>(p, shape, block);
    }
  }
}

struct Case {
  DType dtype = DType::kBF16;
  int64_t heads = 2;
  int64_t head_size = 64;
  int64_t block_size = 16;
  std::vector<int64_t> segment_blocks = {4};
  int64_t key_token_stride = 0;  // 0: no gaps
  int64_t offset_elements = 0;   // of keys and values from a 256-byte boundary
  std::vector<int64_t> slots;
};

// Bytes with a 256-byte alignment that vector<uint8_t> does not promise.
class Memory {
 public:
  explicit Memory(int64_t bytes) : bytes_(static_cast<size_t>(bytes) + 256) {
    const auto raw = reinterpret_cast<uint64_t>(bytes_.data());
    base_ = (raw + 255) / 256 * 256;
  }
  uint64_t address() const { return base_; }
  uint8_t* data() { return reinterpret_cast<uint8_t*>(base_); }
  std::vector<uint8_t>& all() { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
  uint64_t base_ = 0;
};

class Harness {
 public:
  explicit Harness(const Case& c)
      : c_(c),
        element_(SizeOf(c.dtype)),
        stride_(c.key_token_stride != 0 ? c.key_token_stride : c.heads * c.head_size),
        rows_(static_cast<int64_t>(c.slots.size()) + 3),
        layout_(*KvCacheLayout::Nhd(c.dtype, c.block_size, c.heads, c.head_size)),
        key_((c.offset_elements + rows_ * stride_) * element_),
        value_((c.offset_elements + rows_ * c.heads * c.head_size) * element_) {
    std::mt19937 random(7);
    for (Memory* memory : {&key_, &value_}) {
      for (uint8_t& byte : memory->all()) byte = static_cast<uint8_t>(random());
    }
    for (int64_t blocks : c.segment_blocks) {
      // One block more than the view says: no slot may reach it.
      segments_.emplace_back((blocks + 1) * layout_.bytes_per_block());
      for (uint8_t& byte : segments_.back().all()) byte = 0xA5;
    }
  }

  ReshapeAndCacheArgs Args() {
    ReshapeAndCacheArgs args;
    const int64_t offset = c_.offset_elements * element_;
    const int64_t extents[] = {rows_, c_.heads, c_.head_size};
    const int64_t strides[] = {stride_, c_.head_size, 1};
    args.key = *TensorView::Create(key_.address() + offset, c_.dtype, extents, strides, kDevice);
    args.value = *TensorView::Contiguous(value_.address() + offset, c_.dtype, extents, kDevice);
    args.slots = *TensorView::Contiguous(reinterpret_cast<uint64_t>(c_.slots.data()), DType::kI64,
                                         {static_cast<int64_t>(c_.slots.size())}, kDevice);
    std::vector<KvSegment> segments;
    for (size_t s = 0; s < segments_.size(); ++s) {
      const uint64_t base = segments_[s].address();
      segments.push_back({base, base + layout_.value_offset() * element_, c_.segment_blocks[s]});
    }
    args.cache = *KvCacheView::Create(layout_, kDevice, segments);
    return args;
  }

  // What the segments must hold, by plain indexing.
  std::vector<std::vector<uint8_t>> Expected() {
    std::vector<std::vector<uint8_t>> expected;
    for (int64_t blocks : c_.segment_blocks) {
      expected.emplace_back((blocks + 1) * layout_.bytes_per_block(), uint8_t{0xA5});
    }
    const int64_t blocks_per_segment = c_.segment_blocks[0];
    for (size_t t = 0; t < c_.slots.size(); ++t) {
      const int64_t slot = c_.slots[t];
      int64_t total = 0;
      for (int64_t blocks : c_.segment_blocks) total += blocks;
      if (slot < 0 || slot >= total * c_.block_size) continue;
      const int64_t block = slot / c_.block_size;
      std::vector<uint8_t>& segment = expected[block / blocks_per_segment];
      for (int64_t h = 0; h < c_.heads; ++h) {
        const int64_t to = ((block % blocks_per_segment) * 2 * c_.block_size * c_.heads +
                            (slot % c_.block_size) * c_.heads + h) *
                           c_.head_size * element_;
        const int64_t value_to = to + c_.block_size * c_.heads * c_.head_size * element_;
        const int64_t from =
            (c_.offset_elements + static_cast<int64_t>(t) * stride_ + h * c_.head_size) * element_;
        const int64_t value_from =
            (c_.offset_elements + (static_cast<int64_t>(t) * c_.heads + h) * c_.head_size) *
            element_;
        std::memcpy(&segment[to], key_.data() + from, c_.head_size * element_);
        std::memcpy(&segment[value_to], value_.data() + value_from, c_.head_size * element_);
      }
    }
    return expected;
  }

  void Check(int expected_unit, int num_multiprocessors = 132) {
    const absl::StatusOr<ReshapeAndCacheLaunches> launches = MapReshapeAndCache(Args());
    ASSERT_TRUE(launches.ok()) << launches.status();
    EXPECT_EQ(launches->unit_bytes, expected_unit);
    RunOnCpu(*launches, num_multiprocessors);
    CheckCache();
  }

  void CheckCache() {
    const std::vector<std::vector<uint8_t>> expected = Expected();
    for (size_t s = 0; s < segments_.size(); ++s) {
      EXPECT_EQ(std::memcmp(segments_[s].data(), expected[s].data(), expected[s].size()), 0)
          << "segment " << s;
    }
  }

 private:
  Case c_;
  int64_t element_;
  int64_t stride_;
  int64_t rows_;
  KvCacheLayout layout_;
  Memory key_;
  Memory value_;
  std::vector<Memory> segments_;
};

std::vector<int64_t> ShuffledSlots(int64_t num_slots, size_t count) {
  std::vector<int64_t> slots;
  for (int64_t slot = 0; slot < num_slots; ++slot) slots.push_back(slot);
  std::shuffle(slots.begin(), slots.end(), std::mt19937(3));
  slots.resize(count);
  return slots;
}

TEST(ReshapeAndCacheArguments, AlignedRowsMoveSixteenBytesAtATime) {
  Case c;
  c.slots = ShuffledSlots(64, 40);
  Harness(c).Check(16);
}

TEST(ReshapeAndCacheArguments, EveryDtypeAndHeadSize) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (int64_t head_size : {32, 40, 46, 65, 80, 256}) {
      Case c;
      c.dtype = dtype;
      c.head_size = head_size;
      c.heads = 3;
      c.slots = ShuffledSlots(64, 33);
      const int64_t bytes = head_size * SizeOf(dtype);
      Harness(c).Check(bytes % 16 == 0 ? 16 : bytes % 4 == 0 ? 4 : 2);
    }
  }
}

TEST(ReshapeAndCacheArguments, AnOffsetOrAStrideNarrowsTheUnit) {
  Case c;
  c.slots = ShuffledSlots(64, 20);
  c.offset_elements = 8;
  Harness(c).Check(16);
  c.offset_elements = 2;
  Harness(c).Check(4);
  c.offset_elements = 1;
  Harness(c).Check(2);
  c.offset_elements = 0;
  c.key_token_stride = 2 * 64 + 24;
  Harness(c).Check(16);
  c.key_token_stride = 2 * 64 + 6;
  Harness(c).Check(4);
  c.key_token_stride = 2 * 64 + 7;
  Harness(c).Check(2);
}

TEST(ReshapeAndCacheArguments, TheStrideOfAnAxisOfOneElementDoesNotMatter) {
  Case c;
  c.slots = {5};
  c.key_token_stride = (int64_t{2} * 64) + 1;  // one token: the stride is never taken
  Harness(c).Check(16);
}

TEST(ReshapeAndCacheArguments, SlotsOutsideTheCacheWriteNothing) {
  Case c;
  c.slots = {-1, 3, -2, 64, 63, 0};
  c.slots.push_back(std::numeric_limits<int64_t>::max());
  c.slots.push_back(std::numeric_limits<int64_t>::min());
  // A slot and a block id that would be inside if they were cut to 32 bits.
  c.slots.push_back((int64_t{1} << 32) + 1);
  c.slots.push_back((int64_t{16} << 32) + 2);
  Harness(c).Check(16);
  // The last segment is shorter than the others: its missing blocks are outside too.
  c.segment_blocks = {2, 1};
  c.slots = {-17, 47, 48, 63, 64};
  Harness(c).Check(16);
}

TEST(ReshapeAndCacheArguments, OddBlockSizes) {
  for (int64_t block_size : {1, 3, 17, 544}) {
    Case c;
    c.heads = 1;
    c.head_size = 32;
    c.block_size = block_size;
    c.slots = ShuffledSlots(4 * block_size, static_cast<size_t>(4 * block_size));
    Harness(c).Check(16);
  }
}

TEST(ReshapeAndCacheArguments, EverySegmentIsReached) {
  Case c;
  c.segment_blocks = {3, 3, 2};
  c.slots = ShuffledSlots(8 * 16, 8 * 16);
  Harness(c).Check(16);
}

TEST(ReshapeAndCacheArguments, MoreSegmentsThanOneLaunchHolds) {
  Case c;
  c.heads = 1;
  c.head_size = 32;
  c.block_size = 2;
  c.segment_blocks.assign(2 * kReshapeMaxSegments + 5, 3);
  c.segment_blocks.back() = 1;
  const int64_t num_slots = 2 * (3 * (2 * kReshapeMaxSegments + 4) + 1);
  c.slots = ShuffledSlots(num_slots, static_cast<size_t>(num_slots));
  c.slots[7] = num_slots;
  Harness harness(c);
  EXPECT_EQ(MapReshapeAndCache(harness.Args())->params.size(), 3u);
  harness.Check(16);
}

TEST(ReshapeAndCacheArguments, ManyTokensInFewBlocks) {
  Case c;
  c.block_size = 64;
  c.segment_blocks = {20};
  c.slots = ShuffledSlots(1280, 1234);
  for (int multiprocessors : {1, 2, 7, 132}) Harness(c).Check(16, multiprocessors);
}

// Reliability page, section 7.2: a base so far below the real memory that offsets beyond 2^33 bytes
// lead back into it. With 32-bit arithmetic they would lead elsewhere.
TEST(ReshapeAndCacheArguments, OffsetsAreSixtyFourBits) {
  Case c;
  c.segment_blocks = {1};
  c.slots = {0, 9, 15};
  for (int shift : {31, 32, 33, 40}) {
    Harness harness(c);
    absl::StatusOr<ReshapeAndCacheLaunches> launches = MapReshapeAndCache(harness.Args());
    ASSERT_TRUE(launches.ok());
    ReshapeAndCacheParams& p = launches->params[0];
    const int64_t block_bytes = 2 * 16 * 2 * 64 * 2;
    const int64_t far = (int64_t{1} << shift) / block_bytes + 1;
    p.key_cache.block = p.value_cache.block = block_bytes;
    p.segments[0].key_base -= static_cast<uint64_t>(far * block_bytes);
    p.segments[0].value_base -= static_cast<uint64_t>(far * block_bytes);
    p.num_blocks = p.blocks_per_segment = far + 1;
    std::vector<int64_t> slots;
    for (int64_t slot : c.slots) slots.push_back(far * 16 + slot);
    p.slots = reinterpret_cast<uint64_t>(slots.data());
    RunOnCpu(*launches, 132);
    harness.CheckCache();
  }
}

TEST(ReshapeAndCacheArguments, RefusesARowThatThirtyTwoBitsCannotCount) {
  const int64_t heads = int64_t{1} << 27;
  KvCacheLayout layout = *KvCacheLayout::Nhd(DType::kF32, 1, heads, 256);
  ReshapeAndCacheArgs args;
  // Views are values; nothing is read here.
  args.key = *TensorView::Contiguous(4, DType::kF32, {1, heads, 256}, kDevice);
  args.value = args.key;
  args.slots = *TensorView::Contiguous(256, DType::kI64, {1}, kDevice);
  args.cache = *KvCacheView::OneAllocation(layout, 256, 1, kDevice);
  EXPECT_EQ(MapReshapeAndCache(args).status().code(), absl::StatusCode::kOutOfRange);
}

// ---- Runs of dimensions, and fp8 ---------------------------------------------------------------

DType DTypeOf(ElementType type) {
  for (DType dtype : {DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kF8E5M2}) {
    if (ToElementType(dtype) == type) return dtype;
  }
  return DType::kF32;
}

// What a thread of the quantising kernel does with one unit of a row, by elements.
void QuantizeUnit(const ReshapeAndCacheParams& p, bool whole, uint32_t column, int64_t token,
                  const ReshapeDestination& to) {
  const uint32_t source_bytes = ElementBytes(p.source_type);
  const uint32_t count = whole ? 16 / source_bytes : 1;
  const ReshapeColumn at = ColumnOf(p, column, count * source_bytes, count);
  const auto store = [&](uint64_t from, uint64_t destination, uint64_t scales) {
    float value[1];
    for (uint32_t i = 0; i < count; ++i) {
      value[0] = LoadFloat(DTypeOf(p.source_type), reinterpret_cast<const void*>(from), i);
      DivideAll(MakeQuotient(scales == 0 ? 1.0f : LoadGlobal<float>(scales + 4 * at.head)),
                p.source_type, value);
      StoreGlobal(destination + i, static_cast<uint8_t>(Fp8OfFloat(p.cache_type, value[0])));
    }
  };
  store(at.key_from + token * p.key.token_stride, to.key + at.key_to, p.k_scales);
  store(at.value_from + token * p.value.token_stride, to.value + at.value_to, p.v_scales);
}

void QuantizeOnCpu(const ReshapeAndCacheLaunches& launches) {
  for (const ReshapeAndCacheParams& p : launches.params) {
    for (int64_t token = 0; token < p.num_tokens; ++token) {
      const auto slot = LoadGlobal<int64_t>(p.slots + 8 * token);
      const ReshapeDestination to = ResolveSlot(p, slot);
      for (uint32_t column = 0; to.key != 0 && column < p.row_units; ++column) {
        QuantizeUnit(p, launches.whole, column, token, to);
      }
    }
  }
}

// Writes some tokens of 2 heads into 3 blocks, and holds every byte against plain indexing.
ReshapeAndCacheLaunches CheckLayout(const KvCacheLayout& layout, DType from,
                                    const std::vector<float>& scales = {}) {
  const int64_t blocks = 3, heads = layout.num_kv_heads(), size = layout.head_size();
  const int64_t element = SizeOf(layout.dtype()), tokens = 2 * layout.block_size();
  std::vector<int64_t> slots = ShuffledSlots(blocks * layout.block_size(), tokens);
  slots[1] = -1;
  Memory rows[] = {Memory(tokens * heads * size * SizeOf(from)),
                   Memory(tokens * heads * size * SizeOf(from))};
  for (int kind = 0; kind < 2; ++kind) {
    for (int64_t i = 0; i < tokens * heads * size; ++i) {
      const auto value = static_cast<float>((i * 29 + kind * 7) % 241 - 120);
      StoreFloat(from, rows[kind].data(), i, value * 0.043f);
    }
  }
  Memory cache(blocks * layout.bytes_per_block());
  std::fill(cache.all().begin(), cache.all().end(), uint8_t{0xA5});
  ReshapeAndCacheArgs args;
  args.key = *TensorView::Contiguous(rows[0].address(), from, {tokens, heads, size}, kDevice);
  args.value = *TensorView::Contiguous(rows[1].address(), from, {tokens, heads, size}, kDevice);
  args.slots = *TensorView::Contiguous(reinterpret_cast<uint64_t>(slots.data()), DType::kI64,
                                       {tokens}, kDevice);
  if (!scales.empty()) {
    args.k_scales = *TensorView::Contiguous(reinterpret_cast<uint64_t>(scales.data()), DType::kF32,
                                            {heads}, kDevice);
  }
  args.cache = *KvCacheView::OneAllocation(layout, cache.address(), blocks, kDevice);
  const KvSegment& segment = args.cache.segments()[0];

  std::vector<uint8_t> expected = cache.all();
  for (int64_t t = 0; t < tokens; ++t) {
    if (slots[t] < 0) continue;
    const int64_t block = slots[t] / layout.block_size(), at = slots[t] % layout.block_size();
    for (int kind = 0; kind < 2; ++kind) {
      const KvStrides& strides = kind == 0 ? layout.key_strides() : layout.value_strides();
      const uint64_t base = kind == 0 ? segment.key_base : segment.value_base;
      for (int64_t i = 0; i < heads * size; ++i) {
        const int64_t offset = block * strides.block + at * strides.token +
                               i / size * strides.head + DimOffset(strides, i % size);
        const uint64_t to = base + offset * element - reinterpret_cast<uint64_t>(&cache.all()[0]);
        const float scale = kind == 0 && !scales.empty() ? scales[i / size] : 1.0f;
        const float value = LoadFloat(from, rows[kind].data(), t * heads * size + i);
        StoreFloat(layout.dtype(), &expected[to], 0, value / scale);
      }
    }
  }
  const absl::StatusOr<ReshapeAndCacheLaunches> launches = MapReshapeAndCache(args);
  EXPECT_TRUE(launches.ok()) << launches.status();
  launches->quantize ? QuantizeOnCpu(*launches) : RunOnCpu(*launches, 132);
  EXPECT_TRUE(cache.all() == expected) << layout.ToString() << " from " << Name(from);
  return *launches;
}

TEST(ReshapeAndCacheArguments, DimensionsInRuns) {
  for (int64_t x : {1, 4, 8, 16, 48}) {
    const auto layout = *KvCacheLayout::SplitX(DType::kBF16, 16, 2, 48, x);
    EXPECT_EQ(CheckLayout(layout, DType::kBF16).unit_bytes, 2) << "its values are single elements";
  }
  // Runs of 8 in keys and of 16 in values, some elements apart.
  const int64_t block = 4 * 2 * 6 * 10;
  const KvStrides key = {2 * block, 10, 4 * 6 * 10, 8, 4 * 10};
  const KvStrides value = {2 * block, 2 * 3 * 20, 3 * 20, 16, 20};
  const auto strided = *KvCacheLayout::Strided(DType::kF16, 4, 2, 48, key, value, block, 4 * block);
  EXPECT_EQ(CheckLayout(strided, DType::kF16).unit_bytes, 4);
}

TEST(ReshapeAndCacheArguments, ElementsOfOneByte) {
  EXPECT_EQ(CheckLayout(*KvCacheLayout::Nhd(DType::kF8E4M3, 16, 2, 65), DType::kF8E4M3).unit_bytes,
            1);
  EXPECT_EQ(CheckLayout(*KvCacheLayout::Hnd(DType::kF8E5M2, 16, 2, 64), DType::kF8E5M2).unit_bytes,
            16);
}

TEST(ReshapeAndCacheArguments, IntoFp8) {
  for (DType to : {DType::kF8E4M3, DType::kF8E5M2}) {
    for (DType from : {DType::kF32, DType::kF16, DType::kBF16}) {
      const std::vector<float> scales = {0.25f, 0.37f};
      EXPECT_TRUE(CheckLayout(*KvCacheLayout::Nhd(to, 16, 2, 64), from, scales).whole);
      EXPECT_TRUE(CheckLayout(*KvCacheLayout::Hnd(to, 7, 2, 72), from).whole);
      // 16 bytes are 4 of f32, or 8 of the others.
      EXPECT_EQ(CheckLayout(*KvCacheLayout::Nhd(to, 16, 2, 68), from, scales).whole,
                from == DType::kF32);
      EXPECT_FALSE(CheckLayout(*KvCacheLayout::SplitX(to, 16, 2, 64, 16), from, scales).whole);
    }
  }
}

TEST(ReshapeAndCacheShape, CoversEveryTokenWithWholeBlocks) {
  for (int64_t tokens : {1, 2, 7, 255, 256, 257, 8192, 1 << 20}) {
    for (int64_t units : {1, 2, 16, 96, 128, 256, 257, 5000}) {
      for (int multiprocessors : {1, 8, 132}) {
        for (int in_flight : {kQuantizeTokensInFlight, kReshapeTokensInFlight}) {
          const ReshapeAndCacheShape s =
              ChooseReshapeAndCacheShape(tokens, units, in_flight, multiprocessors);
          EXPECT_EQ(s.threads_x * s.threads_y, kReshapeThreads);
          EXPECT_GE(s.tokens_per_block, 1);
          EXPECT_LE(s.tokens_per_block, kReshapeThreads);
          EXPECT_LE(s.tokens_per_block, s.threads_y * in_flight);
          EXPECT_GE(s.blocks * s.tokens_per_block, tokens);
          EXPECT_LT((s.blocks - 1) * s.tokens_per_block, tokens);
        }
      }
    }
  }
}

TEST(ReshapeAndCacheShape, ALargeBatchKeepsLoadsInFlightAndASmallOneSpreads) {
  const ReshapeAndCacheShape large = ChooseReshapeAndCacheShape(65536, 128, 4, 132);
  EXPECT_EQ(large.tokens_per_block, large.threads_y * 4);
  const ReshapeAndCacheShape small = ChooseReshapeAndCacheShape(64, 128, 4, 132);
  EXPECT_EQ(small.tokens_per_block, small.threads_y);
  EXPECT_EQ(small.blocks, 32);
}

}  // namespace
}  // namespace weft::cuda
