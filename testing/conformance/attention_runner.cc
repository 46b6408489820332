// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/attention_runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention_layer.h"
#include "core/attention_metadata.h"
#include "core/checked_math.h"
#include "core/pcp_partition.h"
#include "core/status_macros.h"
#include "core/step_buffers.h"
#include "testing/compare.h"
#include "testing/conformance/attention_data.h"
#include "testing/conformance/cache_image.h"
#include "testing/conformance/random.h"
#include "testing/conformance/strided_image.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

// Rows behind the last one that a call may not touch.
constexpr int64_t kExtraRows = 2;
// Blocks of the pool that belong to nobody.
constexpr int64_t kSpareBlocks = 3;
// Entries behind the used ones of a request's block ids, which nobody may read.
constexpr int64_t kTableTail = 2;

// One row of a rank: which token it is, or padding.
struct RankRow {
  int64_t request = -1;  // -1: padding
  int64_t position = 0;
  int64_t token = 0;  // place in the order of the step
};

class Runner {
 public:
  // The host's side of the tensors of one rank.
  struct RankIo {
    StridedImage query, key, value, out, lse;
  };

  Runner(Backend& backend, const AttentionCase& c) : backend_(backend), case_(c) {}

  absl::StatusOr<AttentionOutput> Run();

  // The parts of Run, in their order. Blocks are those of requests as long as in `lengths`.
  absl::Status Prepare(const AttentionCase& lengths);
  std::vector<RankRow> RowsOf(int64_t rank) const;
  RankIo MakeIo(const std::vector<RankRow>& rows) const;
  absl::StatusOr<CacheImage> ContextImage() const;
  absl::StatusOr<std::shared_ptr<const Plan>> MakePlan(const AttentionLayer& layer,
                                                       int64_t rank) const;
  absl::Status Record(const AttentionLayer& layer, const StepBuffers& step,
                      const KvCacheView& cache, RankIo& io, Queue& queue) const;
  absl::Status Fetch(RankIo& io, Queue& queue) const;
  void ResetOutput();
  absl::Status Collect(const std::vector<RankRow>& rows, int64_t rank, const RankIo& io);

  const KvCacheLayout& layout() const { return layout_; }
  const AttentionOutput& output() const { return output_; }

 private:
  void AssignBlocks(const AttentionCase& lengths);
  absl::Status BuildMetadata();
  void AddWrittenTo(CacheImage& cache) const;
  int64_t Slot(int64_t request, int64_t position) const;
  std::vector<RankRow> WrittenRows() const;
  StridedImage HeadsImage(int64_t rows, int64_t heads) const;
  StridedImage LseImage(int64_t rows) const;
  absl::Status RunRank(const AttentionLayer& layer, int64_t rank);
  absl::Status CheckPadding(int64_t row, int64_t rank, const RankIo& io) const;

  template <typename... T>
  absl::Status Broken(const T&... text) const {
    return absl::FailedPreconditionError(absl::StrCat(text..., "\n  case: ", case_.ToString()));
  }

  Backend& backend_;
  const AttentionCase& case_;
  KvCacheLayout layout_;
  int64_t num_blocks_ = 0;
  std::vector<std::vector<int32_t>> block_ids_;
  std::optional<AttentionMetadata> metadata_;
  std::optional<PcpPartition> partition_;  // with more than one rank
  AttentionOutput output_;
  std::vector<bool> have_row_;
};

