// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/rank.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <optional>
#include <utility>

#include "collectives/restore_hidden_states.h"
#include "core/checked_math.h"
#include "core/status_macros.h"

namespace weft::replay {
namespace {

// A product of sizes that come from flags and a file.
absl::StatusOr<int64_t> Product(std::initializer_list<int64_t> factors) {
  int64_t product = 1;
  for (const int64_t factor : factors) {
    const std::optional<int64_t> next = CheckedMul(product, factor);
    if (!next) return absl::OutOfRangeError("a buffer's size does not fit 63 bits");
    product = *next;
  }
  return product;
}

absl::Span<const uint8_t> AsBytes(const std::vector<int64_t>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(int64_t)};
}

// Rows of one rank that no step exceeds: a prefill of n tokens takes 2 ceil(n / 2W) <= n / W + 2 of
// them, a decode one.
int64_t MaxRows(const RankConfig& config) {
  if (config.world_size == 1) return config.max_tokens;
  const int64_t requests = std::min(config.max_requests, config.max_tokens);
  return CeilDiv(config.max_tokens, config.world_size) + 3 * requests;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Rank>> Rank::Create(const RankConfig& config,
                                                   std::shared_ptr<Backend> backend,
                                                   const AttentionLayer& layer,
                                                   const Content& content,
                                                   Communicator* communicator) {
  auto rank =
      std::unique_ptr<Rank>(new Rank(config, std::move(backend), layer, content, communicator));
  rank->max_rows_ = MaxRows(config);
  ASSIGN_OR_RETURN(rank->queue_, rank->backend_->CreateQueue());
  RETURN_IF_ERROR(rank->Allocate());
  RETURN_IF_ERROR(rank->queue_->Submit());
  RETURN_IF_ERROR(rank->queue_->Wait(absl::Now() + config.timeout));
  rank->queue_->SetProfiling(true);
  return rank;
}

// Everything that a step needs, once: a step allocates nothing.
absl::Status Rank::Allocate() {
  const AttentionSpec& spec = layer_.spec();
  const int64_t element = SizeOf(spec.dtype);
  const int64_t all_rows = max_rows_ * config_.world_size;
  ASSIGN_OR_RETURN(
      const StepLimits limits,
      StepLimits::For(spec, layer_.layout(), config_.world_size, max_rows_, config_.max_requests,
                      config_.max_seq_len, std::min(config_.max_requests, config_.max_tokens)));
  ASSIGN_OR_RETURN(step_, StepBuffers::Create(backend_, limits));

  const auto allocate = [&](std::initializer_list<int64_t> factors) {
    const absl::StatusOr<int64_t> bytes = Product(factors);
    return bytes.ok() ? backend_->Allocate(*bytes)
                      : absl::StatusOr<std::unique_ptr<Buffer>>(bytes.status());
  };
  const int64_t head = spec.head_size * element;
  ASSIGN_OR_RETURN(tables_, allocate({config_.num_layers, kTableRows, 2, head}));
  const int64_t row_numbers = max_rows_ * (spec.num_kv_heads + spec.num_heads) + config_.max_tokens;
  ASSIGN_OR_RETURN(indices_, allocate({row_numbers, int64_t{sizeof(int64_t)}}));
  ASSIGN_OR_RETURN(kv_, allocate({all_rows, spec.num_kv_heads, 2, head}));
  ASSIGN_OR_RETURN(query_, allocate({max_rows_, spec.num_heads, head}));
  ASSIGN_OR_RETURN(out_, allocate({max_rows_, spec.num_heads, head}));
  ASSIGN_OR_RETURN(lse_, allocate({max_rows_, spec.num_heads, int64_t{sizeof(float)}}));
  if (communicator_ != nullptr) {
    ASSIGN_OR_RETURN(gathered_, allocate({all_rows, spec.num_heads, head}));
    ASSIGN_OR_RETURN(restored_, allocate({config_.max_tokens, spec.num_heads, head}));
  }
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    const std::vector<uint8_t> table = content_->TableBytes(layer);
    RETURN_IF_ERROR(queue_->CopyFromHost(tables_->address() + layer * table.size(), table));
    ASSIGN_OR_RETURN(KvPool pool, KvPool::Create(*backend_, *queue_, layer_.layout(),
                                                 config_.num_blocks, config_.max_allocation_bytes));
    pools_.push_back(std::move(pool));
  }
  return absl::OkStatus();
}

// K and V of a token stand side by side for each head, [rows, kv_heads, 2, head_size], so that one
// AllGather moves both. This rank's rows are made where the AllGather wants them.
absl::StatusOr<Rank::Views> Rank::MakeViews(int64_t rows, int64_t tokens) const {
  const AttentionSpec& spec = layer_.spec();
  const DeviceId device = backend_->device();
  const DType dtype = spec.dtype;
  const int64_t heads = spec.num_heads, kv_heads = spec.num_kv_heads, size = spec.head_size;
  const int64_t pair = 2 * size, token = kv_heads * pair;
  const int64_t all_rows = rows * config_.world_size;
  const uint64_t local_kv = kv_->address() + config_.rank * rows * token * SizeOf(dtype);
  const uint64_t value = kv_->address() + size * SizeOf(dtype);
  const uint64_t query_index = indices_->address() + rows * kv_heads * sizeof(int64_t);
  const uint64_t restore_index = query_index + rows * heads * sizeof(int64_t);
  const auto flat = [&](uint64_t address, DType type, std::initializer_list<int64_t> extents) {
    return TensorView::Contiguous(address, type, extents, device);
  };
  Views views;
  ASSIGN_OR_RETURN(views.key_index, flat(indices_->address(), DType::kI64, {rows * kv_heads}));
  ASSIGN_OR_RETURN(views.query_index, flat(query_index, DType::kI64, {rows * heads}));
  ASSIGN_OR_RETURN(views.local_kv, flat(local_kv, dtype, {rows, token}));
  ASSIGN_OR_RETURN(views.local_kv_heads, flat(local_kv, dtype, {rows * kv_heads, pair}));
  ASSIGN_OR_RETURN(views.all_kv, flat(kv_->address(), dtype, {all_rows, token}));
  ASSIGN_OR_RETURN(views.query_rows, flat(query_->address(), dtype, {rows * heads, size}));
  ASSIGN_OR_RETURN(views.io.query, flat(query_->address(), dtype, {rows, heads, size}));
  ASSIGN_OR_RETURN(views.io.key,
                   TensorView::Create(kv_->address(), dtype, {all_rows, kv_heads, size},
                                      {token, pair, 1}, device));
  ASSIGN_OR_RETURN(views.io.value, TensorView::Create(value, dtype, {all_rows, kv_heads, size},
                                                      {token, pair, 1}, device));
  ASSIGN_OR_RETURN(views.io.out, flat(out_->address(), dtype, {rows, heads, size}));
  ASSIGN_OR_RETURN(views.io.lse, flat(lse_->address(), DType::kF32, {rows, heads}));
  ASSIGN_OR_RETURN(views.local_hidden, flat(out_->address(), dtype, {rows, heads * size}));
  if (communicator_ != nullptr) {
    ASSIGN_OR_RETURN(views.restore_index, flat(restore_index, DType::kI64, {tokens}));
    ASSIGN_OR_RETURN(views.gathered_hidden,
                     flat(gathered_->address(), dtype, {all_rows, heads * size}));
    ASSIGN_OR_RETURN(views.restored, flat(restored_->address(), dtype, {tokens, heads * size}));
  }
  return views;
}

// Which rows of a layer's table are this rank's keys, values and queries: the same for all layers.
absl::Status Rank::UploadIndices(const StepWork& work, const Views& views) {
  const AttentionSpec& spec = layer_.spec();
  std::vector<int64_t> requests, positions;  // of the step's rows
  for (const StepEntry& entry : work.step.entries) {
    for (int64_t i = 0; i < entry.num_new_tokens; ++i) {
      requests.push_back(entry.request);
      positions.push_back(entry.num_computed_tokens + i);
    }
  }
  const std::vector<int64_t> sources = SourceRows(work, config_.rank);
  std::vector<int64_t> indices;
  indices.reserve(sources.size() * (spec.num_kv_heads + spec.num_heads) + positions.size());
  for (const int64_t row : sources) {
    for (int64_t head = 0; head < spec.num_kv_heads; ++head) {
      // Padding becomes NaN: whoever uses it is found out.
      indices.push_back(row < 0 ? -1 : content_->KeyRow(requests[row], positions[row], head));
    }
  }
  for (const int64_t row : sources) {
    for (int64_t head = 0; head < spec.num_heads; ++head) {
      indices.push_back(row < 0 ? -1 : content_->QueryRow(requests[row], positions[row], head));
    }
  }
  if (work.partition) {
    const std::vector<int64_t> restore = work.partition->CompactRestoreIndex();
    indices.insert(indices.end(), restore.begin(), restore.end());
  }
  return queue_->CopyFromHost(views.key_index.address(), AsBytes(indices));
}

absl::Status Rank::RunLayer(int64_t layer, const StepWork& work, Views& views, absl::Time deadline,
                            RankStep& result) {
  const AttentionSpec& spec = layer_.spec();
  const int64_t size = spec.head_size, head = size * SizeOf(spec.dtype);
  const uint64_t table = tables_->address() + layer * kTableRows * 2 * head;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  GatherRowsArgs make_kv, make_query;
  ASSIGN_OR_RETURN(make_kv.source, TensorView::Contiguous(table, spec.dtype, {kTableRows, 2 * size},
                                                          backend_->device()));
  make_kv.index = views.key_index;
  make_kv.destination = views.local_kv_heads;
  make_kv.fill = nan;
  RETURN_IF_ERROR(queue_->GatherRows(make_kv));
  ASSIGN_OR_RETURN(make_query.source, TensorView::Create(table, spec.dtype, {kTableRows, size},
                                                         {2 * size, 1}, backend_->device()));
  make_query.index = views.query_index;
  make_query.destination = views.query_rows;
  make_query.fill = nan;
  RETURN_IF_ERROR(queue_->GatherRows(make_query));
  RETURN_IF_ERROR(queue_->Fill(out_->address(), views.io.out.span_bytes(), kPoison));
  RETURN_IF_ERROR(queue_->Fill(lse_->address(), views.io.lse.span_bytes(), kPoison));
  if (communicator_ != nullptr) {
    RETURN_IF_ERROR(communicator_->AllGather(*queue_, views.local_kv, views.all_kv, deadline));
  }
  views.io.cache = pools_[layer].view();
  RETURN_IF_ERROR(layer_.Forward(*queue_, *step_, views.io));
  for (size_t i = 0; i < work.samples.size(); ++i) {
    const Sample& sample = work.samples[i];
    if (sample.layer != layer || sample.rank != config_.rank) continue;
    const int64_t place = sample.local_row * spec.num_heads + sample.head;
    SampleAnswer& answer = result.answers[i];
    answer.out.resize(head);
    RETURN_IF_ERROR(queue_->CopyToHost(absl::MakeSpan(answer.out), out_->address() + place * head));
    RETURN_IF_ERROR(
        queue_->CopyToHost(absl::MakeSpan(reinterpret_cast<uint8_t*>(&answer.lse), sizeof(float)),
                           lse_->address() + place * sizeof(float)));
  }
  return absl::OkStatus();
}

absl::Status Rank::Restore(const Views& views, bool wanted, absl::Time deadline, RankStep& result) {
  TensorView restored = views.local_hidden;
  if (communicator_ != nullptr) {
    restored = views.restored;
    RETURN_IF_ERROR(RestoreHiddenStates(*queue_, *communicator_, views.local_hidden,
                                        views.restore_index, views.gathered_hidden, restored,
                                        deadline));
  }
  if (!wanted) return absl::OkStatus();
  result.restored.resize(restored.span_bytes());
  return queue_->CopyToHost(absl::MakeSpan(result.restored), restored.address());
}

void RankTotals::Add(const RankWork& work) {
  for (size_t kind = 0; kind < work.op_times.size(); ++kind) {
    op_times[kind].calls += work.op_times[kind].calls;
    op_times[kind].time += work.op_times[kind].time;
  }
  causal_pairs += work.causal_pairs;
  rows += work.rows;
  padding_rows += work.padding_rows;
  plan_time += work.planned - work.start;
}

absl::StatusOr<RankStep> Rank::Run(const StepWork& work, bool want_restored) {
  RankStep result;
  result.work.start = absl::Now();
  const absl::Time deadline = result.work.start + config_.timeout;
  ASSIGN_OR_RETURN(const std::shared_ptr<const Plan> plan,
                   layer_.MakePlan(work.metadata, work.partition_or_null(), config_.rank));
  RETURN_IF_ERROR(step_->Update(*queue_, plan));
  ASSIGN_OR_RETURN(Views views, MakeViews(plan->num_rows(), work.metadata.num_actual_tokens()));
  RETURN_IF_ERROR(UploadIndices(work, views));
  if (fault_hook_) RETURN_IF_ERROR(fault_hook_(*queue_, *step_, work.step));
  if (communicator_ != nullptr) {
    communicator_->SetStep(work.step.index, work.partition->fingerprint());
  }
  result.work.planned = absl::Now();

  result.answers.resize(work.samples.size());
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    RETURN_IF_ERROR(RunLayer(layer, work, views, deadline, result));
  }
  RETURN_IF_ERROR(Restore(views, want_restored, deadline, result));
  result.work.recorded = absl::Now();
  RETURN_IF_ERROR(queue_->Submit());
  RETURN_IF_ERROR(queue_->Wait(deadline));
  result.work.done = absl::Now();
  result.work.op_times = queue_->TakeOpTimes();
  result.work.causal_pairs = plan->causal_pairs();
  result.work.rows = plan->num_rows();
  result.work.padding_rows = plan->num_padding_rows();
  totals_.Add(result.work);
  return result;
}

}  // namespace weft::replay
