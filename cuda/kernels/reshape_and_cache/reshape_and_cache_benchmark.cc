// SPDX-License-Identifier: Apache-2.0
//
// ReshapeAndCache through the queue, device time by events, beside the copy that is its ceiling.
// Bytes are what must move: every row read once and written once, 8 bytes of slots for each token.
// Rows come in turn from a pool larger than any L2 cache, and go to random slots.
//
//   reshape_and_cache_benchmark [--benchmark_repetitions=3]
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "core/backend.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/kv_cache.h"
#include "core/queue.h"
#include "core/status_macros.h"
#include "core/tensor_view.h"
#include "cuda/test_device.h"

namespace weft::cuda {
namespace {

constexpr int64_t kPoolBytes = int64_t{1} << 30;  // of rows, and as much again of cache
constexpr int64_t kBlockSize = 16;

class Bench {
 public:
  static absl::StatusOr<std::unique_ptr<Bench>> Create() {
    auto bench = std::make_unique<Bench>();
    ASSIGN_OR_RETURN(bench->backend, TestDevice());
    ASSIGN_OR_RETURN(bench->queue, bench->backend->CreateQueue());
    ASSIGN_OR_RETURN(bench->rows, bench->backend->Allocate(kPoolBytes));
    ASSIGN_OR_RETURN(bench->cache, bench->backend->Allocate(kPoolBytes));
    std::mt19937_64 random(1);
    std::vector<uint64_t> noise((64 << 20) / 8);
    std::generate(noise.begin(), noise.end(), std::ref(random));
    for (int64_t at = 0; at < kPoolBytes; at += 64 << 20) {
      RETURN_IF_ERROR(bench->queue->CopyFromHost(
          bench->rows->address() + at, {reinterpret_cast<const uint8_t*>(noise.data()), 64 << 20}));
      RETURN_IF_ERROR(bench->Finish());
    }
    bench->queue->SetProfiling(true);
    return bench;
  }

  absl::Status Finish() {
    RETURN_IF_ERROR(queue->Submit());
    return queue->Wait(absl::Now() + absl::Seconds(60));
  }

  // Seconds on the device of what was recorded.
  absl::StatusOr<double> Time(OpKind kind) {
    RETURN_IF_ERROR(Finish());
    return absl::ToDoubleSeconds(queue->TakeOpTimes()[static_cast<size_t>(kind)].time);
  }

