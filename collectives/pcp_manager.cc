// SPDX-License-Identifier: Apache-2.0
#include "collectives/pcp_manager.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "collectives/restore_hidden_states.h"
#include "core/checked_math.h"
#include "core/status_macros.h"

namespace weft {
namespace {

template <typename... T>
absl::Status Invalid(const T&... text) {
  return absl::InvalidArgumentError(absl::StrCat(text...));
}

absl::Status CheckOptions(const PcpManagerOptions& options) {
  if (options.max_padded_tokens < 1) {
    return Invalid("pcp: max_padded_tokens is ", options.max_padded_tokens, ", must be >= 1");
  }
  if (options.num_kv_groups < 1) {
    return Invalid("pcp: num_kv_groups is ", options.num_kv_groups, ", must be >= 1");
  }
  if (options.max_hidden_row_bytes < 0) {
    return Invalid("pcp: max_hidden_row_bytes is ", options.max_hidden_row_bytes, ", must be >= 0");
  }
  const int64_t row_bytes = std::max<int64_t>(8, options.max_hidden_row_bytes);
  if (!CheckedMul(options.max_padded_tokens, row_bytes)) {
    return Invalid("pcp: ", options.max_padded_tokens, " rows of ", row_bytes,
                   " bytes do not fit 63 bits");
  }
  return absl::OkStatus();
}

std::vector<int64_t> Extents(const TensorView& view) {
  std::vector<int64_t> extents;
  for (int axis = 0; axis < view.rank(); ++axis) extents.push_back(view.extent(axis));
  return extents;
}

absl::Span<const uint8_t> AsBytes(const std::vector<int64_t>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(int64_t)};
}

}  // namespace

PcpManager::PcpManager(std::shared_ptr<Backend> backend, Communicator* communicator,
                       const PcpManagerOptions& options)
    : backend_(std::move(backend)), communicator_(communicator), options_(options) {}

absl::StatusOr<std::unique_ptr<PcpManager>> PcpManager::Create(std::shared_ptr<Backend> backend,
                                                               Communicator* communicator,
                                                               const PcpManagerOptions& options) {
  if (backend == nullptr || communicator == nullptr) {
    return Invalid("pcp: backend or communicator is null");
  }
  RETURN_IF_ERROR(CheckOptions(options));
  const int64_t index_bytes = options.max_padded_tokens * 8;
  auto manager = std::unique_ptr<PcpManager>(new PcpManager(backend, communicator, options));
  ASSIGN_OR_RETURN(manager->pad_index_, backend->Allocate(index_bytes));
  ASSIGN_OR_RETURN(manager->restore_index_, backend->Allocate(index_bytes));
  for (int64_t group = 0; group < options.num_kv_groups; ++group) {
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> slots, backend->Allocate(index_bytes));
    manager->padded_slots_.push_back(std::move(slots));
  }
  if (options.max_hidden_row_bytes > 0) {
    ASSIGN_OR_RETURN(manager->gathered_,
                     backend->Allocate(options.max_padded_tokens * options.max_hidden_row_bytes));
  }
  return manager;
}

absl::StatusOr<TensorView> PcpManager::IndexView(const Buffer& buffer, int64_t count) const {
  return TensorView::Contiguous(buffer.address(), DType::kI64, {count}, buffer.device());
}

absl::Status PcpManager::CheckPartition(const PcpPartition& partition) const {
  if (partition.world_size() != communicator_->world_size()) {
    return Invalid("pcp: the partition is for ", partition.world_size(),
                   " ranks, the communicator has ", communicator_->world_size());
  }
  if (partition.padded_total() > options_.max_padded_tokens) {
    return absl::ResourceExhaustedError(absl::StrCat("pcp: the step has ", partition.padded_total(),
                                                     " padded rows, max_padded_tokens is ",
                                                     options_.max_padded_tokens));
  }
  return absl::OkStatus();
}

