// SPDX-License-Identifier: Apache-2.0
//
// UnifiedAttention, PagedDecode, ContextAttention and ChunkedPrefillPagedDecode on the backend of
// the target, against float64.
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/ops/case_for_test.h"
#include "core/ops/chunked_prefill_paged_decode.h"
#include "core/ops/context_attention.h"
#include "core/ops/paged_decode.h"
#include "core/ops/unified_attention.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;

using UnifiedAttentionTest = OpsTest;
using PagedDecodeTest = OpsTest;
using ContextAttentionTest = OpsTest;
using ChunkedPrefillPagedDecodeTest = OpsTest;

AttentionSpec Spec(DType dtype = DType::kF16, int64_t head_size = 64) {
  AttentionSpec spec;
  spec.num_heads = 4;
  spec.num_kv_heads = 2;
  spec.head_size = head_size;
  spec.dtype = dtype;
  spec.kv_dtype = dtype;
  return spec;
}

AttentionSpec WithEverything(AttentionSpec spec) {
  spec.softcap = 20.0f;
  spec.window = 9;
  spec.alibi_slopes = {0.5f, 0.25f, 0.125f, 0.0625f};
  spec.sinks = {0.5f, -1.0f, 2.0f, 0.0f};
  return spec;
}

OpLimits Limits() {
  OpLimits limits;
  limits.max_rows = 64;
  limits.max_decode_rows = 64;
  limits.max_requests = 16;
  limits.max_seq_len = 1200;
  return limits;
}

KvCacheLayout Nhd(const AttentionSpec& spec, int64_t block_size) {
  return *KvCacheLayout::Nhd(spec.kv_dtype, block_size, spec.num_kv_heads, spec.head_size);
}

KvCacheLayout SplitX(const AttentionSpec& spec, int64_t block_size) {
  return *KvCacheLayout::SplitX(spec.kv_dtype, block_size, spec.num_kv_heads, spec.head_size, 8);
}

// What the calls are given: the case's tensors, and poison to be written over.
template <typename Io>
Io CachedIo(const OpsCase& test, DeviceMemory& memory) {
  Io io;
  io.query = test.Query(memory);
  io.cache = test.Cache(memory);
  io.out = test.Out(memory);
  return io;
}

UnifiedAttentionIo UnifiedIo(const OpsCase& test, DeviceMemory& memory) {
  const auto cached = CachedIo<AttentionIo>(test, memory);
  return {cached.query, cached.out, cached.lse, cached.cache};
}

ContextAttentionIo ContextIo(const OpsCase& test, DeviceMemory& memory) {
  auto io = CachedIo<ContextAttentionIo>(test, memory);
  io.key = test.NewKeys(memory);
  io.value = test.NewValues(memory);
  return io;
}

// What the rows of a sequence are after a call: attended over new keys in the cache, attended over
// new keys in tensors, or not the call's.
enum class Rows { kCached, kFresh, kUntouched };

// Holds the results of a call, lse too where it was asked for, against float64. Sequences of one
// new token may be another matter than the others.
template <typename Io>
void CheckRows(DeviceMemory& memory, const OpsCase& test, const Io& io, Rows single, Rows others) {
  const std::vector<float> out = memory.Download(io.out);
  const std::vector<float> lse = io.lse.given() ? memory.Download(io.lse) : std::vector<float>();
  for (size_t s = 0; s < test.sequences().size(); ++s) {
    const Rows rows = test.sequences()[s].new_tokens == 1 ? single : others;
    if (rows == Rows::kUntouched) {
      test.CheckUntouched(static_cast<int64_t>(s), out, lse);
    } else {
      test.CheckSequence(static_cast<int64_t>(s), rows == Rows::kFresh, out, lse);
    }
  }
}

const std::vector<Sequence> kMixed = {{1, 20}, {7, 0}, {0, 5}, {5, 13}, {1, 0}, {1, 3}};

