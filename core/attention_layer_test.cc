// SPDX-License-Identifier: Apache-2.0
//
// What AttentionLayer::Forward refuses, by name and before anything is written, and what it leaves
// alone (seed 002, TritonAttentionImpl.forward). On the reference backend: the checks are core's.
#include "core/attention_layer.h"

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/ops/case_for_test.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;

class AttentionLayerTest : public OpsTest {
 protected:
  void SetUp() override {
    OpsTest::SetUp();
    spec_.num_heads = 4;
    spec_.num_kv_heads = 2;
    spec_.head_size = 32;
    layout_ = *KvCacheLayout::Nhd(DType::kF16, 16, 2, 32);
  }

  absl::StatusOr<AttentionLayer> Layer() {
    layout_ = *KvCacheLayout::Nhd(spec_.kv_dtype, 16, spec_.num_kv_heads, spec_.head_size);
    return AttentionLayer::Create(memory().shared_backend(), spec_, layout_);
  }

  AttentionMetadata Metadata(const OpsCase& test, const MetadataOptions& options = {}) {
    const StepArrays arrays = test.arrays();
    RequestBatch batch;
    for (size_t i = 0; i < arrays.seq_lens.size(); ++i) {
      Request request;
      request.num_new_tokens = arrays.query_start_loc[i + 1] - arrays.query_start_loc[i];
      request.num_computed_tokens = arrays.seq_lens[i] - request.num_new_tokens;
      request.kind = request.num_new_tokens == 1 ? RequestKind::kDecode : RequestKind::kPrefill;
      request.block_ids =
          arrays.block_table.subspan(i * arrays.block_table_width, arrays.block_table_width);
      batch.requests.push_back(request);
    }
    auto metadata = AttentionMetadataBuilder(layout_, 16).Build(batch, options);
    EXPECT_TRUE(metadata.ok()) << metadata.status();
    return *metadata;
  }

  std::unique_ptr<StepBuffers> Step(std::shared_ptr<const Plan> plan, bool pad = false) {
    StepLimits limits;
    limits.max_slots = limits.max_blocks = limits.max_tiles = 64;
    limits.max_decode_rows = limits.max_decode_splits = 64;
    limits.workspace_bytes = plan->workspace_bytes();
    limits.pad = pad;
    limits.max_rows = plan->num_rows();
    auto step = StepBuffers::Create(memory().shared_backend(), limits);
    EXPECT_TRUE(step.ok()) << step.status();
    EXPECT_TRUE((*step)->Update(queue(), std::move(plan)).ok());
    return *std::move(step);
  }

  // Without the cache's new tokens: Forward writes them.
  AttentionIo Io(const OpsCase& test, int64_t more_rows = 0) {
    AttentionIo io;
    io.query = test.Query(memory());
    io.key = test.NewKeys(memory());
    io.value = test.NewValues(memory());
    io.cache = test.Cache(memory());
    io.out = test.Out(memory(), more_rows);
    io.lse = test.Lse(memory(), more_rows);
    return io;
  }

  std::vector<uint8_t> CacheBytes(const KvCacheView& cache) {
    return memory().DownloadBytes(cache.segments()[0].key_base,
                                  cache.layout().bytes_per_block() * cache.num_blocks());
  }

  AttentionSpec spec_;
  KvCacheLayout layout_;
  const std::vector<Sequence> shapes_ = {{5, 7}, {1, 20}, {0, 3}, {2, 0}};
};

TEST_F(AttentionLayerTest, WritesAndAttendsAndLeavesRowsBehindTheStepAlone) {
  const AttentionLayer layer = *Layer();
  const OpsCase test(spec_, layout_, shapes_, 16, InCache::kNone);
  const auto step = Step(*layer.MakePlan(Metadata(test)));
  AttentionIo io = Io(test, /*more_rows=*/3);
  const absl::Status status = layer.Forward(queue(), *step, io);
  ASSERT_TRUE(status.ok()) << status;
  const std::vector<float> out = memory().Download(io.out), lse = memory().Download(io.lse);
  for (size_t s = 0; s < shapes_.size(); ++s)
    test.CheckSequence(static_cast<int64_t>(s), true, out, lse);
  for (size_t i = out.size() - 3 * 4 * 32; i < out.size(); ++i) ASSERT_TRUE(std::isnan(out[i]));
  for (size_t i = lse.size() - 3 * 4; i < lse.size(); ++i) ASSERT_TRUE(std::isnan(lse[i]));
}

// The slots say how many tokens are written; key and value may be longer, as under graph padding.
TEST_F(AttentionLayerTest, FewerSlotsThanKeys) {
  const AttentionLayer layer = *Layer();
  const OpsCase test(spec_, layout_, shapes_, 16, InCache::kNone);
  const auto step = Step(*layer.MakePlan(Metadata(test)));
  AttentionIo io = Io(test);
  ASSERT_TRUE(layer.Forward(queue(), *step, io).ok());
  memory().Run();
  const std::vector<uint8_t> expected = CacheBytes(io.cache);

  AttentionIo longer = Io(test);
  const auto padded = [&](const TensorView& rows) {
    const TensorView view = memory().Poisoned(DType::kF16, {rows.extent(0) + 4, 2, 32});
    EXPECT_TRUE(queue().Copy(view.address(), rows.address(), rows.span_bytes()).ok());
    return view;
  };
  longer.key = padded(longer.key);
  longer.value = padded(longer.value);
  ASSERT_TRUE(layer.Forward(queue(), *step, longer).ok());
  memory().Run();
  EXPECT_EQ(CacheBytes(longer.cache), expected);
}

