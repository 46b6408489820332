// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/pcp_rank.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "collectives/restore_hidden_states.h"
#include "core/checked_math.h"
#include "core/status_macros.h"

namespace weft::replay {
namespace {

// Rows of one rank that no step exceeds: a prefill of n tokens takes 2 ceil(n / 2W) <= n / W + 2 of
// them, a decode one.
int64_t MaxRows(const RankConfig& config) {
  if (config.world_size == 1) return config.max_tokens;
  const int64_t requests = std::min(config.max_requests, config.max_tokens);
  return CeilDiv(config.max_tokens, config.world_size) + 3 * requests;
}

}  // namespace

PcpRank::PcpRank(const RankConfig& config, std::shared_ptr<Backend> backend,
                 const std::vector<AttentionLayer>& kinds, const Content& content,
                 Communicator* communicator)
    : Rank(config, std::move(backend), content),
      communicator_(communicator),
      max_rows_(MaxRows(config)) {
  for (const AttentionLayer& layer : kinds) kinds_.emplace_back(layer);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    ++kinds_[layer % kinds_.size()].num_layers;
  }
}

absl::StatusOr<std::unique_ptr<Rank>> PcpRank::Create(const RankConfig& config,
                                                      std::shared_ptr<Backend> backend,
                                                      const std::vector<AttentionLayer>& kinds,
                                                      const Content& content,
                                                      Communicator* communicator) {
  auto rank = std::unique_ptr<PcpRank>(
      new PcpRank(config, std::move(backend), kinds, content, communicator));
  RETURN_IF_ERROR(rank->Open(kinds[0].spec(), kinds[0].layout()));
  return rank;
}

// Everything that a step needs, once: a step allocates nothing.
absl::Status PcpRank::AllocateMore() {
  const int64_t all_rows = max_rows_ * config_.world_size;
  for (Kind& kind : kinds_) {
    ASSIGN_OR_RETURN(const StepLimits limits,
                     StepLimits::For(kind.layer.spec(), kind.layer.layout(), config_.world_size,
                                     max_rows_, config_.max_requests, config_.max_seq_len,
                                     std::min(config_.max_requests, config_.max_tokens)));
    ASSIGN_OR_RETURN(kind.step, StepBuffers::Create(backend_, limits));
  }
  const int64_t heads = spec().num_heads, kv_heads = spec().num_kv_heads;
  const int64_t head = spec().head_size * SizeOf(spec().dtype);
  const auto kinds = static_cast<int64_t>(kinds_.size());
  const int64_t row_numbers = max_rows_ * (kv_heads + kinds * heads) + config_.max_tokens;
  ASSIGN_OR_RETURN(indices_, Allocate({row_numbers, int64_t{sizeof(int64_t)}}));
  ASSIGN_OR_RETURN(kv_, Allocate({all_rows, kv_heads, 2, head}));
  ASSIGN_OR_RETURN(query_, Allocate({max_rows_, heads, head}));
  ASSIGN_OR_RETURN(out_, Allocate({max_rows_, heads, head}));
  ASSIGN_OR_RETURN(lse_, Allocate({max_rows_, heads, int64_t{sizeof(float)}}));
  if (communicator_ == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(gathered_, Allocate({all_rows, heads, head}));
  ASSIGN_OR_RETURN(restored_, Allocate({config_.max_tokens, heads, head}));
  return absl::OkStatus();
}

// K and V of a token stand side by side for each head, [rows, kv_heads, 2, head_size], so that one
// AllGather moves both. This rank's rows are made where the AllGather wants them.
absl::Status PcpRank::MakeViews(int64_t rows, int64_t tokens) {
  const DeviceId device = backend_->device();
  const DType dtype = spec().dtype;
  const int64_t heads = spec().num_heads, kv_heads = spec().num_kv_heads, size = spec().head_size;
  const int64_t pair = 2 * size, token = kv_heads * pair;
  const int64_t all_rows = rows * config_.world_size;
  const uint64_t local_kv = kv_->address() + config_.rank * rows * token * SizeOf(dtype);
  const uint64_t value = kv_->address() + size * SizeOf(dtype);
  const auto flat = [&](uint64_t address, DType type, std::initializer_list<int64_t> extents) {
    return TensorView::Contiguous(address, type, extents, device);
  };
  uint64_t index = indices_->address();
  const auto take_indices = [&](int64_t count) {
    const auto view = flat(index, DType::kI64, {count});
    index += count * sizeof(int64_t);
    return view;
  };
  ASSIGN_OR_RETURN(views_.key_index, take_indices(rows * kv_heads));
  for (Kind& kind : kinds_) {
    ASSIGN_OR_RETURN(kind.query_index, take_indices(rows * heads));
  }
  ASSIGN_OR_RETURN(views_.local_kv, flat(local_kv, dtype, {rows, token}));
  ASSIGN_OR_RETURN(views_.local_kv_heads, flat(local_kv, dtype, {rows * kv_heads, pair}));
  ASSIGN_OR_RETURN(views_.all_kv, flat(kv_->address(), dtype, {all_rows, token}));
  ASSIGN_OR_RETURN(views_.query_rows, flat(query_->address(), dtype, {rows * heads, size}));
  ASSIGN_OR_RETURN(views_.io.query, flat(query_->address(), dtype, {rows, heads, size}));
  ASSIGN_OR_RETURN(views_.io.key,
                   TensorView::Create(kv_->address(), dtype, {all_rows, kv_heads, size},
                                      {token, pair, 1}, device));
  ASSIGN_OR_RETURN(views_.io.value, TensorView::Create(value, dtype, {all_rows, kv_heads, size},
                                                       {token, pair, 1}, device));
  ASSIGN_OR_RETURN(views_.io.out, flat(out_->address(), dtype, {rows, heads, size}));
  ASSIGN_OR_RETURN(views_.io.lse, flat(lse_->address(), DType::kF32, {rows, heads}));
  ASSIGN_OR_RETURN(views_.local_hidden, flat(out_->address(), dtype, {rows, heads * size}));
  if (communicator_ == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(views_.restore_index, take_indices(tokens));
  ASSIGN_OR_RETURN(views_.gathered_hidden,
                   flat(gathered_->address(), dtype, {all_rows, heads * size}));
  ASSIGN_OR_RETURN(views_.restored, flat(restored_->address(), dtype, {tokens, heads * size}));
  return absl::OkStatus();
}

// Which rows of a layer's table are this rank's keys, values and queries.
absl::Status PcpRank::UploadIndices(const StepWork& work) {
  std::vector<int64_t> requests, positions;
  RowsOf(work, requests, positions);
  const std::vector<int64_t> sources = SourceRows(work, config_.rank);
  std::vector<int64_t> indices;
  for (const int64_t row : sources) {
    for (int64_t head = 0; head < spec().num_kv_heads; ++head) {
      indices.push_back(row < 0 ? -1 : content_->KeyRow(requests[row], positions[row], head));
    }
  }
  for (const Kind& kind : kinds_) {
    for (const int64_t row : sources) {
      for (int64_t head = 0; head < spec().num_heads; ++head) {
        indices.push_back(row < 0 ? -1
                                  : content_->QueryRow(requests[row], positions[row], head,
                                                       kind.layer.spec().window));
      }
    }
  }
  if (work.partition) {
    const std::vector<int64_t> restore = work.partition->CompactRestoreIndex();
    indices.insert(indices.end(), restore.begin(), restore.end());
  }
  return queue_->CopyFromHost(indices_->address(), AsBytes(indices));
}

absl::Status PcpRank::Plan(const StepWork& work, RankWork& done) {
  for (Kind& kind : kinds_) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const weft::Plan> plan,
                     kind.layer.MakePlan(work.metadata, work.partition_or_null(), config_.rank));
    RETURN_IF_ERROR(kind.step->Update(*queue_, plan));
    done.rows = plan->num_rows();
    done.padding_rows = plan->num_padding_rows();
    done.causal_pairs += plan->causal_pairs() * kind.num_layers;
  }
  RETURN_IF_ERROR(MakeViews(done.rows, work.metadata.num_actual_tokens()));
  RETURN_IF_ERROR(UploadIndices(work));
  for (const Kind& kind : kinds_) {
    if (fault_hook_) RETURN_IF_ERROR(fault_hook_(*queue_, *kind.step, work.step));
  }
  if (communicator_ != nullptr) {
    communicator_->SetStep(work.step.index, work.partition->fingerprint());
  }
  return absl::OkStatus();
}