TEST_F(UnifiedAttentionTest, MixedStepInEveryMode) {
  for (const bool everything : {false, true}) {
    const AttentionSpec spec = everything ? WithEverything(Spec()) : Spec();
    const KvCacheLayout layout = Nhd(spec, 16);
    const OpsCase test(spec, layout, kMixed, 16, InCache::kAll);
    UnifiedAttentionIo io = UnifiedIo(test, memory());
    for (const UnifiedAttentionMode mode :
         {UnifiedAttentionMode::kAuto, UnifiedAttentionMode::k2D, UnifiedAttentionMode::k3D}) {
      auto attention =
          UnifiedAttention::Create(memory().shared_backend(), spec, layout, Limits(), mode);
      ASSERT_TRUE(attention.ok()) << attention.status();
      io.out = test.Out(memory(), 2);
      io.lse = test.Lse(memory(), 2);
      const absl::Status status = (*attention)->Run(queue(), test.arrays(), io);
      ASSERT_TRUE(status.ok()) << status;
      CheckRows(memory(), test, io, Rows::kCached, Rows::kCached);
      const std::vector<float> out = memory().Download(io.out);
      for (size_t i = out.size() - 2 * 4 * 64; i < out.size(); ++i)
        ASSERT_TRUE(std::isnan(out[i])) << "a row behind the step's was written";
      const Plan& plan = *(*attention)->plan();
      EXPECT_EQ(plan.decode_rows().size(), mode == UnifiedAttentionMode::k3D     ? 15
                                           : mode == UnifiedAttentionMode::kAuto ? 3
                                                                                 : 0);
    }
  }
}

TEST_F(UnifiedAttentionTest, SplitsALongDecode) {
  const AttentionSpec spec = Spec(DType::kBF16);
  const KvCacheLayout layout = Nhd(spec, 32);
  const std::vector<Sequence> shapes = {{1, 1100}, {2, 600}};
  const OpsCase test(spec, layout, shapes, 60, InCache::kAll);
  auto attention = *UnifiedAttention::Create(memory().shared_backend(), spec, layout, Limits());
  UnifiedAttentionIo io = UnifiedIo(test, memory());
  io.lse = test.Lse(memory());
  const absl::Status status = attention->Run(queue(), test.arrays(), io);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(attention->plan()->decode_splits().size(), 3);
  CheckRows(memory(), test, io, Rows::kCached, Rows::kCached);
}

TEST_F(UnifiedAttentionTest, Fp8CacheWithScalesPerHeadAndFusedFp8Output) {
  AttentionSpec spec = WithEverything(Spec(DType::kBF16));
  spec.kv_dtype = DType::kF8E4M3;
  spec.k_scales = {0.5f, 0.25f};
  spec.v_scales = {2.0f, 0.125f};
  spec.out_dtype = DType::kF8E4M3;
  spec.out_scale = 0.01f;
  const KvCacheLayout layout = Nhd(spec, 16);
  const OpsCase test(spec, layout, kMixed, 16, InCache::kAll);
  auto attention = UnifiedAttention::Create(memory().shared_backend(), spec, layout, Limits());
  ASSERT_TRUE(attention.ok()) << attention.status();
  UnifiedAttentionIo io = UnifiedIo(test, memory());
  const absl::Status status = (*attention)->Run(queue(), test.arrays(), io);
  ASSERT_TRUE(status.ok()) << status;
  CheckRows(memory(), test, io, Rows::kCached, Rows::kCached);
}

TEST_F(UnifiedAttentionTest, RefusesByNameAndRecordsNothing) {
  const AttentionSpec spec = Spec();
  const KvCacheLayout layout = Nhd(spec, 16);
  const OpsCase test(spec, layout, kMixed, 16, InCache::kAll);
  auto attention = *UnifiedAttention::Create(memory().shared_backend(), spec, layout, Limits());
  UnifiedAttentionIo io = UnifiedIo(test, memory());
  const auto message = [&](const StepArrays& arrays) {
    return std::string(attention->Run(queue(), arrays, io).message());
  };
  const StepArrays good = test.arrays();
  StepArrays arrays = good;
  std::vector<int32_t> cu(good.query_start_loc.begin(), good.query_start_loc.end());
  arrays.query_start_loc = absl::MakeConstSpan(cu).first(3);
  EXPECT_THAT(message(arrays), HasSubstr("query_start_loc has 3 entries for 6 requests"));
  arrays.query_start_loc = cu;
  cu[0] = 1;
  EXPECT_THAT(message(arrays), HasSubstr("query_start_loc[0] is 1, must be 0"));
  cu[0] = 0;
  cu[2] = 0;
  EXPECT_THAT(message(arrays), HasSubstr("query_start_loc[2] is 0, below the 1 before it"));
  arrays = good;
  std::vector<int32_t> lengths(good.seq_lens.begin(), good.seq_lens.end());
  lengths[1] = 6;
  arrays.seq_lens = lengths;
  EXPECT_THAT(message(arrays), HasSubstr("request 1: seq_lens is 6, below its 7 new tokens"));
  lengths[1] = 700;
  EXPECT_THAT(message(arrays), HasSubstr("unified_attention: request 1: 3 block ids, but 700"));
  arrays = good;
  std::vector<int32_t> table(good.block_table.begin(), good.block_table.end());
  table[1] = 16;
  arrays.block_table = table;
  EXPECT_THAT(message(arrays),
              HasSubstr("request 0, block table column 1: block id 16 is not in [0, 16)"));
  arrays.block_table = absl::MakeConstSpan(table).first(4);
  EXPECT_THAT(message(arrays), HasSubstr("block table has 4 entries for 6 requests and 3 columns"));
  io.out = *TensorView::Contiguous(io.out.address(), DType::kF16, {14, 4, 64}, io.out.device());
  EXPECT_THAT(message(good), HasSubstr("unified_attention: out is f16[14, 4, 64]"));
  EXPECT_THAT(std::string(attention->Attend(queue(), io).message()), HasSubstr("no plan yet"));
  // Nothing of it was recorded.
  memory().Run();
  EXPECT_EQ(attention->plan(), nullptr);
}

