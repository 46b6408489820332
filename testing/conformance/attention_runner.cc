// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/attention_runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention_layer.h"
#include "core/status_macros.h"
#include "core/step_buffers.h"
#include "testing/conformance/attention_data.h"
#include "testing/conformance/cache_image.h"
#include "testing/conformance/case_batch.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

using Plans = std::vector<std::shared_ptr<const Plan>>;

// Step buffers for exactly these plans, with poison in the workspace, and the first plan in them.
absl::StatusOr<std::unique_ptr<StepBuffers>> MakeStep(Backend& backend, Queue& queue,
                                                      const Plans& plans) {
  StepLimits limits;
  const auto raise = [](int64_t& limit, int64_t need) { limit = std::max(limit, need); };
  const auto count = [](const auto& values) { return static_cast<int64_t>(values.size()); };
  for (const std::shared_ptr<const Plan>& plan : plans) {
    raise(limits.max_slots, count(plan->slots()));
    raise(limits.max_blocks, count(plan->blocks()));
    raise(limits.max_tiles, count(plan->tiles()));
    raise(limits.max_decode_rows, count(plan->decode_rows()));
    raise(limits.max_decode_splits, count(plan->decode_splits()));
    raise(limits.workspace_bytes, plan->workspace_bytes());
  }
  ASSIGN_OR_RETURN(std::unique_ptr<StepBuffers> step,
                   StepBuffers::Create(backend.shared_from_this(), limits));
  RETURN_IF_ERROR(step->Update(queue, plans.front()));
  const int64_t workspace = plans.front()->workspace_bytes();
  if (workspace > 0) {
    RETURN_IF_ERROR(queue.Fill(step->tables().workspace.address(), workspace, kPoison));
  }
  return step;
}

// The layers of a case: over the cache, and over the new tokens as they are given.
struct Layers {
  std::optional<AttentionLayer> paged, fresh;
};

absl::StatusOr<Layers> MakeLayers(Backend& backend, const AttentionCase& c, const CaseBatch& batch,
                                  const RankIo& io) {
  Layers layers;
  AttentionSpec spec = c.Spec();
  if (c.keys == KeyMode::kSplit) {  // states to be merged, whatever comes out at the end
    spec.out_dtype = DType::kF32;
    spec.out_scale = 1.0f;
  }
  if (c.keys != KeyMode::kNew) {
    ASSIGN_OR_RETURN(layers.paged,
                     AttentionLayer::Create(backend.shared_from_this(), spec, batch.layout()));
  }
  if (c.keys != KeyMode::kNew && c.keys != KeyMode::kSplit) return layers;
  spec.kv_dtype = c.key_dtype();
  if (!IsFp8(spec.kv_dtype)) {
    spec.k_scales.clear();
    spec.v_scales.clear();
  }
  ASSIGN_OR_RETURN(const KvCacheLayout rows,
                   KvCacheLayout::Rows(spec.kv_dtype, c.kv_heads, c.head_size, io.key.stride(0),
                                       io.key.stride(1), io.value.stride(0), io.value.stride(1)));
  ASSIGN_OR_RETURN(layers.fresh, AttentionLayer::Create(backend.shared_from_this(), spec, rows));
  return layers;
}

// Everything that one rank has on the device.
struct RankRun {
  RankIo io;
  RankIo states[2];  // of KeyMode::kSplit: context, new
  AttentionIo views;
  std::unique_ptr<StepBuffers> steps[2];
};

class Runner {
 public:
  Runner(Backend& backend, const AttentionCase& c) : backend_(backend), case_(c) {}

  absl::StatusOr<AttentionOutput> Run();

  // The parts of Run, in their order. Blocks are those of requests as long as in `lengths`.
  absl::Status Prepare(const AttentionCase& lengths);
  absl::Status Upload(RankRun& run, Queue& queue, const KvCacheView& cache) const;
  absl::Status Fetch(RankIo& io, Queue& queue) const;
  absl::Status Collect(const std::vector<RankRow>& rows, int64_t rank, const RankIo& io);
  void ResetOutput();

  const CaseBatch& batch() const { return *batch_; }
  const AttentionOutput& output() const { return output_; }