void Runner::AssignBlocks(const AttentionCase& lengths) {
  std::vector<int64_t> used;
  num_blocks_ = kSpareBlocks;
  for (const CaseRequest& request : lengths.requests) {
    used.push_back(CeilDiv(request.context + request.new_tokens, case_.block_size));
    num_blocks_ += used.back();
  }
  std::vector<int32_t> pool(static_cast<size_t>(num_blocks_));
  for (int64_t i = 0; i < num_blocks_; ++i) pool[i] = static_cast<int32_t>(i);
  RandomStream random({case_.pages, 0x9a6e});
  for (size_t i = pool.size(); i > 1; --i) std::swap(pool[i - 1], pool[random.Below(i)]);
  size_t next = 0;
  for (int64_t count : used) {
    std::vector<int32_t> ids(pool.begin() + static_cast<int64_t>(next),
                             pool.begin() + static_cast<int64_t>(next) + count);
    next += static_cast<size_t>(count);
    ids.insert(ids.end(), kTableTail, std::numeric_limits<int32_t>::max());
    block_ids_.push_back(std::move(ids));
  }
}

absl::Status Runner::BuildMetadata() {
  RequestBatch batch;
  for (size_t i = 0; i < case_.requests.size(); ++i) {
    Request request;
    request.kind = case_.requests[i].kind;
    request.num_new_tokens = case_.requests[i].new_tokens;
    request.num_computed_tokens = case_.requests[i].context;
    request.block_ids = block_ids_[i];
    batch.requests.push_back(request);
  }
  ASSIGN_OR_RETURN(metadata_, AttentionMetadataBuilder(layout_, num_blocks_).Build(batch));
  if (case_.pcp == 1) return absl::OkStatus();
  ASSIGN_OR_RETURN(partition_, PcpPartition::Build(ShapesOf(*metadata_), case_.pcp));
  return absl::OkStatus();
}

int64_t Runner::Slot(int64_t request, int64_t position) const {
  return block_ids_[request][position / case_.block_size] * case_.block_size +
         position % case_.block_size;
}

// The cache before the step: the tokens of the contexts.
absl::StatusOr<CacheImage> Runner::ContextImage() const {
  ASSIGN_OR_RETURN(CacheImage image, CacheImage::Create(layout_, num_blocks_, case_.segments));
  for (size_t i = 0; i < case_.requests.size(); ++i) {
    const auto request = static_cast<int64_t>(i);
    for (int64_t p = 0; p < case_.requests[i].context; ++p) {
      image.SetKey(Slot(request, p), KeyRow(case_, request, p));
      image.SetValue(Slot(request, p), ValueRow(case_, request, p));
    }
  }
  return image;
}

std::vector<RankRow> Runner::RowsOf(int64_t rank) const {
  std::vector<RankRow> rows;
  if (!partition_) {
    for (size_t i = 0; i < case_.requests.size(); ++i) {
      for (int64_t t = 0; t < case_.requests[i].new_tokens; ++t) {
        rows.push_back({static_cast<int64_t>(i), case_.requests[i].context + t,
                        static_cast<int64_t>(rows.size())});
      }
    }
    return rows;
  }
  for (const PcpRow& row : partition_->Rows(rank)) {
    rows.push_back(row.is_padding ? RankRow{} : RankRow{row.request, row.position, row.source});
  }
  return rows;
}

// The rows of key and value: with ranks, what an all-gather gives.
std::vector<RankRow> Runner::WrittenRows() const {
  std::vector<RankRow> rows;
  for (int64_t rank = 0; rank < case_.pcp; ++rank) {
    const std::vector<RankRow> local = RowsOf(rank);
    rows.insert(rows.end(), local.begin(), local.end());
  }
  return rows;
}

StridedImage Runner::HeadsImage(int64_t rows, int64_t heads) const {
  const int64_t head_stride = case_.head_size + (case_.strided ? 8 : 0);
  const int64_t row_stride = heads * head_stride + (case_.strided ? 24 : 0);
  return StridedImage(case_.dtype, {rows, heads, case_.head_size}, {row_stride, head_stride, 1});
}

StridedImage Runner::LseImage(int64_t rows) const {
  if (case_.lse == LseKind::kStrided) {  // heads outside, with a gap
    return StridedImage(DType::kF32, {rows, case_.heads}, {1, rows + 3});
  }
  return StridedImage(DType::kF32, {rows, case_.heads}, {case_.heads, 1});
}

