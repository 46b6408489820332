// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/mutant_backend.h"

#include <set>
#include <utility>

#include "absl/time/clock.h"
#include "core/status_macros.h"

namespace weft::testing {
namespace {

class MutantQueue : public Queue {
 public:
  MutantQueue(std::shared_ptr<Backend> reference, std::unique_ptr<Queue> queue, Fault fault)
      : Queue(reference->device(), &reference->allocations()),
        reference_(std::move(reference)),
        queue_(std::move(queue)),
        fault_(fault) {}

  absl::Status Submit() override { return queue_->Submit(); }
  absl::Status Wait(absl::Time deadline) override { return queue_->Wait(deadline); }
  void SetProfiling(bool on) override { queue_->SetProfiling(on); }
  std::vector<OpTime> TakeOpTimes() override { return queue_->TakeOpTimes(); }

 protected:
  absl::Status DoCopyFromHost(uint64_t destination, absl::Span<const uint8_t> source) override {
    const bool first = written_.insert(destination).second;
    if (fault_ == Fault::kStaleTables && !first) return absl::OkStatus();
    RETURN_IF_ERROR(queue_->CopyFromHost(destination, source));
    return fault_ == Fault::kEagerCopy ? queue_->Submit() : absl::OkStatus();
  }
  absl::Status DoCopyToHost(absl::Span<uint8_t> destination, uint64_t source) override {
    return queue_->CopyToHost(destination, source);
  }
  absl::Status DoCopy(uint64_t destination, uint64_t source, int64_t bytes) override {
    return queue_->Copy(destination, source, fault_ == Fault::kShortCopy ? bytes - 1 : bytes);
  }
  absl::Status DoFill(uint64_t destination, int64_t bytes, uint32_t pattern) override {
    return queue_->Fill(destination, fault_ == Fault::kShortFill ? bytes - 4 : bytes, pattern);
  }
  absl::Status DoReshapeAndCache(const ReshapeAndCacheArgs& args) override {
    RETURN_IF_ERROR(RunAllBefore());
    RunMutantReshape(args, fault_);
    return absl::OkStatus();
  }
  absl::Status DoAttention(const AttentionArgs& args) override {
    RETURN_IF_ERROR(RunAllBefore());
    RunMutantAttention(args, fault_);
    return absl::OkStatus();
  }
  absl::Status DoGatherRows(const GatherRowsArgs& args) override {
    RETURN_IF_ERROR(RunAllBefore());
    RunMutantGather(args, fault_);
    return absl::OkStatus();
  }

  absl::Status DoMergeStates(const MergeStatesArgs&) override {
    return absl::UnimplementedError("merge_states: not built yet on mutants");
  }

  absl::Status DoCorrectAttnOut(const CorrectAttnOutArgs&) override {
    return absl::UnimplementedError("correct_attn_out: not built yet on mutants");
  }

  absl::Status DoQuantizeFp8(const QuantizeFp8Args&) override {
    return absl::UnimplementedError("quantize_fp8: not built yet on mutants");
  }

 private:
  // What follows works on host memory at once.
  absl::Status RunAllBefore() {
    RETURN_IF_ERROR(queue_->Submit());
    return queue_->Wait(absl::InfiniteFuture());
  }

  std::shared_ptr<Backend> reference_;
  std::unique_ptr<Queue> queue_;
  Fault fault_;
  std::set<uint64_t> written_;
};

class MutantBackend : public Backend {
 public:
  MutantBackend(std::shared_ptr<Backend> reference, Fault fault)
      : Backend(reference->info()), reference_(std::move(reference)), fault_(fault) {}

  absl::Status Supports(const AttentionSpec& spec, const KvCacheLayout& layout) const override {
    return reference_->Supports(spec, layout);
  }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override {
    return reference_->Allocate(bytes);
  }
  absl::StatusOr<std::unique_ptr<Queue>> CreateQueue() override {
    ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, reference_->CreateQueue());
    return std::make_unique<MutantQueue>(reference_, std::move(queue), fault_);
  }
  absl::StatusOr<std::shared_ptr<const PreparedAttention>> Prepare(
      const AttentionSpec& spec, const KvCacheLayout& layout) override {
    return reference_->Prepare(spec, layout);
  }

 private:
  std::shared_ptr<Backend> reference_;
  Fault fault_;
};

}  // namespace

std::shared_ptr<Backend> MakeMutant(std::shared_ptr<Backend> reference, Fault fault) {
  return std::make_shared<MutantBackend>(std::move(reference), fault);
}

}  // namespace weft::testing