 private:
  absl::Status RunRank(int64_t rank);
  absl::Status RecordOne(RankRun& run, Queue& queue, const Layers& layers,
                         const PlanOptions& options) const;
  absl::Status RecordSplit(RankRun& run, Queue& queue, const Layers& layers, PlanOptions options,
                           int64_t rows) const;
  absl::StatusOr<KvCacheView> FreshCache(const AttentionLayer& layer,
                                         const AttentionIo& views) const;
  absl::Status CheckStates(RankRun& run, Queue& queue, int64_t rank, int64_t rows) const;
  absl::Status CheckPadding(int64_t row, int64_t rank, const RankIo& io) const;

  template <typename... T>
  absl::Status Broken(const T&... text) const {
    return absl::FailedPreconditionError(absl::StrCat(text..., "\n  case: ", case_.ToString()));
  }

  Backend& backend_;
  const AttentionCase& case_;
  std::optional<CaseBatch> batch_;
  AttentionOutput output_;
  std::vector<bool> have_row_;
};

absl::Status Runner::Upload(RankRun& run, Queue& queue, const KvCacheView& cache) const {
  RankIo& io = run.io;
  AttentionIo& views = run.views;
  ASSIGN_OR_RETURN(views.query, io.query.ToDevice(backend_, queue));
  if (case_.keys != KeyMode::kShared) {
    ASSIGN_OR_RETURN(views.key, io.key.ToDevice(backend_, queue));
    ASSIGN_OR_RETURN(views.value, io.value.ToDevice(backend_, queue));
  }
  ASSIGN_OR_RETURN(views.out, io.out.ToDevice(backend_, queue));
  if (case_.lse != LseKind::kNone) {
    ASSIGN_OR_RETURN(views.lse, io.lse.ToDevice(backend_, queue));
  }
  views.cache = cache;
  return absl::OkStatus();
}

absl::Status Runner::Fetch(RankIo& io, Queue& queue) const {
  RETURN_IF_ERROR(io.out.FromDevice(queue));
  return case_.lse == LseKind::kNone ? absl::OkStatus() : io.lse.FromDevice(queue);
}

// The new tokens' rows as a cache of one-token blocks.
absl::StatusOr<KvCacheView> Runner::FreshCache(const AttentionLayer& layer,
                                               const AttentionIo& views) const {
  if (views.key.extent(0) == 0) return KvCacheView();
  const KvSegment segment = {views.key.address(), views.value.address(), views.key.extent(0)};
  return KvCacheView::Create(layer.layout(), backend_.device(), absl::MakeConstSpan(&segment, 1));
}

absl::Status Runner::RecordOne(RankRun& run, Queue& queue, const Layers& layers,
                               const PlanOptions& options) const {
  const bool fresh = options.keys == KeyScope::kNew;
  const AttentionLayer& layer = fresh ? *layers.fresh : *layers.paged;
  ASSIGN_OR_RETURN(const std::shared_ptr<const Plan> plan,
                   layer.MakePlan(batch_->metadata(), options));
  ASSIGN_OR_RETURN(run.steps[0], MakeStep(backend_, queue, {plan}));
  AttentionIo views = run.views;
  if (fresh) {
    ASSIGN_OR_RETURN(views.cache, FreshCache(layer, views));
  }
  return layer.Forward(queue, *run.steps[0], views);
}

absl::Status Runner::RecordSplit(RankRun& run, Queue& queue, const Layers& layers,
                                 PlanOptions options, int64_t rows) const {
  MergeStatesArgs merge;
  for (int i = 0; i < 2; ++i) {
    const AttentionLayer& layer = i == 0 ? *layers.paged : *layers.fresh;
    options.keys = i == 0 ? KeyScope::kContext : KeyScope::kNew;
    ASSIGN_OR_RETURN(const std::shared_ptr<const Plan> plan,
                     layer.MakePlan(batch_->metadata(), options));
    ASSIGN_OR_RETURN(run.steps[i], MakeStep(backend_, queue, {plan}));
    run.states[i] = batch_->MakeState(rows);
    AttentionIo views = run.views;
    ASSIGN_OR_RETURN(views.out, run.states[i].out.ToDevice(backend_, queue));
    ASSIGN_OR_RETURN(views.lse, run.states[i].lse.ToDevice(backend_, queue));
    if (i == 1) {
      ASSIGN_OR_RETURN(views.cache, FreshCache(layer, views));
    }
    RETURN_IF_ERROR(layer.Attend(queue, *run.steps[i], views));
    (i == 0 ? merge.a : merge.b) = views.out;
    (i == 0 ? merge.a_lse : merge.b_lse) = views.lse;
  }
  merge.out = run.views.out;
  merge.lse = run.views.lse;
  merge.out_scale = case_.Spec().out_scale;
  const std::vector<float> sinks = case_.Spec().sinks;
  std::unique_ptr<PlacedMemory> sink_memory;
  if (!sinks.empty()) {
    ASSIGN_OR_RETURN(sink_memory,
                     PlacedMemory::Create(backend_, queue, AsBytes(sinks), case_.place));
    ASSIGN_OR_RETURN(merge.sinks, TensorView::Contiguous(sink_memory->address(), DType::kF32,
                                                         {case_.heads}, backend_.device()));
  }
  RETURN_IF_ERROR(queue.MergeStates(merge));
  return Finish(queue);  // while the sinks are there
}