TEST_F(PagedDecodeTest, EveryRowOfAFiveDimensionalCache) {
  for (const bool split : {true, false}) {
    const AttentionSpec spec = WithEverything(Spec());
    const KvCacheLayout layout = SplitX(spec, 24);
    const std::vector<Sequence> shapes = {{1, 40}, {1, 0}, {1, 23}, {1, 24}};
    const OpsCase test(spec, layout, shapes, 12, InCache::kAll);
    PagedDecodeOptions options;
    options.split = split;
    auto decode = PagedDecode::Create(memory().shared_backend(), spec, layout, Limits(), options);
    ASSERT_TRUE(decode.ok()) << decode.status();
    auto io = CachedIo<PagedDecodeIo>(test, memory());
    io.lse = test.Lse(memory());
    StepArrays arrays = test.arrays();
    EXPECT_THAT(std::string((*decode)->Run(queue(), arrays, io).message()),
                HasSubstr("query_start_loc is given, but without filter_by_query_len"));
    arrays.query_start_loc = {};
    const absl::Status status = (*decode)->Run(queue(), arrays, io);
    ASSERT_TRUE(status.ok()) << status;
    CheckRows(memory(), test, io, Rows::kCached, Rows::kCached);
    EXPECT_EQ((*decode)->plan()->decode_rows().size(), split ? 4 : 0);
    const std::vector<int32_t> lengths = {41, 1, 0, 25};
    arrays.seq_lens = lengths;
    EXPECT_THAT(std::string((*decode)->Run(queue(), arrays, io).message()),
                HasSubstr("request 2: seq_lens is 0"));
  }
}

TEST_F(PagedDecodeTest, FilterLeavesOtherRowsAlone) {
  for (const bool split : {true, false}) {
    const AttentionSpec spec = Spec();
    const KvCacheLayout layout = SplitX(spec, 16);
    const OpsCase test(spec, layout, kMixed, 16, InCache::kAll);
    PagedDecodeOptions options;
    options.filter_by_query_len = true;
    options.split = split;
    auto decode = *PagedDecode::Create(memory().shared_backend(), spec, layout, Limits(), options);
    auto io = CachedIo<PagedDecodeIo>(test, memory());
    io.lse = test.Lse(memory());
    const absl::Status status = decode->Run(queue(), test.arrays(), io);
    ASSERT_TRUE(status.ok()) << status;
    CheckRows(memory(), test, io, Rows::kCached, Rows::kUntouched);
  }
}

// Seed 003's models: blocks of 544, fp8 of either kind, a table of addresses.
TEST_F(PagedDecodeTest, BlocksOf544AndTablesOfAddresses) {
  for (const DType kv : {DType::kBF16, DType::kF8E4M3, DType::kF8E5M2}) {
    AttentionSpec spec = Spec(DType::kBF16);
    spec.kv_dtype = kv;
    if (IsFp8(kv)) {
      spec.k_scales = {0.25f};
      spec.v_scales = {0.5f};
    }
    const KvCacheLayout layout = SplitX(spec, 544);
    const std::vector<Sequence> shapes = {{1, 560}, {1, 30}};
    OpsCase test(spec, layout, shapes, 4, InCache::kAll);
    auto decode = PagedDecode::Create(memory().shared_backend(), spec, layout, Limits());
    ASSERT_TRUE(decode.ok()) << decode.status();
    auto io = CachedIo<PagedDecodeIo>(test, memory());
    StepArrays arrays = test.address_arrays(io.cache);
    arrays.query_start_loc = {};
    const absl::Status status = (*decode)->Run(queue(), arrays, io);
    ASSERT_TRUE(status.ok()) << status;
    CheckRows(memory(), test, io, Rows::kCached, Rows::kCached);

    std::vector<uint64_t> wrong(arrays.block_addresses.begin(), arrays.block_addresses.end());
    wrong[1] += 8;
    arrays.block_addresses = wrong;
    EXPECT_THAT(std::string((*decode)->Run(queue(), arrays, io).message()),
                HasSubstr("paged_decode: request 0, block table column 1: "));
  }
}

