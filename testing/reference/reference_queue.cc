// SPDX-License-Identifier: Apache-2.0
#include "testing/reference/reference_queue.h"

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "testing/reference/host_memory.h"
#include "testing/reference/reference_attention.h"
#include "testing/reference/reference_operations.h"

namespace weft {
namespace {

class ReferenceQueue : public Queue {
 public:
  ReferenceQueue(std::shared_ptr<Backend> backend, Precision precision)
      : Queue(backend->device(), &backend->allocations()),
        backend_(std::move(backend)),
        precision_(precision),
        times_(kNumOpKinds) {}

  absl::Status Submit() override {
    // Taken first: what runs must not see a list that is being changed.
    std::vector<Operation> operations = std::move(operations_);
    operations_.clear();
    for (const Operation& operation : operations) {
      const absl::Time start = profiling_ ? absl::Now() : absl::Time();
      operation.run();
      if (!profiling_) continue;
      OpTime& time = times_[static_cast<size_t>(operation.kind)];
      ++time.calls;
      time.time += absl::Now() - start;
    }
    return absl::OkStatus();
  }

  absl::Status Wait(absl::Time) override { return absl::OkStatus(); }
  void SetProfiling(bool on) override { profiling_ = on; }

  std::vector<OpTime> TakeOpTimes() override {
    return std::exchange(times_, std::vector<OpTime>(kNumOpKinds));
  }

 protected:
  absl::Status DoCopyFromHost(uint64_t destination, absl::Span<const uint8_t> source) override {
    return Record(OpKind::kCopy,
                  [destination, data = std::vector<uint8_t>(source.begin(), source.end())] {
                    std::memcpy(HostPointer<uint8_t>(destination), data.data(), data.size());
                  });
  }

  absl::Status DoCopyToHost(absl::Span<uint8_t> destination, uint64_t source) override {
    return Record(OpKind::kCopy, [destination, source] {
      std::memcpy(destination.data(), HostPointer<uint8_t>(source), destination.size());
    });
  }

  absl::Status DoCopy(uint64_t destination, uint64_t source, int64_t bytes) override {
    return Record(OpKind::kCopy, [destination, source, bytes] {
      std::memcpy(HostPointer<uint8_t>(destination), HostPointer<uint8_t>(source),
                  static_cast<size_t>(bytes));
    });
  }

  absl::Status DoFill(uint64_t destination, int64_t bytes, uint32_t pattern) override {
    return Record(OpKind::kFill,
                  [destination, bytes, pattern] { RunFill(destination, bytes, pattern); });
  }

  absl::Status DoReshapeAndCache(const ReshapeAndCacheArgs& args) override {
    return Record(OpKind::kReshapeAndCache, [args] { RunReshapeAndCache(args); });
  }

  absl::Status DoAttention(const AttentionArgs& args) override {
    // The layer may be gone when Submit comes, so its numbers are taken now.
    return Record(OpKind::kAttention,
                  [precision = precision_, job = AttentionJob(args)] { job.Run(precision); });
  }

  absl::Status DoGatherRows(const GatherRowsArgs& args) override {
    return Record(OpKind::kGatherRows, [args] { RunGatherRows(args); });
  }

  absl::Status DoMergeStates(const MergeStatesArgs& args) override {
    return Record(OpKind::kMergeStates,
                  [precision = precision_, args] { RunMergeStates(args, precision); });
  }

  absl::Status DoCorrectAttnOut(const CorrectAttnOutArgs& args) override {
    return Record(OpKind::kCorrectAttnOut,
                  [precision = precision_, args] { RunCorrectAttnOut(args, precision); });
  }

  absl::Status DoQuantizeFp8(const QuantizeFp8Args& args) override {
    return Record(OpKind::kQuantizeFp8, [args] { RunQuantizeFp8(args); });
  }

 private:
  struct Operation {
    OpKind kind;
    std::function<void()> run;
  };

  absl::Status Record(OpKind kind, std::function<void()> run) {
    operations_.push_back({kind, std::move(run)});
    return absl::OkStatus();
  }

  std::shared_ptr<Backend> backend_;
  Precision precision_;
  bool profiling_ = false;
  std::vector<Operation> operations_;
  std::vector<OpTime> times_;
};

}  // namespace

std::unique_ptr<Queue> CreateReferenceQueue(std::shared_ptr<Backend> backend, Precision precision) {
  return std::make_unique<ReferenceQueue>(std::move(backend), precision);
}

}  // namespace weft
