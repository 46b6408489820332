// SPDX-License-Identifier: Apache-2.0
//
// The host's work of a step: metadata, plan, and the recording of one Forward. No device: the
// reference backend records, and what is recorded never runs.
//
//   ./bazelw run -c opt //tools/bench:host_benchmark
#include <memory>
#include <numeric>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "benchmark/benchmark.h"
#include "core/attention_layer.h"
#include "core/attention_metadata.h"
#include "core/checked_math.h"
#include "core/registry.h"
#include "core/status_macros.h"
#include "testing/reference/reference_backend.h"
#include "tools/bench/attention_workload.h"
#include "tools/bench/session.h"

namespace weft::bench {
namespace {

constexpr int64_t kBlock = 16;

bool Ok(benchmark::State& state, const absl::Status& status) {
  if (!status.ok()) state.SkipWithError(status.ToString().c_str());
  return status.ok();
}

std::shared_ptr<Backend> Reference() {
  Registry registry;
  RegisterReferenceBackend(registry).IgnoreError();
  return registry.Create("reference:0").value();
}

// `requests` requests of `context` + `new_tokens` tokens.
struct Batch {
  Batch(int64_t requests, int64_t new_tokens, int64_t context) {
    const int64_t each = CeilDiv(context + new_tokens, kBlock);
    ids.resize(static_cast<size_t>(each * requests));
    std::iota(ids.begin(), ids.end(), 0);
    for (int64_t i = 0; i < requests; ++i) {
      Request request;
      request.kind = new_tokens == 1 ? RequestKind::kDecode : RequestKind::kPrefill;
      request.num_new_tokens = new_tokens;
      request.num_computed_tokens = context;
      request.block_ids = absl::MakeConstSpan(ids).subspan(static_cast<size_t>(i * each),
                                                           static_cast<size_t>(each));
      batch.requests.push_back(request);
    }
  }
  std::vector<int32_t> ids;
  RequestBatch batch;
};

AttentionSpec Spec() {
  AttentionSpec spec;
  spec.num_heads = 32;
  spec.num_kv_heads = 8;
  spec.head_size = 128;
  spec.dtype = spec.kv_dtype = DType::kBF16;
  return spec;
}

const KvCacheLayout& Layout() {
  static const KvCacheLayout layout = *KvCacheLayout::Nhd(DType::kBF16, kBlock, 8, 128);
  return layout;
}

void BM_Metadata(benchmark::State& state) {
  const Batch batch(state.range(0), state.range(1), state.range(2));
  const AttentionMetadataBuilder builder(Layout(), static_cast<int64_t>(batch.ids.size()));
  for (auto _ : state) {
    const auto metadata = builder.Build(batch.batch);
    if (!Ok(state, metadata.status())) return;
    benchmark::DoNotOptimize(metadata->num_requests());
  }
}

void BM_Plan(benchmark::State& state) {
  const Batch batch(state.range(0), state.range(1), state.range(2));
  const AttentionMetadataBuilder builder(Layout(), static_cast<int64_t>(batch.ids.size()));
  const auto metadata = builder.Build(batch.batch);
  if (!Ok(state, metadata.status())) return;
  const auto layer = AttentionLayer::Create(Reference(), Spec(), Layout());
  if (!Ok(state, layer.status())) return;
  for (auto _ : state) {
    const auto plan = layer->MakePlan(*metadata);
    if (!Ok(state, plan.status())) return;
    benchmark::DoNotOptimize((*plan)->num_rows());
  }
}

void Shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"requests", "new", "context"})->Unit(benchmark::kMicrosecond);
  b->Args({1, 1, 8191})->Args({64, 1, 8191})->Args({256, 1, 2047})->Args({1, 1, 131071});
  b->Args({1, 8192, 0})->Args({8, 2048, 0});
}
BENCHMARK(BM_Metadata)->Apply(Shapes);
BENCHMARK(BM_Plan)->Apply(Shapes);

// Recording only; a new queue now and then, as nothing is submitted.
void BM_Forward(benchmark::State& state) {
  constexpr int64_t kLayers = 32;
  Preset preset = *FindPreset("tiny");
  const auto session = Session::Create(Reference(), preset);
  if (!Ok(state, session.status())) return;
  const auto workload = AttentionWorkload::Create(**session, preset.cases.back());
  if (!Ok(state, workload.status())) return;
  for (auto _ : state) {
    state.PauseTiming();
    auto queue = (*session)->backend().CreateQueue();
    state.ResumeTiming();
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      if (!Ok(state, (*workload)->Forward(**queue, 0))) return;
    }
    state.PauseTiming();
    queue->reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * kLayers);
}
BENCHMARK(BM_Forward)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace weft::bench

BENCHMARK_MAIN();