Runner::RankIo Runner::MakeIo(const std::vector<RankRow>& rows) const {
  const auto count = static_cast<int64_t>(rows.size());
  const std::vector<RankRow> written = WrittenRows();
  const auto written_count = static_cast<int64_t>(written.size());
  RankIo io;
  io.query = HeadsImage(count + kExtraRows, case_.heads);
  io.out = HeadsImage(count + kExtraRows, case_.heads);
  io.key = HeadsImage(written_count + kExtraRows, case_.kv_heads);
  io.value = HeadsImage(written_count + kExtraRows, case_.kv_heads);
  io.lse = LseImage(count + kExtraRows);
  // Padding rows stay poison.
  for (int64_t i = 0; i < count; ++i) {
    if (rows[i].request < 0) continue;
    io.query.SetRow(i, QueryRow(case_, rows[i].request, rows[i].position));
  }
  for (int64_t i = 0; i < written_count; ++i) {
    if (written[i].request < 0) continue;
    io.key.SetRow(i, KeyRow(case_, written[i].request, written[i].position));
    io.value.SetRow(i, ValueRow(case_, written[i].request, written[i].position));
  }
  return io;
}

absl::StatusOr<std::shared_ptr<const Plan>> Runner::MakePlan(const AttentionLayer& layer,
                                                             int64_t rank) const {
  return layer.MakePlan(*metadata_, partition_ ? &*partition_ : nullptr, rank);
}

absl::Status Runner::Record(const AttentionLayer& layer, const StepBuffers& step,
                            const KvCacheView& cache, RankIo& io, Queue& queue) const {
  AttentionIo views;
  ASSIGN_OR_RETURN(views.query, io.query.ToDevice(backend_, queue));
  ASSIGN_OR_RETURN(views.key, io.key.ToDevice(backend_, queue));
  ASSIGN_OR_RETURN(views.value, io.value.ToDevice(backend_, queue));
  ASSIGN_OR_RETURN(views.out, io.out.ToDevice(backend_, queue));
  if (case_.lse != LseKind::kNone) {
    ASSIGN_OR_RETURN(views.lse, io.lse.ToDevice(backend_, queue));
  }
  views.cache = cache;
  return layer.Forward(queue, step, views);
}

absl::Status Runner::Fetch(RankIo& io, Queue& queue) const {
  RETURN_IF_ERROR(io.out.FromDevice(queue));
  return case_.lse == LseKind::kNone ? absl::OkStatus() : io.lse.FromDevice(queue);
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
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    if (rows[i].request < 0) {
      RETURN_IF_ERROR(CheckPadding(row, rank, io));
      continue;
    }
    const int64_t token = rows[i].token;
    bool same = place(output_.out, io.out, row, token);
    if (case_.lse != LseKind::kNone) same &= place(output_.lse, io.lse, row, token);
    if (!same) return Broken("rank ", rank, " has another result for token ", token);
    have_row_[token] = true;
  }
  const auto used = static_cast<int64_t>(rows.size());
  for (const auto& [name, image] : {std::pair("out", &io.out), std::pair("lse", &io.lse)}) {
    const absl::Status untouched = image->CheckPoison(name, used);
    if (!untouched.ok()) return Broken("rank ", rank, ": ", untouched.message());
  }
  return absl::OkStatus();
}

void Runner::AddWrittenTo(CacheImage& cache) const {
  for (const RankRow& row : WrittenRows()) {
    if (row.request < 0) continue;
    cache.SetKey(Slot(row.request, row.position), KeyRow(case_, row.request, row.position));
    cache.SetValue(Slot(row.request, row.position), ValueRow(case_, row.request, row.position));
  }
}

