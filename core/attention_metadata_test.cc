// SPDX-License-Identifier: Apache-2.0
#include "core/attention_metadata.h"

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Request Make(RequestKind kind, int64_t new_tokens, int64_t computed,
             absl::Span<const int32_t> blocks) {
  Request request;
  request.kind = kind;
  request.num_new_tokens = new_tokens;
  request.num_computed_tokens = computed;
  request.block_ids = blocks;
  return request;
}

class AttentionMetadataTest : public testing::Test {
 protected:
  absl::StatusOr<AttentionMetadata> Build(std::vector<Request> requests,
                                          const MetadataOptions& options = {}) {
    RequestBatch batch;
    batch.requests = std::move(requests);
    return builder_.Build(batch, options);
  }

  KvCacheLayout layout_ = *KvCacheLayout::Nhd(DType::kF16, /*block_size=*/4, 1, 32);
  AttentionMetadataBuilder builder_{layout_, /*num_blocks=*/20};
  const std::vector<int32_t> a_ = {7, 3, 9}, b_ = {5, 11}, c_ = {2};
};

TEST_F(AttentionMetadataTest, ArraysOfAMixedStep) {
  const absl::StatusOr<AttentionMetadata> metadata =
      Build({Make(RequestKind::kDecode, 1, 10, a_), Make(RequestKind::kPrefill, 5, 0, b_),
             Make(RequestKind::kPrefill, 0, 3, c_)});
  ASSERT_TRUE(metadata.ok()) << metadata.status();
  EXPECT_EQ(metadata->num_actual_tokens(), 6);
  EXPECT_EQ(metadata->max_query_len(), 5);
  EXPECT_EQ(metadata->max_seq_len(), 11);
  EXPECT_THAT(metadata->query_start_loc(), ElementsAre(0, 1, 6, 6));
  EXPECT_THAT(metadata->seq_lens(), ElementsAre(11, 5, 3));
  EXPECT_THAT(metadata->context_lens(), ElementsAre(10, 0, 3));
  EXPECT_EQ(metadata->block_table_width(), 3);
  EXPECT_THAT(metadata->block_table(), ElementsAre(7, 3, 9, 5, 11, -1, 2, -1, -1));
  EXPECT_THAT(metadata->blocks(1), ElementsAre(5, 11));
  EXPECT_THAT(metadata->slot_mapping(), ElementsAre(9 * 4 + 2, 20, 21, 22, 23, 44));
  EXPECT_THAT(metadata->Segments(), ElementsAre(Segment{0, 0, 1, 10}, Segment{1, 1, 5, 0}));
}

