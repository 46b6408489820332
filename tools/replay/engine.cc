// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/engine.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "collectives/in_process.h"
#include "core/attention_layer.h"
#include "core/dtype.h"
#include "core/status_macros.h"
#include "tools/replay/checker.h"
#include "tools/replay/dcp_rank.h"
#include "tools/replay/digest.h"
#include "tools/replay/pcp_rank.h"

namespace weft::replay {
namespace {

int64_t LongestRequest(const Workload& workload) {
  int64_t longest = 0;
  for (const ReplayRequest& request : workload.requests) {
    longest = std::max(longest, request.total_length());
  }
  return longest;
}

// Before anything is sized by it: a request of a billion tokens must not take the host's memory.
absl::Status CheckCachesFit(const EngineConfig& config, const KvCacheLayout& layout,
                            const DeviceInfo& device, const Workload& workload) {
  const double bytes = static_cast<double>(config.scheduler.num_blocks) *
                       static_cast<double>(layout.bytes_per_block()) *
                       static_cast<double>(config.num_layers * config.num_ranks());
  if (device.memory_bytes == 0 || bytes <= static_cast<double>(device.memory_bytes)) {
    return absl::OkStatus();
  }
  constexpr double kGibibyte = 1 << 30;
  return absl::OutOfRangeError(absl::StrFormat(
      "the longest request has %d tokens: caches of %d blocks for %d layers on %d ranks need %.1f "
      "GiB, and %s has %.1f; a smaller --scale, fewer --layers or ranks need less",
      LongestRequest(workload), config.scheduler.num_blocks, config.num_layers, config.num_ranks(),
      bytes / kGibibyte, ToString(device.id),
      static_cast<double>(device.memory_bytes) / kGibibyte));
}

int64_t AllTokens(const Workload& workload) {
  int64_t tokens = 0;
  for (const ReplayRequest& request : workload.requests) tokens += request.total_length();
  return tokens;
}

// The first error of a step: what the other ranks say then is only its echo.
class FirstError {
 public:
  void Set(int64_t rank, const absl::Status& status) {
    const absl::MutexLock lock(&mutex_);
    if (!first_.ok()) return;
    first_ = absl::Status(status.code(), absl::StrCat("rank ", rank, ": ", status.message()));
  }
  absl::Status Get() {
    const absl::MutexLock lock(&mutex_);
    return first_;
  }