TEST_F(ContextAttentionTest, ChunkFromTensorsAndContextFromTheCache) {
  for (const bool everything : {false, true}) {
    for (const DType kv : {DType::kBF16, DType::kF8E4M3}) {
      AttentionSpec spec = Spec(DType::kBF16);
      if (everything) spec = WithEverything(spec);
      spec.kv_dtype = kv;
      if (IsFp8(kv)) {
        spec.k_scales = {0.25f, 0.5f};
        spec.v_scales = {0.5f, 0.25f};
      }
      const KvCacheLayout layout = SplitX(spec, 16);
      const OpsCase test(spec, layout, kMixed, 16, InCache::kNone);
      auto attention = ContextAttention::Create(memory().shared_backend(), spec, layout, Limits());
      ASSERT_TRUE(attention.ok()) << attention.status();
      ContextAttentionIo io = ContextIo(test, memory());
      io.lse = test.Lse(memory());
      const absl::Status status = (*attention)->Run(queue(), test.arrays(), io);
      ASSERT_TRUE(status.ok()) << status;
      CheckRows(memory(), test, io, Rows::kFresh, Rows::kFresh);
    }
  }
}

TEST_F(ContextAttentionTest, FusedFp8OutputAndSkippedDecodes) {
  AttentionSpec spec = WithEverything(Spec());
  spec.out_dtype = DType::kF8E4M3;
  spec.out_scale = 0.02f;
  const KvCacheLayout layout = Nhd(spec, 16);
  const OpsCase test(spec, layout, kMixed, 16, InCache::kNone);
  ContextAttentionOptions options;
  options.rows = RowScope::kPrefills;
  auto attention =
      *ContextAttention::Create(memory().shared_backend(), spec, layout, Limits(), options);
  const ContextAttentionIo io = ContextIo(test, memory());
  const absl::Status status = attention->Run(queue(), test.arrays(), io);
  ASSERT_TRUE(status.ok()) << status;
  CheckRows(memory(), test, io, Rows::kUntouched, Rows::kFresh);
}

// A query, its keys and its values as one projection writes them: one tensor of all heads.
TEST_F(ContextAttentionTest, StridedTensorsOfOneProjection) {
  const AttentionSpec spec = Spec();
  const KvCacheLayout layout = Nhd(spec, 16);
  const std::vector<Sequence> shapes = {{4, 6}, {3, 0}};
  const OpsCase test(spec, layout, shapes, 8, InCache::kNone);
  const TensorView query = test.Query(memory()), key = test.NewKeys(memory()),
                   value = test.NewValues(memory());
  const TensorView qkv = memory().Poisoned(DType::kF16, {7, 8, 64});
  const auto part = [&](const TensorView& from, int64_t first_head, int64_t heads) {
    const uint64_t at = qkv.address() + static_cast<uint64_t>(first_head * 64 * 2);
    for (int64_t row = 0; row < 7; ++row) {
      EXPECT_TRUE(queue()
                      .Copy(at + static_cast<uint64_t>(row * 8 * 64 * 2),
                            from.address() + static_cast<uint64_t>(row * heads * 64 * 2),
                            heads * 64 * 2)
                      .ok());
    }
    return *TensorView::Create(at, DType::kF16, {7, heads, 64}, {8 * 64, 64, 1}, qkv.device());
  };
  ContextAttentionIo io;
  io.query = part(query, 0, 4);
  io.key = part(key, 4, 2);
  io.value = part(value, 6, 2);
  io.cache = test.Cache(memory());
  io.out = test.Out(memory());
  ContextAttentionOptions options;
  options.strides = {8 * 64, 64, 8 * 64, 64};
  auto attention =
      *ContextAttention::Create(memory().shared_backend(), spec, layout, Limits(), options);
  const absl::Status status = attention->Run(queue(), test.arrays(), io);
  ASSERT_TRUE(status.ok()) << status;
  CheckRows(memory(), test, io, Rows::kFresh, Rows::kFresh);

  auto dense = *ContextAttention::Create(memory().shared_backend(), spec, layout, Limits());
  EXPECT_THAT(std::string(dense->Run(queue(), test.arrays(), io).message()),
              HasSubstr("key has strides 512 and 64, created for 128 and 64"));
}