TEST_F(AttentionLayerTest, ASharedCacheIsNotWritten) {
  spec_.shares_kv_cache = true;
  const AttentionLayer layer = *Layer();
  const OpsCase test(spec_, layout_, shapes_, 16, InCache::kAll);
  const auto step = Step(*layer.MakePlan(Metadata(test)));
  AttentionIo io = Io(test);
  io.key = io.value = {};  // not looked at
  const std::vector<uint8_t> before = CacheBytes(io.cache);
  const absl::Status status = layer.Forward(queue(), *step, io);
  ASSERT_TRUE(status.ok()) << status;
  const std::vector<float> out = memory().Download(io.out);
  for (size_t s = 0; s < shapes_.size(); ++s)
    test.CheckSequence(static_cast<int64_t>(s), false, out, {});
  EXPECT_EQ(CacheBytes(io.cache), before);
}

TEST_F(AttentionLayerTest, AProfilingRunLeavesTheOutputAlone) {
  const AttentionLayer layer = *Layer();
  AttentionIo io;
  io.out = memory().Poisoned(DType::kF16, {7, 4, 32});
  EXPECT_TRUE(layer.Forward(queue(), io).ok());
  io.query = memory().Poisoned(DType::kF16, {7, 4, 32});
  EXPECT_TRUE(layer.Forward(queue(), io).ok());
  for (const float value : memory().Download(io.out)) ASSERT_TRUE(std::isnan(value));
  io.query = memory().Poisoned(DType::kF16, {7, 3, 32});
  EXPECT_THAT(std::string(layer.Forward(queue(), io).message()), HasSubstr("forward: query is"));
  io.out = {};
  EXPECT_THAT(std::string(layer.Forward(queue(), io).message()),
              HasSubstr("forward: out is not given"));
}

TEST_F(AttentionLayerTest, TypesOtherThanDecoder) {
  for (const auto& [type, name] : {std::pair(AttentionType::kEncoder, "encoder"),
                                   std::pair(AttentionType::kEncoderOnly, "encoder-only"),
                                   std::pair(AttentionType::kEncoderDecoder, "encoder-decoder")}) {
    spec_.type = type;
    const absl::Status status = Layer().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(std::string(name) + " attention is not supported"));
  }
}

TEST_F(AttentionLayerTest, QScale) {
  spec_.kv_dtype = DType::kF8E4M3;
  spec_.fp8_query = true;
  EXPECT_TRUE(Layer().ok());
  spec_.q_scale = 0.5f;
  const absl::Status status = Layer().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("q_scale is 0.5, only 1 is supported"));
}

TEST_F(AttentionLayerTest, CacheOfAnotherKindAndScalesWithoutFp8) {
  EXPECT_THAT(std::string(AttentionLayer::Create(memory().shared_backend(), spec_,
                                                 *KvCacheLayout::Nhd(DType::kBF16, 16, 2, 32))
                              .status()
                              .message()),
              HasSubstr("kv_dtype f16, the cache has bf16"));
  spec_.k_scales = {0.5f};
  EXPECT_THAT(std::string(Layer().status().message()),
              HasSubstr("k_scales[0] is 0.5 for an unquantised f16 cache"));
  EXPECT_FALSE(AttentionLayer::Create(nullptr, spec_, layout_).ok());
}

// Each of these is refused, and neither the cache nor the output changes.
TEST_F(AttentionLayerTest, RefusedBeforeAnythingIsWritten) {
  const AttentionLayer layer = *Layer();
  const OpsCase test(spec_, layout_, shapes_, 16, InCache::kNone);
  const auto step = Step(*layer.MakePlan(Metadata(test)));
  const AttentionIo good = Io(test);
  const std::vector<uint8_t> before = CacheBytes(good.cache);
  const auto refused = [&](const AttentionIo& io) {
    const absl::Status status = layer.Forward(queue(), *step, io);
    EXPECT_FALSE(status.ok());
    return std::string(status.message());
  };
  AttentionIo io = good;
  io.out = {};
  EXPECT_THAT(refused(io), HasSubstr("attention: out is not given"));
  io = good;
  io.query = {};
  EXPECT_THAT(refused(io), HasSubstr("attention: query is not given"));
  io = good;
  io.key = {};
  EXPECT_THAT(refused(io), HasSubstr("key is not given"));
  io = good;
  io.value = {};
  EXPECT_THAT(refused(io), HasSubstr("value is not given"));
  io = good;
  io.cache = {};
  EXPECT_THAT(refused(io), HasSubstr("the cache has 0 blocks, the plan was made for 16"));
  io = good;
  io.out_block_scale = good.lse;
  const absl::Status block_scale = layer.Forward(queue(), *step, io);
  EXPECT_EQ(block_scale.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(block_scale.message()), HasSubstr("out_block_scale"));
  EXPECT_EQ(layer.Forward(queue(), io).code(), absl::StatusCode::kUnimplemented);
  io = good;
  io.out = *TensorView::Contiguous(good.out.address(), DType::kF16, {7, 4, 32}, good.out.device());
  EXPECT_THAT(refused(io), HasSubstr("must be f16[>= 8, 4, 32]"));
  io = good;
  io.out = io.query;
  EXPECT_THAT(refused(io), HasSubstr("out overlaps query"));
  io = good;
  io.lse = *TensorView::Contiguous(good.out.address(), DType::kF32, {8, 4}, good.out.device());
  EXPECT_THAT(refused(io), HasSubstr("lse overlaps out"));
  memory().Run();
  EXPECT_EQ(CacheBytes(good.cache), before);
  for (const float value : memory().Download(good.out)) ASSERT_TRUE(std::isnan(value));
}