absl::Status Runner::CheckStates(RankRun& run, Queue& queue, int64_t rank, int64_t rows) const {
  for (RankIo& state : run.states) {
    RETURN_IF_ERROR(state.out.FromDevice(queue));
    RETURN_IF_ERROR(state.lse.FromDevice(queue));
    for (const auto& [name, image] : {std::pair("state", &state.out), {"state lse", &state.lse}}) {
      const absl::Status untouched = image->CheckPoison(name, rows);
      if (!untouched.ok()) return Broken("rank ", rank, ": ", untouched.message());
    }
  }
  return absl::OkStatus();
}

absl::Status Runner::CheckPadding(int64_t row, int64_t rank, const RankIo& io) const {
  for (uint8_t byte : io.out.Row(row)) {
    if (byte != 0) return Broken("rank ", rank, ": padding row ", row, " of out is not 0");
  }
  if (case_.lse == LseKind::kNone) return absl::OkStatus();
  const std::vector<uint8_t> lse = io.lse.Row(row);
  for (int64_t head = 0; head < case_.heads; ++head) {
    const float value = LoadFloat(DType::kF32, lse.data(), head);
    if (!std::isinf(value) || value > 0) {
      return Broken("rank ", rank, ": the LSE of padding row ", row, ", head ", head, " is ", value,
                    ", must be -inf");
    }
  }
  return absl::OkStatus();
}

absl::Status Runner::Collect(const std::vector<RankRow>& rows, int64_t rank, const RankIo& io) {
  const auto place = [&](std::vector<uint8_t>& all, const StridedImage& image, int64_t row,
                         int64_t token) {
    const std::vector<uint8_t> bytes = image.Row(row);
    uint8_t* const target = all.data() + token * image.row_bytes();
    if (have_row_[token] && std::memcmp(target, bytes.data(), bytes.size()) != 0) return false;
    std::memcpy(target, bytes.data(), bytes.size());
    return true;
  };
  std::vector<bool> used(static_cast<size_t>(io.out.rows()), false);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    used[i] = rows[i].request < 0 || case_.in_scope(case_.requests[rows[i].request]);
    if (rows[i].request < 0) {
      RETURN_IF_ERROR(CheckPadding(row, rank, io));
      continue;
    }
    const int64_t token = rows[i].token;
    if (used[i]) {
      bool same = place(output_.out, io.out, row, token);
      if (case_.lse != LseKind::kNone) same &= place(output_.lse, io.lse, row, token);
      if (!same) return Broken("rank ", rank, " has another result for token ", token);
    }
    have_row_[token] = true;
  }
  for (const auto& [name, image] : {std::pair("out", &io.out), std::pair("lse", &io.lse)}) {
    const absl::Status untouched = image->CheckPoison(name, used);
    if (!untouched.ok()) return Broken("rank ", rank, ": ", untouched.message());
  }
  return absl::OkStatus();
}

absl::Status Runner::RunRank(int64_t rank) {
  const std::vector<RankRow> rows = batch_->RowsOf(rank);
  RankRun run;
  run.io = batch_->MakeIo(rows);
  ASSIGN_OR_RETURN(const Layers layers, MakeLayers(backend_, case_, *batch_, run.io));
  output_.weights = (layers.paged ? *layers.paged : *layers.fresh).prepared().weight_dtype();
  ASSIGN_OR_RETURN(CacheImage cache, batch_->ContextImage());
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend_.CreateQueue());
  ASSIGN_OR_RETURN(const KvCacheView view, cache.ToDevice(backend_, *queue));
  RETURN_IF_ERROR(Upload(run, *queue, view));
  PlanOptions options;
  options.partition = batch_->partition();
  options.rank = rank;
  options.rows = case_.rows;
  if (case_.keys == KeyMode::kContext) options.keys = KeyScope::kContext;
  if (case_.keys == KeyMode::kNew) options.keys = KeyScope::kNew;
  const auto count = static_cast<int64_t>(rows.size());
  if (case_.keys == KeyMode::kSplit) {
    RETURN_IF_ERROR(RecordSplit(run, *queue, layers, options, count));
    RETURN_IF_ERROR(CheckStates(run, *queue, rank, count));
  } else {
    RETURN_IF_ERROR(RecordOne(run, *queue, layers, options));
  }
  RETURN_IF_ERROR(Fetch(run.io, *queue));
  batch_->AddWrittenTo(cache);
  const absl::Status written = cache.CheckDevice(*queue);
  if (!written.ok()) return Broken("rank ", rank, ": ", written.message());
  return Collect(rows, rank, run.io);
}