  std::shared_ptr<Backend> backend;
  std::unique_ptr<Buffer> rows;
  std::unique_ptr<Buffer> cache;
  std::unique_ptr<Queue> queue;
};

// One for all cases; gone before the runtime is.
absl::StatusOr<std::unique_ptr<Bench>>& SharedBench() {
  static absl::StatusOr<std::unique_ptr<Bench>> bench = Bench::Create();
  return bench;
}

bool Ok(benchmark::State& state, const absl::Status& status) {
  if (!status.ok()) state.SkipWithError(status.ToString().c_str());
  return status.ok();
}

void BM_Copy(benchmark::State& state) {
  if (!Ok(state, SharedBench().status())) return;
  Bench& bench = **SharedBench();
  for (auto _ : state) {
    if (!Ok(state, bench.queue->Copy(bench.cache->address(), bench.rows->address(), kPoolBytes))) {
      return;
    }
    const absl::StatusOr<double> seconds = bench.Time(OpKind::kCopy);
    if (!Ok(state, seconds.status())) return;
    state.SetIterationTime(*seconds);
  }
  state.SetBytesProcessed(state.iterations() * 2 * kPoolBytes);
}
BENCHMARK(BM_Copy)->UseManualTime()->MinTime(0.2);

// The arguments of step `step`, with rows and slots of its own.
absl::StatusOr<ReshapeAndCacheArgs> StepArgs(const Bench& bench, const KvCacheView& cache,
                                             const Buffer& slots, int64_t tokens, int64_t step) {
  const KvCacheLayout& layout = cache.layout();
  const int64_t extents[] = {tokens, layout.num_kv_heads(), layout.head_size()};
  const int64_t bytes = tokens * layout.bytes_per_block() / layout.block_size() / 2;
  const uint64_t key = bench.rows->address() + step * 2 * bytes;
  const DeviceId device = bench.backend->device();
  ReshapeAndCacheArgs args;
  args.cache = cache;
  ASSIGN_OR_RETURN(args.key, TensorView::Contiguous(key, layout.dtype(), extents, device));
  ASSIGN_OR_RETURN(args.value,
                   TensorView::Contiguous(key + bytes, layout.dtype(), extents, device));
  ASSIGN_OR_RETURN(args.slots, TensorView::Contiguous(slots.address() + step * tokens * 8,
                                                      DType::kI64, {tokens}, device));
  return args;
}

absl::Status RunReshape(benchmark::State& state, Bench& bench, DType dtype) {
  const int64_t tokens = state.range(0);
  ASSIGN_OR_RETURN(const KvCacheLayout layout,
                   KvCacheLayout::Nhd(dtype, kBlockSize, state.range(1), state.range(2)));
  const int64_t num_blocks = kPoolBytes / layout.bytes_per_block();
  ASSIGN_OR_RETURN(const KvCacheView cache,
                   KvCacheView::OneAllocation(layout, bench.cache->address(), num_blocks,
                                              bench.backend->device()));
  std::vector<int64_t> slots(static_cast<size_t>(num_blocks * kBlockSize));
  std::iota(slots.begin(), slots.end(), int64_t{0});
  std::shuffle(slots.begin(), slots.end(), std::mt19937(2));
  const auto steps = static_cast<int64_t>(slots.size()) / tokens;
  ASSIGN_OR_RETURN(const std::unique_ptr<Buffer> device_slots,
                   bench.backend->Allocate(static_cast<int64_t>(slots.size()) * 8));
  RETURN_IF_ERROR(bench.queue->CopyFromHost(
      device_slots->address(), {reinterpret_cast<const uint8_t*>(slots.data()), slots.size() * 8}));
  RETURN_IF_ERROR(bench.Finish());

  const int64_t row_bytes = layout.bytes_per_block() / kBlockSize;  // key and value
  int64_t step = 0;
  for (auto _ : state) {
    ASSIGN_OR_RETURN(ReshapeAndCacheArgs args, StepArgs(bench, cache, *device_slots, tokens, step));
    RETURN_IF_ERROR(bench.queue->ReshapeAndCache(args));
    ASSIGN_OR_RETURN(const double seconds, bench.Time(OpKind::kReshapeAndCache));
    state.SetIterationTime(seconds);
    step = (step + 1) % steps;
  }
  state.SetBytesProcessed(state.iterations() * tokens * (2 * row_bytes + 8));
  return absl::OkStatus();
}

void BM_ReshapeAndCache(benchmark::State& state, DType dtype) {
  if (!Ok(state, SharedBench().status())) return;
  Ok(state, RunReshape(state, **SharedBench(), dtype));
}

void Shapes(benchmark::internal::Benchmark* b) {
  b->UseManualTime()->MinTime(0.2)->ArgNames({"tokens", "heads", "head_size"});
  for (int64_t tokens : {64, 1024, 8192, 65536}) b->Args({tokens, 8, 128});
  b->Args({65536, 1, 128})->Args({65536, 8, 80})->Args({65536, 8, 46})->Args({65536, 8, 65});
}
BENCHMARK_CAPTURE(BM_ReshapeAndCache, bf16, DType::kBF16)->Apply(Shapes);
BENCHMARK_CAPTURE(BM_ReshapeAndCache, f32, DType::kF32)
    ->UseManualTime()
    ->MinTime(0.2)
    ->ArgNames({"tokens", "heads", "head_size"})
    ->Args({65536, 8, 128});

}  // namespace
}  // namespace weft::cuda

BENCHMARK_MAIN();
