// SPDX-License-Identifier: Apache-2.0
#include "cuda/test_forward.h"

#include <tuple>
#include <utility>

#include "absl/types/span.h"
#include "core/attention_spec.h"
#include "core/dtype.h"
#include "core/status_macros.h"
#include "core/tensor_view.h"
#include "testing/device_io.h"

namespace weft::cuda {

absl::StatusOr<std::unique_ptr<TestForward>> TestForward::Create(std::shared_ptr<Backend> backend) {
  std::unique_ptr<TestForward> forward(new TestForward(std::move(backend)));
  RETURN_IF_ERROR(forward->Init());
  return forward;
}

absl::Status TestForward::Init() {
  AttentionSpec spec;
  spec.num_heads = kHeads;
  spec.num_kv_heads = kKvHeads;
  spec.head_size = kHeadSize;
  ASSIGN_OR_RETURN(queue_, backend_->CreateQueue());
  ASSIGN_OR_RETURN(layout_, KvCacheLayout::Nhd(DType::kF16, kBlockSize, kKvHeads, kHeadSize));
  ASSIGN_OR_RETURN(AttentionLayer layer, AttentionLayer::Create(backend_, spec, layout_));
  layer_ = std::make_unique<AttentionLayer>(std::move(layer));
  ASSIGN_OR_RETURN(query_, Numbers(kMaxRows * kHeads * kHeadSize, 1));
  ASSIGN_OR_RETURN(key_, Numbers(kMaxRows * kKvHeads * kHeadSize, 2));
  ASSIGN_OR_RETURN(value_, Numbers(kMaxRows * kKvHeads * kHeadSize, 3));
  ASSIGN_OR_RETURN(cache_, Numbers(kNumBlocks * layout_.bytes_per_block() / 2, 4));
  ASSIGN_OR_RETURN(
      out_, testing::AllocatePoisoned(*backend_, *queue_, kMaxRows * kHeads * kHeadSize * 2));
  for (const auto& [view, buffer, heads] :
       {std::tuple(&io.query, query_.get(), kHeads), std::tuple(&io.key, key_.get(), kKvHeads),
        std::tuple(&io.value, value_.get(), kKvHeads), std::tuple(&io.out, out_.get(), kHeads)}) {
    ASSIGN_OR_RETURN(
        *view, TensorView::Contiguous(buffer->address(), DType::kF16, {kMaxRows, heads, kHeadSize},
                                      backend_->device()));
  }
  ASSIGN_OR_RETURN(io.cache, KvCacheView::OneAllocation(layout_, cache_->address(), kNumBlocks,
                                                        backend_->device()));
  ASSIGN_OR_RETURN(limits_,
                   StepLimits::For(spec, layout_, 1, kMaxRows, 8, kNumBlocks * kBlockSize, 8));
  return testing::Finish(*queue_);
}

absl::StatusOr<std::unique_ptr<Buffer>> TestForward::Numbers(int64_t count, uint32_t seed) {
  std::vector<uint16_t> values(static_cast<size_t>(count));
  for (uint16_t& value : values) {
    seed = seed * 1664525 + 1013904223;
    value = F32ToF16(static_cast<float>(seed >> 8) / 8388608.0f - 1.0f);
  }
  return testing::Upload(*backend_, *queue_, testing::AsBytes(values));
}

absl::StatusOr<std::shared_ptr<const Plan>> TestForward::PlanOf(
    const std::vector<Part>& parts) const {
  return PlanOf(parts, kNumBlocks, [](int32_t id) { return id; });
}

absl::StatusOr<std::shared_ptr<const Plan>> TestForward::PlanOf(const std::vector<Part>& parts,
                                                                int64_t num_blocks,
                                                                PlaceBlock place) const {
  std::vector<int32_t> ids(kNumBlocks);
  for (int64_t i = 0; i < kNumBlocks; ++i)
    ids[i] = place(static_cast<int32_t>(i * 37 % kNumBlocks));
  RequestBatch batch;
  size_t next = 0;
  for (const Part& part : parts) {
    const auto blocks =
        static_cast<size_t>((part.new_tokens + part.computed + kBlockSize - 1) / kBlockSize);
    batch.requests.push_back({part.kind, part.new_tokens, part.computed,
                              absl::MakeConstSpan(ids).subspan(next, blocks)});
    next += blocks;
  }
  ASSIGN_OR_RETURN(const auto metadata, AttentionMetadataBuilder(layout_, num_blocks).Build(batch));
  return layer_->MakePlan(metadata);
}

absl::Status TestForward::Poison() {
  RETURN_IF_ERROR(queue_->Fill(out_->address(), out_->size_bytes(), testing::kPoison));
  return testing::Finish(*queue_);
}

absl::StatusOr<std::vector<uint8_t>> TestForward::Output() {
  return testing::Download(*queue_, out_->address(), out_->size_bytes());
}

absl::StatusOr<std::vector<uint8_t>> TestForward::Run(std::shared_ptr<const Plan> plan) {
  ASSIGN_OR_RETURN(const auto step, StepBuffers::Create(backend_, limits_));
  RETURN_IF_ERROR(Poison());
  RETURN_IF_ERROR(step->Update(*queue_, std::move(plan)));
  RETURN_IF_ERROR(layer_->Forward(*queue_, *step, io));
  RETURN_IF_ERROR(testing::Finish(*queue_));
  return Output();
}

}  // namespace weft::cuda