// Rows `index` of a contiguous view, one after the other.
TensorView TakeRows(DeviceMemory& memory, const TensorView& from,
                    const std::vector<int64_t>& index) {
  const auto rows = static_cast<int64_t>(index.size());
  const TensorView to = memory.Poisoned(from.dtype(), {rows, from.extent(1), from.extent(2)});
  const int64_t bytes = from.stride(0) * SizeOf(from.dtype());
  for (int64_t i = 0; i < rows; ++i) {
    EXPECT_TRUE(memory.queue()
                    .Copy(to.address() + static_cast<uint64_t>(i * bytes),
                          from.address() + static_cast<uint64_t>(index[i] * bytes), bytes)
                    .ok());
  }
  return to;
}

// Three ranks of a PCP group, one after the other: own rows of the query, all ranks' keys as an
// all-gather leaves them, padding included.
TEST_F(ContextAttentionTest, RanksOfAPcpGroup) {
  constexpr int64_t kWorld = 3;
  const AttentionSpec spec = WithEverything(Spec());
  const KvCacheLayout layout = Nhd(spec, 16);
  const OpsCase test(spec, layout, kMixed, 16, InCache::kNone);
  const TensorView query = test.Query(memory()), key = test.NewKeys(memory()),
                   value = test.NewValues(memory());
  ContextAttentionIo io;
  io.cache = test.Cache(memory());
  const AttentionMetadata metadata =
      *BuildStepMetadata("test", test.arrays(), io.cache, DecodeRule::kSingleTokens, spec.window);
  const PcpPartition partition = *PcpPartition::Build(ShapesOf(metadata), kWorld);
  std::vector<int64_t> gathered;
  for (int64_t rank = 0; rank < kWorld; ++rank) {
    for (const PcpRow& row : partition.Rows(rank)) gathered.push_back(row.source);
  }
  io.key = TakeRows(memory(), key, gathered);
  io.value = TakeRows(memory(), value, gathered);
  OpLimits limits = Limits();
  limits.world_size = kWorld;
  auto attention = *ContextAttention::Create(memory().shared_backend(), spec, layout, limits);
  std::vector<float> outs, lses;  // in gathered order
  for (int64_t rank = 0; rank < kWorld; ++rank) {
    const auto begin = gathered.begin() + rank * partition.local_total();
    io.query = TakeRows(memory(), query, {begin, begin + partition.local_total()});
    io.out = memory().Poisoned(DType::kF16, {partition.local_total(), 4, 64});
    io.lse = memory().Poisoned(DType::kF32, {partition.local_total(), 4});
    absl::Status status = attention->Update(queue(), metadata, &partition, rank);
    if (status.ok()) status = attention->Attend(queue(), io);
    ASSERT_TRUE(status.ok()) << status;
    const std::vector<float> out = memory().Download(io.out), lse = memory().Download(io.lse);
    outs.insert(outs.end(), out.begin(), out.end());
    lses.insert(lses.end(), lse.begin(), lse.end());
  }
  std::vector<float> out, lse;
  for (const int64_t row : partition.CompactRestoreIndex()) {
    out.insert(out.end(), outs.begin() + row * 256, outs.begin() + (row + 1) * 256);
    lse.insert(lse.end(), lses.begin() + row * 4, lses.begin() + (row + 1) * 4);
  }
  for (size_t s = 0; s < kMixed.size(); ++s)
    test.CheckSequence(static_cast<int64_t>(s), true, out, lse);
  // Padding rows belong to nobody: they are 0.
  const std::vector<PcpRow> rows = partition.Rows(0);
  for (size_t row = 0; row < rows.size(); ++row) {
    EXPECT_TRUE(!rows[row].is_padding || outs[row * 256] == 0.0f) << row;
  }
}

