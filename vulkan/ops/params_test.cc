// SPDX-License-Identifier: Apache-2.0
//
// The C++ parameter blocks lie in memory as the compiled shaders read them: offsets are compared
// one by one, in order of declaration, with the OpMemberDecorate instructions of the modules.
#include "vulkan/ops/params.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/divisor.h"
#include "gtest/gtest.h"
#include "vulkan/ops/modules.h"

namespace weft::vulkan {
namespace {

constexpr uint32_t kOpName = 5;
constexpr uint32_t kOpMemberDecorate = 72;
constexpr uint32_t kDecorationOffset = 35;

// Offsets of the members of the struct called `name`; empty if there is none. (A struct that is
// also copied to a variable is there twice under its name, once without offsets.)
std::vector<size_t> OffsetsInModule(const ShaderModule& module, const std::string& name) {
  std::map<uint32_t, std::map<uint32_t, size_t>> offsets;  // type -> member -> offset
  std::vector<uint32_t> named;
  for (size_t at = 5; at < module.words.size();) {
    const uint32_t* words = &module.words[at];
    const uint32_t length = words[0] >> 16;
    const uint32_t op = words[0] & 0xffff;
    if (op == kOpName && name == reinterpret_cast<const char*>(words + 2)) {
      named.push_back(words[1]);
    }
    if (op == kOpMemberDecorate && words[3] == kDecorationOffset) {
      offsets[words[1]][words[2]] = words[4];
    }
    at += length == 0 ? 1 : length;
  }
  std::vector<size_t> result;
  for (const uint32_t type : named) {
    for (const auto& [member, offset] : offsets[type]) result.push_back(offset);
  }
  return result;
}

std::vector<size_t> AttentionOffsets() {
  using P = AttentionParams;
  return {offsetof(P, query),
          offsetof(P, out_rows),
          offsetof(P, lse),
          offsetof(P, partial_sums),
          offsetof(P, partial_stats),
          offsetof(P, tiles),
          offsetof(P, decode_rows),
          offsetof(P, decode_splits),
          offsetof(P, blocks),
          offsetof(P, alibi_slopes),
          offsetof(P, sinks),
          offsetof(P, k_scales),
          offsetof(P, v_scales),
          offsetof(P, query_row_stride),
          offsetof(P, query_head_stride),
          offsetof(P, out_row_stride),
          offsetof(P, out_head_stride),
          offsetof(P, lse_row_stride),
          offsetof(P, lse_head_stride),
          offsetof(P, key_block_stride),
          offsetof(P, key_token_stride),
          offsetof(P, key_head_stride),
          offsetof(P, key_run_stride),
          offsetof(P, value_block_stride),
          offsetof(P, value_token_stride),
          offsetof(P, value_head_stride),
          offsetof(P, value_run_stride),
          offsetof(P, num_work),
          offsetof(P, chunks),
          offsetof(P, num_heads),
          offsetof(P, num_kv_heads),
          offsetof(P, group_size),
          offsetof(P, head_size),
          offsetof(P, block_size),
          offsetof(P, blocks_per_segment),
          offsetof(P, key_run),
          offsetof(P, value_run),
          offsetof(P, by_group_size),
          offsetof(P, by_block_size),
          offsetof(P, by_blocks_per_segment),
          offsetof(P, by_key_run),
          offsetof(P, by_value_run),
          offsetof(P, scale),
          offsetof(P, softcap),
          offsetof(P, inverse_softcap),
          offsetof(P, value_unit),
          offsetof(P, inverse_out_scale),
          offsetof(P, query_dtype),
          offsetof(P, out_dtype),
          offsetof(P, kv_dtype),
          offsetof(P, window),
          offsetof(P, flags),
          offsetof(P, segments)};
}

TEST(ParamsTest, Attention) {
  for (const ShaderModule* module :
       {&AttentionPrefillModule(), &AttentionDecodeModule(), &AttentionMergeModule()}) {
    EXPECT_EQ(OffsetsInModule(*module, "AttentionParams"), AttentionOffsets()) << module->name;
  }
}

TEST(ParamsTest, ReshapeAndCache) {
  using P = ReshapeAndCacheParams;
  const std::vector<size_t> offsets = {offsetof(P, key),
                                       offsetof(P, value),
                                       offsetof(P, slots),
                                       offsetof(P, key_row_stride),
                                       offsetof(P, key_head_stride),
                                       offsetof(P, value_row_stride),
                                       offsetof(P, value_head_stride),
                                       offsetof(P, key_block_stride),
                                       offsetof(P, key_token_stride),
                                       offsetof(P, cache_key_head_stride),
                                       offsetof(P, key_run_stride),
                                       offsetof(P, value_block_stride),
                                       offsetof(P, value_token_stride),
                                       offsetof(P, cache_value_head_stride),
                                       offsetof(P, value_run_stride),
                                       offsetof(P, num_slots),
                                       offsetof(P, block_size),
                                       offsetof(P, num_tokens),
                                       offsetof(P, num_kv_heads),
                                       offsetof(P, units_per_head),
                                       offsetof(P, blocks_per_segment),
                                       offsetof(P, key_run_units),
                                       offsetof(P, value_run_units),
                                       offsetof(P, unit_bytes),
                                       offsetof(P, by_key_run_units),
                                       offsetof(P, by_value_run_units),
                                       offsetof(P, by_units_per_head),
                                       offsetof(P, by_blocks_per_segment),
                                       offsetof(P, segments)};
  EXPECT_EQ(OffsetsInModule(ReshapeAndCacheModule(), "ReshapeAndCacheParams"), offsets);
}

TEST(ParamsTest, QuantizeToCache) {
  using P = QuantizeToCacheParams;
  const std::vector<size_t> offsets = {offsetof(P, key),
                                       offsetof(P, value),
                                       offsetof(P, key_cache),
                                       offsetof(P, value_cache),
                                       offsetof(P, slots),
                                       offsetof(P, num_slots),
                                       offsetof(P, block_size),
                                       offsetof(P, num_tokens),
                                       offsetof(P, num_kv_heads),
                                       offsetof(P, head_size),
                                       offsetof(P, quads_per_head),
                                       offsetof(P, blocks_per_segment),
                                       offsetof(P, source_dtype),
                                       offsetof(P, cache_dtype),
                                       offsetof(P, reserved),
                                       offsetof(P, by_quads_per_head),
                                       offsetof(P, by_blocks_per_segment),
                                       offsetof(P, segments)};
  EXPECT_EQ(OffsetsInModule(QuantizeToCacheModule(), "QuantizeToCacheParams"), offsets);
}

TEST(ParamsTest, QuantizeToCacheRows) {
  using P = QuantizedRowParams;
  const std::vector<size_t> offsets = {offsetof(P, address), offsetof(P, row), offsetof(P, head),
                                       offsetof(P, scales)};
  EXPECT_EQ(OffsetsInModule(QuantizeToCacheModule(), "RowStrides"), offsets);
}

TEST(ParamsTest, QuantizeToCacheStrides) {
  using P = QuantizedCacheParams;
  const std::vector<size_t> offsets = {
      offsetof(P, block),    offsetof(P, token), offsetof(P, head),       offsetof(P, run),
      offsetof(P, run_dims), offsetof(P, whole), offsetof(P, by_run_dims)};
  EXPECT_EQ(OffsetsInModule(QuantizeToCacheModule(), "CacheStrides"), offsets);
}

TEST(ParamsTest, GatherRows) {
  using P = GatherRowsParams;
  const std::vector<size_t> offsets = {offsetof(P, source),
                                       offsetof(P, index),
                                       offsetof(P, destination),
                                       offsetof(P, source_row_stride),
                                       offsetof(P, destination_row_stride),
                                       offsetof(P, source_rows),
                                       offsetof(P, units_per_row),
                                       offsetof(P, units_per_part),
                                       offsetof(P, rows),
                                       offsetof(P, parts),
                                       offsetof(P, unit_bytes),
                                       offsetof(P, fill)};
  EXPECT_EQ(OffsetsInModule(GatherRowsModule(), "GatherRowsParams"), offsets);
}

TEST(ParamsTest, QuantizeFp8) {
  using P = QuantizeFp8Params;
  const std::vector<size_t> offsets = {offsetof(P, source),
                                       offsetof(P, destination),
                                       offsetof(P, head_scales),
                                       offsetof(P, source_row_stride),
                                       offsetof(P, source_head_stride),
                                       offsetof(P, destination_row_stride),
                                       offsetof(P, destination_head_stride),
                                       offsetof(P, rows),
                                       offsetof(P, heads),
                                       offsetof(P, head_size),
                                       offsetof(P, quads_per_head),
                                       offsetof(P, by_quads_per_head),
                                       offsetof(P, source_dtype),
                                       offsetof(P, destination_dtype),
                                       offsetof(P, whole),
                                       offsetof(P, scale)};
  EXPECT_EQ(OffsetsInModule(QuantizeFp8Module(), "QuantizeFp8Params"), offsets);
}

TEST(ParamsTest, MergeStates) {
  using P = MergeStatesParams;
  const std::vector<size_t> offsets = {offsetof(P, a),         offsetof(P, b),
                                       offsetof(P, merged),    offsetof(P, sinks),
                                       offsetof(P, rows),      offsetof(P, heads),
                                       offsetof(P, head_size), offsetof(P, dtype),
                                       offsetof(P, out_dtype), offsetof(P, inverse_out_scale)};
  EXPECT_EQ(OffsetsInModule(MergeStatesModule(), "MergeStatesParams"), offsets);
}

TEST(ParamsTest, State) {
  using P = StateParams;
  const std::vector<size_t> offsets = {offsetof(P, rows),           offsetof(P, row_stride),
                                       offsetof(P, head_stride),    offsetof(P, lse),
                                       offsetof(P, lse_row_stride), offsetof(P, lse_head_stride)};
  EXPECT_EQ(OffsetsInModule(MergeStatesModule(), "State"), offsets);
}

TEST(ParamsTest, CorrectAttnOut) {
  using P = CorrectAttnOutParams;
  const std::vector<size_t> offsets = {offsetof(P, source),
                                       offsetof(P, source_row_stride),
                                       offsetof(P, source_head_stride),
                                       offsetof(P, source_dim_stride),
                                       offsetof(P, corrected),
                                       offsetof(P, corrected_row_stride),
                                       offsetof(P, corrected_head_stride),
                                       offsetof(P, corrected_dim_stride),
                                       offsetof(P, lses),
                                       offsetof(P, lses_rank_stride),
                                       offsetof(P, lses_row_stride),
                                       offsetof(P, lses_head_stride),
                                       offsetof(P, lse),
                                       offsetof(P, lse_row_stride),
                                       offsetof(P, lse_head_stride),
                                       offsetof(P, sinks),
                                       offsetof(P, rows),
                                       offsetof(P, heads),
                                       offsetof(P, head_size),
                                       offsetof(P, ranks),
                                       offsetof(P, rank),
                                       offsetof(P, dtype),
                                       offsetof(P, base2)};
  EXPECT_EQ(OffsetsInModule(CorrectAttnOutModule(), "CorrectAttnOutParams"), offsets);
}

TEST(ParamsTest, NestedStructs) {
  const std::vector<size_t> pair_of_words = {offsetof(Divisor, multiplier),
                                             offsetof(Divisor, shift)};
  const std::vector<size_t> segment = {offsetof(KvSegmentParams, key),
                                       offsetof(KvSegmentParams, value)};
  for (const ShaderModule* module : {&AttentionPrefillModule(), &ReshapeAndCacheModule()}) {
    EXPECT_EQ(OffsetsInModule(*module, "Divisor"), pair_of_words) << module->name;
    EXPECT_EQ(OffsetsInModule(*module, "KvSegment"), segment) << module->name;
  }
  // The test itself: a struct that is not there has no members.
  EXPECT_TRUE(OffsetsInModule(GatherRowsModule(), "KvSegment").empty());
}

}  // namespace
}  // namespace weft::vulkan