 private:
  absl::Mutex mutex_;
  absl::Status first_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

Engine::Engine(const EngineConfig& config, const Workload& workload, Scheduler scheduler)
    : config_(config), workload_(&workload), scheduler_(std::move(scheduler)) {}

Engine::~Engine() = default;

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineConfig& config,
                                                       std::shared_ptr<Backend> backend,
                                                       const Workload& workload) {
  if (config.world_size > 1 && config.dcp > 1) {
    return absl::InvalidArgumentError(absl::StrCat("PCP of ", config.world_size, " and DCP of ",
                                                   config.dcp, ": together they are not built"));
  }
  if (config.scheduler.block_size % config.dcp != 0) {
    return absl::InvalidArgumentError(absl::StrCat("blocks of ", config.scheduler.block_size,
                                                   " tokens on ", config.dcp, " DCP ranks"));
  }
  const std::vector<AttentionSpec> kinds = config.preset.Kinds();
  ASSIGN_OR_RETURN(const KvCacheLayout layout,
                   KvCacheLayout::Nhd(kinds[0].kv_dtype, config.scheduler.block_size / config.dcp,
                                      kinds[0].num_kv_heads, kinds[0].head_size));
  RETURN_IF_ERROR(CheckCachesFit(config, layout, backend->info(), workload));
  ASSIGN_OR_RETURN(Scheduler scheduler, Scheduler::Create(workload, config.scheduler));
  auto engine = std::unique_ptr<Engine>(new Engine(config, workload, std::move(scheduler)));
  engine->content_ = std::make_unique<Content>(workload, kinds[0], config.scheduler.block_size,
                                               config.num_layers, config.seed);
  engine->checker_ = std::make_unique<Checker>(*engine->content_, kinds, config.num_layers,
                                               config.dcp, config.seed, config.run);
  engine->builder_ =
      std::make_unique<AttentionMetadataBuilder>(layout, config.scheduler.num_blocks);
  RETURN_IF_ERROR(engine->CreateRanks(backend, layout));
  return engine;
}

absl::Status Engine::CreateRanks(const std::shared_ptr<Backend>& backend,
                                 const KvCacheLayout& layout) {
  const std::vector<AttentionSpec> kinds = config_.preset.Kinds();
  std::vector<AttentionLayer> layers;
  for (size_t kind = 0; kind < kinds.size() && config_.dcp == 1; ++kind) {
    ASSIGN_OR_RETURN(AttentionLayer layer, AttentionLayer::Create(backend, kinds[kind], layout));
    layers.push_back(std::move(layer));
  }
  if (config_.num_ranks() > 1) communicators_ = CreateInProcessGroup(config_.num_ranks());
  RankConfig config;
  config.world_size = config_.num_ranks();
  config.num_layers = config_.num_layers;
  config.num_blocks = config_.scheduler.num_blocks;
  config.max_tokens = config_.scheduler.token_budget;
  config.max_requests = std::min(config_.scheduler.max_running, config_.scheduler.token_budget);
  config.max_seq_len = LongestRequest(*workload_);
  config.max_allocation_bytes = config_.max_allocation_bytes;
  config.timeout = config_.timeout;
  for (config.rank = 0; config.rank < config.world_size; ++config.rank) {
    Communicator* communicator =
        communicators_.empty() ? nullptr : communicators_[config.rank].get();
    std::unique_ptr<Rank> rank;
    if (config_.dcp > 1) {
      // Kinds are windows, and DcpLayers::For refuses them.
      ASSIGN_OR_RETURN(rank, DcpRank::Create(config, backend, kinds[0], layout.block_size(),
                                             *content_, communicator));
    } else {
      ASSIGN_OR_RETURN(rank, PcpRank::Create(config, backend, layers, *content_, communicator));
    }
    ranks_.push_back(std::move(rank));
  }
  return absl::OkStatus();
}

absl::StatusOr<StepWork> Engine::Prepare(Step step) const {
  StepWork work;
  work.step = std::move(step);
  for (const StepEntry& entry : work.step.entries) {
    Request request;
    request.kind = entry.kind;
    request.num_new_tokens = entry.num_new_tokens;
    request.num_computed_tokens = entry.num_computed_tokens;
    request.block_ids = entry.blocks;
    work.batch.requests.push_back(request);
  }
  MetadataOptions options;
  options.dcp.world = config_.dcp;
  ASSIGN_OR_RETURN(work.metadata, builder_->Build(work.batch, options));
  if (config_.world_size > 1) {
    ASSIGN_OR_RETURN(work.partition,
                     PcpPartition::Build(ShapesOf(work.metadata), config_.world_size));
  }
  if (work.step.index % config_.check_every == 0) work.samples = checker_->Choose(work);
  return work;
}

// One thread for each rank and step: what a rank does in a step is far more than starting it.
absl::StatusOr<std::vector<RankStep>> Engine::RunRanks(const StepWork& work) {
  std::vector<RankStep> results(ranks_.size());
  FirstError error;
  const auto run = [&](size_t rank) {
    const bool reader = ReaderRank(work) == static_cast<int64_t>(rank);
    absl::StatusOr<RankStep> result = ranks_[rank]->Run(work, reader);
    if (result.ok()) {
      results[rank] = *std::move(result);
      return;
    }
    error.Set(static_cast<int64_t>(rank), result.status());
    if (!communicators_.empty()) communicators_[rank]->Abort(result.status());
  };
  std::vector<std::thread> threads;
  for (size_t rank = 1; rank < ranks_.size(); ++rank) threads.emplace_back(run, rank);
  run(0);
  for (std::thread& thread : threads) thread.join();
  RETURN_IF_ERROR(error.Get());
  return results;
}

void Engine::Digest(const StepWork& work, absl::Span<const uint8_t> rows,
                    OutputDigest& digest) const {
  const int64_t row_bytes =
      config_.preset.num_heads * config_.preset.head_size * SizeOf(config_.preset.dtype);
  int64_t row = 0;
  for (const StepEntry& entry : work.step.entries) {
    digest.Add(entry.request, rows.subspan(row * row_bytes, entry.num_new_tokens * row_bytes));
    row += entry.num_new_tokens;
  }
}

void Engine::Judge(const StepWork& work, absl::Span<RankStep> results, RunStats& stats) const {
  std::vector<SampleAnswer> answers(work.samples.size());
  for (size_t i = 0; i < answers.size(); ++i) {
    answers[i] = std::move(results[work.samples[i].rank].answers[i]);
  }
  stats.mismatches = checker_->Judge(work, answers, Reader(work, results).restored);
  ++stats.checked_steps;
  stats.checked_pairs += static_cast<int64_t>(work.samples.size());
}

absl::StatusOr<RunStats> Engine::Run(const ProgressCallback& progress,
                                     const StepObserver& observer) {
  RunStats stats;
  OutputDigest digest(static_cast<int64_t>(workload_->requests.size()));
  const int64_t tokens_total = AllTokens(*workload_);
  double used = 0;
  const absl::Time start = absl::Now();
  while (scheduler_.HasNext() && stats.mismatches.empty()) {
    const ScheduleTotals& done = scheduler_.totals();
    if (progress) {
      progress(done.prefill_tokens + done.decode_tokens + done.reused_tokens, tokens_total);
    }
    StepTimes times;
    times.start = absl::Now();
    ASSIGN_OR_RETURN(const StepWork work, Prepare(scheduler_.Next()));
    times.prepared = absl::Now();
    ASSIGN_OR_RETURN(std::vector<RankStep> results, RunRanks(work));
    times.ran = absl::Now();
    Digest(work, Reader(work, results).restored, digest);
    times.end = times.judged = absl::Now();
    stats.step_seconds.push_back(absl::ToDoubleSeconds(times.end - times.start));
    const BlockCounts& blocks = work.step.blocks;
    const double use = static_cast<double>(blocks.used) / static_cast<double>(blocks.total);
    used += use;
    stats.peak_block_use = std::max(stats.peak_block_use, use);
    if (!work.samples.empty()) {
      Judge(work, absl::MakeSpan(results), stats);
      times.judged = absl::Now();
      stats.oracle_time += times.judged - times.end;
    }
    if (observer) observer(work, results, times);
  }
  stats.wall = absl::Now() - start;
  stats.schedule = scheduler_.totals();
  stats.mean_block_use = used / static_cast<double>(stats.step_seconds.size());
  stats.output_digest = digest.ToString();
  for (const auto& communicator : communicators_) {
    stats.bytes_communicated += communicator->bytes_received();
  }
  for (const auto& rank : ranks_) stats.ranks.push_back(rank->totals());
  return stats;
}

}  // namespace weft::replay