absl::Status Runner::Prepare(const AttentionCase& lengths) {
  ASSIGN_OR_RETURN(batch_, CaseBatch::Create(case_, lengths));
  ResetOutput();
  return absl::OkStatus();
}

void Runner::ResetOutput() {
  const int64_t rows = case_.num_rows();
  const int64_t out_bytes = rows * case_.heads * case_.head_size * SizeOf(case_.output_dtype());
  output_.out.assign(static_cast<size_t>(out_bytes), 0);
  if (case_.lse != LseKind::kNone)
    output_.lse.assign(static_cast<size_t>(rows * case_.heads * 4), 0);
  have_row_.assign(static_cast<size_t>(rows), false);
}

absl::StatusOr<AttentionOutput> Runner::Run() {
  RETURN_IF_ERROR(Prepare(case_));
  for (int64_t rank = 0; rank < case_.pcp; ++rank) RETURN_IF_ERROR(RunRank(rank));
  for (size_t token = 0; token < have_row_.size(); ++token) {
    if (!have_row_[token]) return Broken("no rank has token ", token);
  }
  return std::move(output_);
}

}  // namespace

absl::StatusOr<AttentionOutput> RunAttention(Backend& backend, const AttentionCase& c) {
  return Runner(backend, c).Run();
}

absl::StatusOr<AttentionSteps> RunAttentionSteps(Backend& backend, const AttentionCase& c) {
  AttentionSteps steps;
  steps.cases[0] = steps.cases[1] = c;
  for (size_t i = 0; i < c.requests.size(); ++i) {
    const int64_t first = (c.requests[i].new_tokens + 1) / 2;
    steps.cases[0].requests[i].new_tokens = first;
    steps.cases[1].requests[i].context += first;
    steps.cases[1].requests[i].new_tokens -= first;
  }
  Runner runners[] = {Runner(backend, steps.cases[0]), Runner(backend, steps.cases[1])};
  for (Runner& runner : runners) RETURN_IF_ERROR(runner.Prepare(c));
  ASSIGN_OR_RETURN(
      const AttentionLayer layer,
      AttentionLayer::Create(backend.shared_from_this(), c.Spec(), runners[0].batch().layout()));
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  Plans plans;
  for (const Runner& runner : runners) {
    ASSIGN_OR_RETURN(plans.emplace_back(), layer.MakePlan(runner.batch().metadata()));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<StepBuffers> step, MakeStep(backend, *queue, plans));
  ASSIGN_OR_RETURN(CacheImage context, runners[0].batch().ContextImage());
  CacheImage caches[] = {context, context};
  RankRun runs[2][2];
  KvCacheView views[2];
  for (int s = 0; s < 2; ++s) {
    RETURN_IF_ERROR(step->Update(*queue, plans[s]));
    for (int l = 0; l < 2; ++l) {
      if (s == 0) {
        ASSIGN_OR_RETURN(views[l], caches[l].ToDevice(backend, *queue));
      }
      runs[s][l].io = runners[s].batch().MakeIo(runners[s].batch().RowsOf(0));
      RETURN_IF_ERROR(runners[s].Upload(runs[s][l], *queue, views[l]));
      RETURN_IF_ERROR(layer.Forward(*queue, *step, runs[s][l].views));
    }
  }
  for (int s = 0; s < 2; ++s) {
    for (int l = 0; l < 2; ++l) {
      runners[s].ResetOutput();
      RETURN_IF_ERROR(runners[s].Fetch(runs[s][l].io, *queue));
      RETURN_IF_ERROR(runners[s].Collect(runners[s].batch().RowsOf(0), 0, runs[s][l].io));
      steps.outputs[s][l] = runners[s].output();
    }
  }
  return steps;
}

}  // namespace weft::testing
