// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/mutant_backend.h"

#include <set>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "core/status_macros.h"

namespace weft::testing {
namespace {

class MutantBuffer : public Buffer {
 public:
  MutantBuffer(std::unique_ptr<Buffer> buffer, std::shared_ptr<Backend> backend, AddressMap* map)
      : Buffer(buffer->address(), buffer->size_bytes(), buffer->device()),
        buffer_(std::move(buffer)),
        backend_(std::move(backend)),
        map_(map) {
    map_->Add({address(), size_bytes(), nullptr}).IgnoreError();
  }
  ~MutantBuffer() override { map_->Remove(address()).IgnoreError(); }

 private:
  std::unique_ptr<Buffer> buffer_;
  std::shared_ptr<Backend> backend_;
  AddressMap* map_;
};

class MutantQueue : public Queue {
 public:
  MutantQueue(std::shared_ptr<Backend> backend, std::unique_ptr<Queue> queue, Fault fault)
      : Queue(backend->device(), &backend->allocations()),
        backend_(std::move(backend)),
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

  absl::Status DoMergeStates(const MergeStatesArgs& args) override {
    RETURN_IF_ERROR(RunAllBefore());
    RunMutantMerge(args, fault_);
    return absl::OkStatus();
  }
  absl::Status DoCorrectAttnOut(const CorrectAttnOutArgs& args) override {
    RETURN_IF_ERROR(RunAllBefore());
    RunMutantCorrect(args, fault_);
    return absl::OkStatus();
  }
  absl::Status DoQuantizeFp8(const QuantizeFp8Args& args) override {
    RETURN_IF_ERROR(RunAllBefore());
    RunMutantQuantize(args, fault_);
    return absl::OkStatus();
  }

 private:
  // What follows works on host memory at once.
  absl::Status RunAllBefore() {
    RETURN_IF_ERROR(queue_->Submit());
    return queue_->Wait(absl::InfiniteFuture());
  }

  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
  Fault fault_;
  std::set<uint64_t> written_;
};

class MutantPrepared : public PreparedAttention {
 public:
  MutantPrepared(const PreparedAttention& reference, const AddressMap* allocations)
      : PreparedAttention(reference.spec(), reference.layout(), reference.device(),
                          reference.plan_config(), allocations) {}
  std::string Explain() const override { return "mutant"; }
};

// Memory is the reference backend's, but in the mutant's own map too: ImportRange adds to that.
class MutantBackend : public Backend {
 public:
  MutantBackend(std::shared_ptr<Backend> reference, Fault fault)
      : Backend(reference->info()), reference_(std::move(reference)), fault_(fault) {}

  absl::Status Supports(const AttentionSpec& spec, const KvCacheLayout& layout) const override {
    return reference_->Supports(spec, layout);
  }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override {
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, reference_->Allocate(bytes));
    return std::make_unique<MutantBuffer>(std::move(buffer), shared_from_this(),
                                          &mutable_allocations());
  }
  absl::StatusOr<std::unique_ptr<Queue>> CreateQueue() override {
    ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, reference_->CreateQueue());
    return std::make_unique<MutantQueue>(shared_from_this(), std::move(queue), fault_);
  }
  absl::StatusOr<std::shared_ptr<const PreparedAttention>> Prepare(
      const AttentionSpec& spec, const KvCacheLayout& layout) override {
    ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedAttention> prepared,
                     reference_->Prepare(spec, layout));
    return std::make_shared<const MutantPrepared>(*prepared, &allocations());
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