TEST_F(ContextAttentionTest, RefusesByName) {
  AttentionSpec spec = Spec();
  const KvCacheLayout layout = Nhd(spec, 16);
  auto attention = *ContextAttention::Create(memory().shared_backend(), spec, layout, Limits());
  const OpsCase test(spec, layout, kMixed, 16, InCache::kNone);
  ContextAttentionIo io;
  EXPECT_THAT(std::string(attention->Attend(queue(), io).message()), HasSubstr("no step yet"));
  io.query = test.Query(memory());
  io.key = test.NewKeys(memory());
  io.cache = test.Cache(memory());
  io.out = test.Out(memory());
  EXPECT_THAT(std::string(attention->Run(queue(), test.arrays(), io).message()),
              HasSubstr("context_attention: value is not given"));
  io.value = io.key;
  io.out = io.query;
  EXPECT_THAT(std::string(attention->Run(queue(), test.arrays(), io).message()),
              HasSubstr("context_attention: out overlaps query"));
  spec.kv_dtype = DType::kF8E4M3;
  spec.fp8_query = true;
  EXPECT_THAT(
      std::string(ContextAttention::Create(memory().shared_backend(), spec, Nhd(spec, 16), Limits())
                      .status()
                      .message()),
      HasSubstr("an fp8 query is not supported"));
  OpLimits small = Limits();
  small.max_rows = 3;
  auto limited = *ContextAttention::Create(memory().shared_backend(), Spec(), layout, small);
  io.out = test.Out(memory());
  io.value = test.NewValues(memory());
  EXPECT_EQ(limited->Run(queue(), test.arrays(), io).code(), absl::StatusCode::kResourceExhausted);
  memory().Run();
}

TEST_F(ChunkedPrefillPagedDecodeTest, OneCallForAMixedStep) {
  for (const bool fp8 : {false, true}) {
    for (const bool everything : {false, true}) {
      AttentionSpec spec = Spec(DType::kBF16);
      if (everything) spec = WithEverything(spec);
      if (fp8) {
        spec.kv_dtype = DType::kF8E4M3;
        spec.k_scales = {0.25f};
        spec.v_scales = {0.5f};
        spec.out_dtype = DType::kF8E4M3;
        spec.out_scale = 0.02f;
      }
      const KvCacheLayout layout = SplitX(spec, fp8 ? 544 : 16);
      const OpsCase test(spec, layout, kMixed, 16, InCache::kSingleTokens);
      auto both =
          ChunkedPrefillPagedDecode::Create(memory().shared_backend(), spec, layout, Limits());
      ASSERT_TRUE(both.ok()) << both.status();
      ContextAttentionIo io = ContextIo(test, memory());
      io.out = test.Out(memory(), 1);
      const absl::Status status = (*both)->Run(queue(), test.arrays(), io);
      ASSERT_TRUE(status.ok()) << status;
      CheckRows(memory(), test, io, Rows::kCached, Rows::kFresh);
      const std::vector<float> out = memory().Download(io.out);
      for (size_t i = out.size() - 4 * 64; i < out.size(); ++i) ASSERT_TRUE(std::isnan(out[i]));
    }
  }
}

// The step of the seed's bug: requests without new tokens between others, at both ends, and alone.
TEST_F(ChunkedPrefillPagedDecodeTest, ZeroLengthRequestsTouchNobody) {
  const AttentionSpec spec = Spec();
  const KvCacheLayout layout = Nhd(spec, 16);
  auto both = *ChunkedPrefillPagedDecode::Create(memory().shared_backend(), spec, layout, Limits());
  for (const std::vector<Sequence>& shapes : std::vector<std::vector<Sequence>>{
           {{0, 4}, {1, 9}, {0, 0}, {0, 7}, {3, 2}, {0, 1}}, {{1, 2}, {1, 3}}, {{2, 2}}}) {
    const OpsCase test(spec, layout, shapes, 16, InCache::kSingleTokens);
    const ContextAttentionIo io = ContextIo(test, memory());
    const absl::Status status = both->Run(queue(), test.arrays(), io);
    ASSERT_TRUE(status.ok()) << status;
    CheckRows(memory(), test, io, Rows::kCached, Rows::kFresh);
  }
  const OpsCase nothing(spec, layout, {{0, 4}, {0, 0}}, 16, InCache::kAll);
  ContextAttentionIo io;
  io.cache = nothing.Cache(memory());
  io.query = memory().Poisoned(DType::kF16, {0, 4, 64});
  io.out = io.query;
  const absl::Status status = both->Run(queue(), nothing.arrays(), io);
  EXPECT_TRUE(status.ok()) << status;
  io.cache = {};
  EXPECT_THAT(std::string(both->Run(queue(), nothing.arrays(), io).message()),
              HasSubstr("chunked_prefill_paged_decode: cache is not given"));
}

}  // namespace
}  // namespace weft::testing