absl::Status PcpManager::SetPartition(Queue& queue, PcpPartition partition) {
  RETURN_IF_ERROR(CheckPartition(partition));
  const std::vector<int64_t> pad_index = partition.PadIndex();
  const std::vector<int64_t> restore_index = partition.CompactRestoreIndex();
  RETURN_IF_ERROR(queue.CopyFromHost(pad_index_->address(), AsBytes(pad_index)));
  RETURN_IF_ERROR(queue.CopyFromHost(restore_index_->address(), AsBytes(restore_index)));
  communicator_->SetStep(++step_, partition.fingerprint());
  partition_ = std::move(partition);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> PcpManager::PartitionInputs(Queue& queue, absl::Span<int64_t> positions,
                                                    absl::Span<int64_t> request_indices,
                                                    absl::Span<const int64_t> num_scheduled_tokens,
                                                    absl::Span<const int64_t> num_computed_tokens,
                                                    int64_t decode_threshold) {
  ASSIGN_OR_RETURN(PcpPartition partition,
                   PcpPartition::BuildFromArrays(num_scheduled_tokens, num_computed_tokens,
                                                 decode_threshold, communicator_->world_size(),
                                                 PcpLimits{options_.max_padded_tokens}));
  const int64_t need = std::max(partition.num_tokens(), partition.local_total());
  for (const auto& [name, size] : {std::pair("positions", positions.size()),
                                   std::pair("request_indices", request_indices.size())}) {
    if (static_cast<int64_t>(size) < need) {
      return Invalid("pcp: ", name, " has ", size, " entries, the step needs ", need, " (",
                     partition.num_tokens(), " tokens in, ", partition.local_total(), " rows out)");
    }
  }
  const std::vector<PcpRow> rows = partition.Rows(communicator_->rank());
  RETURN_IF_ERROR(SetPartition(queue, std::move(partition)));
  // A row may come from before or behind its place, so all are read before any is written.
  std::vector<int64_t> local_positions, local_requests;
  for (const PcpRow& row : rows) {
    local_positions.push_back(positions[row.source]);
    local_requests.push_back(request_indices[row.source]);
  }
  std::copy(local_positions.begin(), local_positions.end(), positions.begin());
  std::copy(local_requests.begin(), local_requests.end(), request_indices.begin());
  return static_cast<int64_t>(rows.size());
}

absl::StatusOr<TensorView> PcpManager::PadSlotMapping(Queue& queue, const TensorView& slot_mapping,
                                                      int64_t kv_group) {
  if (kv_group < 0 || kv_group >= options_.num_kv_groups) {
    return Invalid("pcp: KV group is ", kv_group, ", must be in [0, ", options_.num_kv_groups, ")");
  }
  if (!partition_ || partition_->padded_total() == 0) return slot_mapping;
  if (slot_mapping.rank() != 1 || slot_mapping.dtype() != DType::kI64 ||
      slot_mapping.extent(0) != partition_->num_tokens()) {
    return Invalid("pcp: slot mapping is ", slot_mapping.ToString(), ", must be i64[",
                   partition_->num_tokens(), "], one for each token of the step");
  }
  GatherRowsArgs args;
  args.source = slot_mapping;
  ASSIGN_OR_RETURN(args.index, IndexView(*pad_index_, partition_->padded_total()));
  ASSIGN_OR_RETURN(args.destination,
                   IndexView(*padded_slots_[kv_group], partition_->padded_total()));
  args.fill = -1.0f;
  RETURN_IF_ERROR(queue.GatherRows(args));
  return args.destination;
}

absl::Status PcpManager::CheckHidden(const TensorView& hidden) const {
  if (!partition_) {
    return absl::FailedPreconditionError("pcp: nothing is partitioned yet, so nothing to restore");
  }
  if (!hidden.given() || hidden.extent(0) < partition_->local_total() ||
      (!hidden.empty() && !hidden.contiguous())) {
    return Invalid("pcp: hidden is ", hidden.ToString(), ", must be contiguous with at least ",
                   partition_->local_total(), " rows");
  }
  int64_t row_bytes = hidden.empty() ? 0 : SizeOf(hidden.dtype());
  for (int axis = 1; axis < hidden.rank(); ++axis) row_bytes *= hidden.extent(axis);
  if (row_bytes > options_.max_hidden_row_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("pcp: a row of hidden ", hidden.ToString(), " has ", row_bytes,
                     " bytes, max_hidden_row_bytes is ", options_.max_hidden_row_bytes));
  }
  return absl::OkStatus();
}

absl::Status PcpManager::RestoreHiddenStates(Queue& queue, const TensorView& hidden,
                                             const TensorView& out, absl::Time deadline) {
  RETURN_IF_ERROR(CheckHidden(hidden));
  std::vector<int64_t> extents = Extents(hidden);
  extents[0] = partition_->num_tokens();
  if (!out.given() || out.dtype() != hidden.dtype() || Extents(out) != extents) {
    return Invalid("pcp: out is ", out.ToString(), ", must have ", partition_->num_tokens(),
                   " rows and be like hidden ", hidden.ToString(), " otherwise");
  }
  extents[0] = partition_->local_total();
  ASSIGN_OR_RETURN(const TensorView local, TensorView::Contiguous(hidden.address(), hidden.dtype(),
                                                                  extents, hidden.device()));
  extents[0] = partition_->padded_total();
  const uint64_t scratch = gathered_ == nullptr ? 0 : gathered_->address();
  ASSIGN_OR_RETURN(const TensorView gathered,
                   TensorView::Contiguous(scratch, hidden.dtype(), extents, hidden.device()));
  ASSIGN_OR_RETURN(const TensorView index, IndexView(*restore_index_, partition_->num_tokens()));
  return weft::RestoreHiddenStates(queue, *communicator_, local, index, gathered, out, deadline);
}

}  // namespace weft