TEST_F(AttentionLayerTest, PaddedTablesSaySo) {
  const AttentionLayer layer = *Layer();
  const OpsCase test(spec_, layout_, shapes_, 16, InCache::kNone);
  const auto plan = *layer.MakePlan(Metadata(test));
  EXPECT_FALSE(Step(plan)->tables().padded);
  const auto padded = Step(plan, true);
  EXPECT_TRUE(padded->tables().padded);
  EXPECT_EQ(padded->tables().decode_splits.extent(0), 64);
}

TEST_F(AttentionLayerTest, StepsThatAreNotTheLayers) {
  const AttentionLayer layer = *Layer();
  const OpsCase test(spec_, layout_, shapes_, 16, InCache::kNone);
  const AttentionMetadata metadata = Metadata(test);
  const auto plan = *layer.MakePlan(metadata);
  AttentionIo io = Io(test);
  auto empty = *StepBuffers::Create(memory().shared_backend(), StepLimits());
  EXPECT_THAT(std::string(layer.Forward(queue(), *empty, io).message()),
              HasSubstr("the step buffers hold no plan yet"));
  const auto step = Step(plan);
  AttentionSpec other = spec_;
  other.softcap = 30.0f;
  const AttentionLayer capped = *AttentionLayer::Create(memory().shared_backend(), other, layout_);
  const absl::Status status = capped.Forward(queue(), *step, io);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a layer of another spec"));
  // An alike layer's plan is as good as one's own.
  const AttentionLayer twin = *AttentionLayer::Create(memory().shared_backend(), spec_, layout_);
  EXPECT_TRUE(twin.Forward(queue(), *step, io).ok());
  memory().Run();

  const AttentionLayer wide = *AttentionLayer::Create(memory().shared_backend(), spec_,
                                                      *KvCacheLayout::Nhd(DType::kF16, 32, 2, 32));
  EXPECT_THAT(std::string(wide.MakePlan(metadata).status().message()),
              HasSubstr("the metadata was built for KV f16, block size 16"));
  PlanOptions options;
  options.keys = KeyScope::kNew;
  EXPECT_THAT(std::string(layer.MakePlan(metadata, options).status().message()),
              HasSubstr("new tokens are read as a cache of rows"));
}

TEST_F(AttentionLayerTest, Cascade) {
  const AttentionLayer layer = *Layer();
  const OpsCase test(spec_, layout_, {{1, 20}, {2, 17}}, 16, InCache::kNone);
  MetadataOptions options;
  options.common_prefix_len = 16;
  const absl::Status status = layer.MakePlan(Metadata(test, options)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cascade"));
}

// A state that is to be merged must not be rounded to fp8 before.
TEST_F(AttentionLayerTest, Fp8OutputOfAPartialPlan) {
  spec_.out_dtype = DType::kF8E4M3;
  const AttentionLayer layer = *Layer();
  const OpsCase test(spec_, layout_, shapes_, 16, InCache::kNone);
  PlanOptions options;
  options.keys = KeyScope::kContext;
  const auto step = Step(*layer.MakePlan(Metadata(test), options));
  const AttentionIo io = Io(test);
  const absl::Status status = layer.Attend(queue(), *step, io);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("states to be merged, not to be rounded"));
}

// Every kind of step can be captured: the shapes of the seed's capture, replayed with real numbers.
TEST_F(AttentionLayerTest, CaptureShapes) {
  const AttentionLayer layer = *Layer();
  const AttentionMetadataBuilder builder(layout_, 16);
  for (const auto& [requests, query_len] : {std::pair(8, 1), std::pair(3, 5)}) {
    const auto metadata = builder.BuildForGraphCapture(requests, query_len);
    ASSERT_TRUE(metadata.ok()) << metadata.status();
    EXPECT_EQ(metadata->max_seq_len(), query_len);
    EXPECT_EQ(metadata->num_actual_tokens(), requests * query_len);
    const auto plan = layer.MakePlan(*metadata);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ((*plan)->decode_rows().size(), query_len == 1 ? 8 : 0);
  }
}

}  // namespace
}  // namespace weft::testing
