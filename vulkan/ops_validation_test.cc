// SPDX-License-Identifier: Apache-2.0
//
// Every operation, under the validation layer and with the hazards checked: a step of one decode
// and one prefill over a cache of two segments.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/attention_layer.h"
#include "core/attention_metadata.h"
#include "core/backend.h"
#include "core/registry.h"
#include "core/status_macros.h"
#include "core/step_buffers.h"
#include "gtest/gtest.h"
#include "vulkan/test_device.h"
#include "vulkan/vulkan_backend.h"

namespace weft::vulkan {
namespace {

constexpr int64_t kBlockSize = 16, kBlocks = 80, kHeads = 4, kKvHeads = 2, kHeadSize = 64;

// Memory that lives as long as the step.
class Arena {
 public:
  explicit Arena(Backend& backend) : backend_(backend) {}

  absl::StatusOr<uint64_t> Take(int64_t bytes) {
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend_.Allocate(bytes));
    buffers_.push_back(std::move(buffer));
    return buffers_.back()->address();
  }
  absl::StatusOr<TensorView> Rows(DType dtype, int64_t rows, int64_t heads) {
    ASSIGN_OR_RETURN(uint64_t address, Take(rows * heads * kHeadSize * SizeOf(dtype)));
    return TensorView::Contiguous(address, dtype, {rows, heads, kHeadSize}, backend_.device());
  }

 private:
  Backend& backend_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

absl::Status RunGather(Queue& queue, Arena& arena, const TensorView& source) {
  const std::vector<int64_t> index = {2, -1, 0};
  ASSIGN_OR_RETURN(uint64_t address, arena.Take(24));
  RETURN_IF_ERROR(
      queue.CopyFromHost(address, {reinterpret_cast<const uint8_t*>(index.data()), 24}));
  GatherRowsArgs gather;
  gather.source = source;
  ASSIGN_OR_RETURN(gather.index, TensorView::Contiguous(address, DType::kI64, {3}, queue.device()));
  ASSIGN_OR_RETURN(gather.destination, arena.Rows(source.dtype(), 3, kHeads));
  return queue.GatherRows(gather);
}

// The operations on finished rows, of one partial state merged with itself.
absl::Status RunOthers(Queue& queue, Arena& arena, const AttentionIo& io) {
  MergeStatesArgs merge;
  merge.a = merge.b = merge.out = io.out;
  merge.a_lse = merge.b_lse = io.lse;
  RETURN_IF_ERROR(queue.MergeStates(merge));
  CorrectAttnOutArgs correct;
  correct.out = correct.corrected = io.out;
  ASSIGN_OR_RETURN(correct.lses,
                   TensorView::Contiguous(io.lse.address(), DType::kF32,
                                          {1, io.lse.extent(0), io.lse.extent(1)}, queue.device()));
  RETURN_IF_ERROR(queue.CorrectAttnOut(correct));
  QuantizeFp8Args quantize;
  quantize.source = io.out;
  ASSIGN_OR_RETURN(quantize.destination,
                   arena.Rows(DType::kF8E4M3, io.out.extent(0), io.out.extent(1)));
  quantize.scale = 0.3f;
  return queue.QuantizeFp8(quantize);
}

absl::StatusOr<KvCacheView> MakeCache(Queue& queue, Arena& arena, const KvCacheLayout& layout) {
  const int64_t segment_bytes = kBlocks / 2 * layout.bytes_per_block();
  std::vector<KvSegment> segments(2);
  for (KvSegment& segment : segments) {
    ASSIGN_OR_RETURN(segment.key_base, arena.Take(segment_bytes));
    RETURN_IF_ERROR(queue.Fill(segment.key_base, segment_bytes, 0));
    segment.value_base =
        segment.key_base + static_cast<uint64_t>(layout.value_offset() * SizeOf(layout.dtype()));
    segment.num_blocks = kBlocks / 2;
  }
  return KvCacheView::Create(layout, queue.device(), segments);
}

// Queries, keys and values of 0.
absl::StatusOr<AttentionIo> MakeIo(Queue& queue, Arena& arena, const KvCacheLayout& layout,
                                   DType dtype) {
  AttentionIo io;
  ASSIGN_OR_RETURN(io.cache, MakeCache(queue, arena, layout));
  ASSIGN_OR_RETURN(io.query, arena.Rows(dtype, 41, kHeads));
  ASSIGN_OR_RETURN(io.key, arena.Rows(dtype, 41, kKvHeads));
  ASSIGN_OR_RETURN(io.value, arena.Rows(dtype, 41, kKvHeads));
  ASSIGN_OR_RETURN(io.out, arena.Rows(dtype, 41, kHeads));
  ASSIGN_OR_RETURN(uint64_t lse, arena.Take(41 * kHeads * 4));
  ASSIGN_OR_RETURN(io.lse, TensorView::Contiguous(lse, DType::kF32, {41, kHeads}, queue.device()));
  for (const TensorView& view : {io.query, io.key, io.value}) {
    RETURN_IF_ERROR(queue.Fill(view.address(), view.span_bytes(), 0));
  }
  return io;
}

absl::Status RunStep(const std::shared_ptr<Backend>& backend, DType dtype, DType kv_dtype) {
  AttentionSpec spec;
  spec.num_heads = kHeads;
  spec.num_kv_heads = kKvHeads;
  spec.head_size = kHeadSize;
  spec.dtype = dtype;
  spec.kv_dtype = kv_dtype;
  if (IsFp8(kv_dtype)) {
    // All that changes nothing of the log-sum-exp of equal keys.
    spec.k_scales = spec.v_scales = {0.5f};
    spec.softcap = 30.0f;
    spec.window = 4096;
    spec.alibi_slopes = std::vector<float>(kHeads, 0.0f);
    spec.sinks = std::vector<float>(kHeads, 1.0f);
  }
  ASSIGN_OR_RETURN(KvCacheLayout layout,
                   KvCacheLayout::Nhd(kv_dtype, kBlockSize, kKvHeads, kHeadSize));
  ASSIGN_OR_RETURN(AttentionLayer layer, AttentionLayer::Create(backend, spec, layout));
  Arena arena(*backend);
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend->CreateQueue());