TEST_F(AttentionMetadataTest, NoLayout) {
  const AttentionMetadataBuilder builder(KvCacheLayout(), 20);
  RequestBatch batch;
  EXPECT_THAT(builder.Build(batch).status().message(), HasSubstr("no factory made it"));
  batch.requests = {Make(RequestKind::kPrefill, 5, 0, b_)};
  EXPECT_EQ(builder.Build(batch).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(builder.BuildForGraphCapture(1, 1).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(AttentionMetadataTest, EmptyBatch) {
  const absl::StatusOr<AttentionMetadata> metadata = Build({});
  ASSERT_TRUE(metadata.ok());
  EXPECT_EQ(metadata->num_actual_tokens(), 0);
  EXPECT_EQ(metadata->num_requests(), 0);
  EXPECT_THAT(metadata->Segments(), IsEmpty());
}

TEST_F(AttentionMetadataTest, TableMayBeLongerThanNeededWithGarbageBehind) {
  const std::vector<int32_t> blocks = {1, 1 << 30, -7};
  const absl::StatusOr<AttentionMetadata> metadata =
      Build({Make(RequestKind::kPrefill, 4, 0, blocks)});
  ASSERT_TRUE(metadata.ok()) << metadata.status();
  EXPECT_THAT(metadata->block_table(), ElementsAre(1));
}

TEST_F(AttentionMetadataTest, BadInputNamesRequestPlaceValueAndBound) {
  struct Row {
    Request request;
    absl::StatusCode code;
    const char* message;
  };
  const std::vector<int32_t> high = {3, 20}, low = {3, -1};
  const Row rows[] = {
      {Make(RequestKind::kPrefill, -1, 0, b_), absl::StatusCode::kInvalidArgument,
       "request 1: -1 new"},
      {Make(RequestKind::kDecode, 1, -4, b_), absl::StatusCode::kInvalidArgument, "-4 computed"},
      {Make(RequestKind::kPrefill, 9, 0, b_), absl::StatusCode::kInvalidArgument,
       "request 1: 2 block ids, but 9 tokens in blocks of 4 need 3"},
      {Make(RequestKind::kPrefill, 5, 0, high), absl::StatusCode::kOutOfRange,
       "request 1, block table column 1: block id 20 is not in [0, 20)"},
      {Make(RequestKind::kDecode, 1, 4, low), absl::StatusCode::kOutOfRange,
       "request 1, block table column 1: block id -1 is not in [0, 20)"},
      {Make(RequestKind::kPrefill, int64_t{1} << 31, 0, b_), absl::StatusCode::kOutOfRange,
       "request 1: 0 + 2147483648"},
      {Make(RequestKind::kPrefill, INT64_MAX, INT64_MAX, b_), absl::StatusCode::kOutOfRange,
       "request 1"},
  };
  for (const Row& row : rows) {
    const absl::Status status =
        Build({Make(RequestKind::kPrefill, 1, 0, c_), row.request}).status();
    EXPECT_EQ(status.code(), row.code) << row.message;
    EXPECT_THAT(status.message(), HasSubstr(row.message));
  }
}

TEST_F(AttentionMetadataTest, TwoWritersOfABlockAreRefused) {
  const std::vector<int32_t> shared = {3, 7};
  const auto batch = [&](int64_t computed) {
    return std::vector<Request>{Make(RequestKind::kDecode, 1, 1, a_),  // writes block 7
                                Make(RequestKind::kPrefill, 1, computed, shared)};
  };
  const absl::Status status = Build(batch(4)).status();  // writes block 7 too
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(),
              HasSubstr("request 1, block table column 1: block 7 is also written by request 0"));
  EXPECT_TRUE(Build(batch(3)).ok());  // writes block 3, reads nothing of 7
  MetadataOptions fast;
  fast.fast = true;
  EXPECT_TRUE(Build(batch(4), fast).ok());
}

TEST_F(AttentionMetadataTest, OneRequestMayNotNameAWrittenBlockTwice) {
  const std::vector<int32_t> twice = {6, 6};
  EXPECT_EQ(Build({Make(RequestKind::kPrefill, 8, 0, twice)}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(AttentionMetadataTest, SharedPrefixFields) {
  MetadataOptions options;
  options.common_prefix_len = 4;
  const std::vector<Request> requests = {Make(RequestKind::kDecode, 1, 10, a_),
                                         Make(RequestKind::kPrefill, 2, 5, b_)};
  const absl::StatusOr<AttentionMetadata> metadata = Build(requests, options);
  ASSERT_TRUE(metadata.ok());
  EXPECT_THAT(metadata->cu_prefix_query_lens(), ElementsAre(0, 3));
  EXPECT_THAT(metadata->prefix_kv_lens(), ElementsAre(4));
  EXPECT_THAT(metadata->suffix_kv_lens(), ElementsAre(7, 3));
  options.common_prefix_len = 6;
  EXPECT_THAT(Build(requests, options).status().message(),
              HasSubstr("request 1: 5 computed tokens"));
}

TEST_F(AttentionMetadataTest, CaptureHasSeqLenEqualToQueryLen) {
  const absl::StatusOr<AttentionMetadata> metadata = builder_.BuildForGraphCapture(3, 6);
  ASSERT_TRUE(metadata.ok());
  EXPECT_THAT(metadata->seq_lens(), ElementsAre(6, 6, 6));
  EXPECT_THAT(metadata->query_start_loc(), ElementsAre(0, 6, 12, 18));
  EXPECT_EQ(metadata->max_query_len(), 6);
  EXPECT_EQ(builder_.BuildForGraphCapture(1, 81).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(builder_.BuildForGraphCapture(1, 0).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace weft