absl::Status PcpRank::RecordLayer(int64_t layer, const StepWork& work, absl::Time deadline,
                                  RankStep& result) {
  const Kind& kind = kinds_[layer % kinds_.size()];
  RETURN_IF_ERROR(
      source_.MakeKeysAndValues(*queue_, layer, views_.key_index, views_.local_kv_heads));
  RETURN_IF_ERROR(source_.MakeQueries(*queue_, layer, kind.query_index, views_.query_rows));
  RETURN_IF_ERROR(queue_->Fill(out_->address(), views_.io.out.span_bytes(), kPoison));
  RETURN_IF_ERROR(queue_->Fill(lse_->address(), views_.io.lse.span_bytes(), kPoison));
  if (communicator_ != nullptr) {
    RETURN_IF_ERROR(communicator_->AllGather(*queue_, views_.local_kv, views_.all_kv, deadline));
  }
  views_.io.cache = pools_[layer].view();
  RETURN_IF_ERROR(kind.layer.Forward(*queue_, *kind.step, views_.io));
  return CopySamples(layer, work, views_.io.out, views_.io.lse, /*first_head=*/0, result);
}

absl::Status PcpRank::RecordRestore(const StepWork&, bool wanted, absl::Time deadline,
                                    RankStep& result) {
  TensorView restored = views_.local_hidden;
  if (communicator_ != nullptr) {
    restored = views_.restored;
    RETURN_IF_ERROR(RestoreHiddenStates(*queue_, *communicator_, views_.local_hidden,
                                        views_.restore_index, views_.gathered_hidden, restored,
                                        deadline));
  }
  if (!wanted) return absl::OkStatus();
  result.restored.resize(restored.span_bytes());
  return queue_->CopyToHost(absl::MakeSpan(result.restored), restored.address());
}

}  // namespace weft::replay
