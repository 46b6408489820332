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

namespace weft {
namespace {

void RunFill(uint64_t destination, int64_t bytes, uint32_t pattern) {
  auto* words = HostPointer<uint32_t>(destination);
  for (int64_t i = 0; i < bytes / 4; ++i) words[i] = pattern;
}

// Copies the heads of one token's row; the dimensions of a head are adjacent in both.
void StoreToken(const TensorView& rows, int64_t row, uint64_t base, const KvStrides& strides,
                int64_t block, int64_t offset) {
  const int64_t size = SizeOf(rows.dtype());
  const int64_t target = block * strides.block + offset * strides.token;
  for (int64_t head = 0; head < rows.extent(1); ++head) {
    std::memcpy(
        HostPointer<uint8_t>(base, (target + head * strides.head) * size),
        HostPointer<uint8_t>(rows.address(), (row * rows.stride(0) + head * rows.stride(1)) * size),
        static_cast<size_t>(rows.extent(2) * size));
  }
}

void RunReshapeAndCache(const ReshapeAndCacheArgs& args) {
  const KvCacheView& cache = args.cache;
  const KvCacheLayout& layout = cache.layout();
  for (int64_t row = 0; row < args.slots.extent(0); ++row) {
    const int64_t slot =
        *HostPointer<int64_t>(args.slots.address(), row * args.slots.stride(0) * 8);
    // -1 says "do not write"; anything else outside the cache must not be written either.
    if (slot < 0 || slot >= cache.num_slots()) continue;
    const int64_t block = slot / layout.block_size();
    const int64_t offset = slot % layout.block_size();
    const KvSegment& segment = cache.segments()[block / cache.blocks_per_segment()];
    const int64_t block_in_segment = block % cache.blocks_per_segment();
    StoreToken(args.key, row, segment.key_base, layout.key_strides(), block_in_segment, offset);
    StoreToken(args.value, row, segment.value_base, layout.value_strides(), block_in_segment,
               offset);
  }
}

// One element of `dtype` with the value `fill`.
std::vector<uint8_t> FillElement(DType dtype, float fill) {
  std::vector<uint8_t> element(static_cast<size_t>(SizeOf(dtype)));
  if (IsFloat(dtype)) {
    StoreFloat(dtype, element.data(), 0, fill);
  } else if (dtype == DType::kI32) {
    const auto value = static_cast<int32_t>(fill);
    std::memcpy(element.data(), &value, sizeof(value));
  } else {
    const auto value = static_cast<int64_t>(fill);
    std::memcpy(element.data(), &value, sizeof(value));
  }
  return element;
}

void RunGatherRows(const GatherRowsArgs& args) {
  const int64_t size = SizeOf(args.source.dtype());
  const std::vector<uint8_t> fill = FillElement(args.source.dtype(), args.fill);
  int64_t row_elements = 1;
  for (int axis = 1; axis < args.destination.rank(); ++axis) {
    row_elements *= args.destination.extent(axis);
  }
  for (int64_t i = 0; i < args.index.extent(0); ++i) {
    const int64_t from = *HostPointer<int64_t>(args.index.address(), i * args.index.stride(0) * 8);
    auto* target =
        HostPointer<uint8_t>(args.destination.address(), i * args.destination.stride(0) * size);
    if (from >= 0 && from < args.source.extent(0)) {
      std::memcpy(target,
                  HostPointer<uint8_t>(args.source.address(), from * args.source.stride(0) * size),
                  static_cast<size_t>(row_elements * size));
      continue;
    }
    for (int64_t e = 0; e < row_elements; ++e) {
      std::memcpy(target + e * size, fill.data(), fill.size());
    }
  }
}

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

  absl::Status DoMergeStates(const MergeStatesArgs&) override {
    return absl::UnimplementedError("merge_states: not built yet on reference");
  }

  absl::Status DoCorrectAttnOut(const CorrectAttnOutArgs&) override {
    return absl::UnimplementedError("correct_attn_out: not built yet on reference");
  }

  absl::Status DoQuantizeFp8(const QuantizeFp8Args&) override {
    return absl::UnimplementedError("quantize_fp8: not built yet on reference");
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