  // The decode sees 600 keys: two granules, and so a merge.
  std::vector<int32_t> blocks(kBlocks);
  for (int32_t i = 0; i < kBlocks; ++i) blocks[static_cast<size_t>(i)] = i;
  RequestBatch batch;
  batch.requests.push_back({RequestKind::kDecode, 1, 599, absl::MakeSpan(blocks).first(38)});
  batch.requests.push_back({RequestKind::kPrefill, 40, 7, absl::MakeSpan(blocks).subspan(38, 3)});
  ASSIGN_OR_RETURN(AttentionMetadata metadata,
                   AttentionMetadataBuilder(layout, kBlocks).Build(batch));
  ASSIGN_OR_RETURN(std::shared_ptr<const Plan> plan, layer.MakePlan(metadata));
  ASSIGN_OR_RETURN(StepLimits limits, StepLimits::For(spec, layout, 1, 64, 2, 1024, 4));
  ASSIGN_OR_RETURN(std::unique_ptr<StepBuffers> step, StepBuffers::Create(backend, limits));

  ASSIGN_OR_RETURN(AttentionIo io, MakeIo(*queue, arena, layout, dtype));
  ASSIGN_OR_RETURN(const int64_t pipelines, PipelineCount(*backend));
  for (int round = 0; round < 2; ++round) {
    RETURN_IF_ERROR(step->Update(*queue, plan));
    RETURN_IF_ERROR(layer.Forward(*queue, *step, io));
    RETURN_IF_ERROR(RunGather(*queue, arena, io.out));
    RETURN_IF_ERROR(RunOthers(*queue, arena, io));
  }
  std::vector<float> lses(41 * kHeads);
  RETURN_IF_ERROR(queue->CopyToHost(
      {reinterpret_cast<uint8_t*>(lses.data()), lses.size() * sizeof(float)}, io.lse.address()));
  RETURN_IF_ERROR(queue->Submit());
  RETURN_IF_ERROR(queue->Wait(absl::Now() + absl::Seconds(120)));
  // Keys of 0: the LSE is the logarithm of the number of keys.
  EXPECT_NEAR(lses.front(), 6.3969297f, 1e-4f);  // ln 600
  EXPECT_NEAR(lses.back(), 3.8501476f, 1e-4f);   // ln 47
  EXPECT_EQ(PipelineCount(*backend).value_or(-1), pipelines) << "compiled after Prepare";
  return absl::OkStatus();
}

TEST(OpsValidationTest, LayerIsSilentOverEveryOperation) {
  Registry registry;
  Options options;
  options.enable_validation = true;
  options.verify_hazards = true;
  ASSERT_TRUE(RegisterVulkanBackend(registry, options).ok());
  absl::StatusOr<std::shared_ptr<Backend>> backend = registry.Create("vulkan");
  WEFT_SKIP_WITHOUT_DEVICE(backend.status());
  for (const auto& [dtype, kv_dtype] :
       {std::pair(DType::kF16, DType::kF16), std::pair(DType::kBF16, DType::kBF16),
        std::pair(DType::kF32, DType::kF32), std::pair(DType::kBF16, DType::kF8E4M3)}) {
    absl::Status status = RunStep(*backend, dtype, kv_dtype);
    EXPECT_TRUE(status.ok()) << Name(dtype) << " over " << Name(kv_dtype) << ": " << status;
  }
  EXPECT_EQ(ValidationMessageCount(), 0) << absl::StrJoin(ValidationMessages(), "\n");
}

}  // namespace
}  // namespace weft::vulkan