// Step buffers for exactly these plans, with poison in the workspace.
absl::StatusOr<std::unique_ptr<StepBuffers>> MakeStep(
    Backend& backend, Queue& queue, const std::vector<std::shared_ptr<const Plan>>& plans) {
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

absl::Status Runner::RunRank(const AttentionLayer& layer, int64_t rank) {
  const std::vector<RankRow> rows = RowsOf(rank);
  RankIo io = MakeIo(rows);
  ASSIGN_OR_RETURN(CacheImage cache, ContextImage());
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend_.CreateQueue());
  ASSIGN_OR_RETURN(const std::shared_ptr<const Plan> plan, MakePlan(layer, rank));
  ASSIGN_OR_RETURN(const std::unique_ptr<StepBuffers> step, MakeStep(backend_, *queue, {plan}));
  ASSIGN_OR_RETURN(const KvCacheView view, cache.ToDevice(backend_, *queue));
  RETURN_IF_ERROR(Record(layer, *step, view, io, *queue));
  RETURN_IF_ERROR(Fetch(io, *queue));
  AddWrittenTo(cache);
  const absl::Status written = cache.CheckDevice(*queue);
  if (!written.ok()) return Broken("rank ", rank, ": ", written.message());
  return Collect(rows, rank, io);
}

absl::Status Runner::Prepare(const AttentionCase& lengths) {
  ASSIGN_OR_RETURN(layout_, case_.Layout());
  AssignBlocks(lengths);
  RETURN_IF_ERROR(BuildMetadata());
  ResetOutput();
  return absl::OkStatus();
}

void Runner::ResetOutput() {
  const int64_t rows = case_.num_rows();
  const int64_t out_bytes = rows * case_.heads * case_.head_size * SizeOf(case_.dtype);
  output_.out.assign(static_cast<size_t>(out_bytes), 0);
  if (case_.lse != LseKind::kNone)
    output_.lse.assign(static_cast<size_t>(rows * case_.heads * 4), 0);
  have_row_.assign(static_cast<size_t>(rows), false);
}

absl::StatusOr<AttentionOutput> Runner::Run() {
  RETURN_IF_ERROR(Prepare(case_));
  ASSIGN_OR_RETURN(const AttentionLayer layer,
                   AttentionLayer::Create(backend_.shared_from_this(), case_.Spec(), layout_));
  for (int64_t rank = 0; rank < case_.pcp; ++rank) RETURN_IF_ERROR(RunRank(layer, rank));
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
      AttentionLayer::Create(backend.shared_from_this(), c.Spec(), runners[0].layout()));
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  std::vector<std::shared_ptr<const Plan>> plans;
  for (const Runner& runner : runners) {
    ASSIGN_OR_RETURN(plans.emplace_back(), runner.MakePlan(layer, 0));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<StepBuffers> step, MakeStep(backend, *queue, plans));
  ASSIGN_OR_RETURN(CacheImage context, runners[0].ContextImage());
  CacheImage caches[] = {context, context};
  Runner::RankIo io[2][2];
  KvCacheView views[2];
  for (int s = 0; s < 2; ++s) {
    RETURN_IF_ERROR(step->Update(*queue, plans[s]));
    for (int l = 0; l < 2; ++l) {
      if (s == 0) {
        ASSIGN_OR_RETURN(views[l], caches[l].ToDevice(backend, *queue));
      }
      io[s][l] = runners[s].MakeIo(runners[s].RowsOf(0));
      RETURN_IF_ERROR(runners[s].Record(layer, *step, views[l], io[s][l], *queue));
    }
  }
  for (int s = 0; s < 2; ++s) {
    for (int l = 0; l < 2; ++l) {
      runners[s].ResetOutput();
      RETURN_IF_ERROR(runners[s].Fetch(io[s][l], *queue));
      RETURN_IF_ERROR(runners[s].Collect(runners[s].RowsOf(0), 0, io[s][l]));
      steps.outputs[s][l] = runners[s].output();
    }
  }
  return steps;
}

}  // namespace weft::testing
