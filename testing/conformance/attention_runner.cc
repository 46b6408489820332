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
  Runner(Backend& backend, const AttentionCase& c) : backend_(backend), case_(c) {}

  absl::StatusOr<AttentionOutput> Run();

 private:
  struct RankIo {
    StridedImage query, key, value, out, lse;
    std::unique_ptr<StepBuffers> step;
  };

  void AssignBlocks();
  absl::Status BuildMetadata();
  absl::StatusOr<CacheImage> ContextImage() const;
  int64_t Slot(int64_t request, int64_t position) const;
  std::vector<RankRow> RowsOf(int64_t rank) const;
  std::vector<RankRow> WrittenRows() const;
  StridedImage HeadsImage(int64_t rows, int64_t heads) const;
  StridedImage LseImage(int64_t rows) const;
  RankIo MakeIo(const std::vector<RankRow>& rows) const;
  absl::Status RunRank(const AttentionLayer& layer, int64_t rank);
  absl::Status Record(const AttentionLayer& layer, int64_t rank, RankIo& io, CacheImage& cache,
                      Queue& queue);
  absl::Status Collect(const std::vector<RankRow>& rows, int64_t rank, const RankIo& io);
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

void Runner::AssignBlocks() {
  std::vector<int64_t> used;
  num_blocks_ = kSpareBlocks;
  for (const CaseRequest& request : case_.requests) {
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

absl::Status Runner::Record(const AttentionLayer& layer, int64_t rank, RankIo& io,
                            CacheImage& cache, Queue& queue) {
  ASSIGN_OR_RETURN(std::shared_ptr<const Plan> plan,
                   layer.MakePlan(*metadata_, partition_ ? &*partition_ : nullptr, rank));
  StepLimits limits;  // exactly what the plan needs
  limits.max_slots = static_cast<int64_t>(plan->slots().size());
  limits.max_blocks = static_cast<int64_t>(plan->blocks().size());
  limits.max_tiles = static_cast<int64_t>(plan->tiles().size());
  limits.max_decode_rows = static_cast<int64_t>(plan->decode_rows().size());
  limits.max_decode_splits = static_cast<int64_t>(plan->decode_splits().size());
  limits.workspace_bytes = plan->workspace_bytes();
  ASSIGN_OR_RETURN(io.step, StepBuffers::Create(backend_.shared_from_this(), limits));
  RETURN_IF_ERROR(io.step->Update(queue, plan));
  if (plan->workspace_bytes() > 0) {
    RETURN_IF_ERROR(
        queue.Fill(io.step->tables().workspace.address(), plan->workspace_bytes(), kPoison));
  }
  AttentionIo views;
  ASSIGN_OR_RETURN(views.query, io.query.ToDevice(backend_, queue));
  ASSIGN_OR_RETURN(views.key, io.key.ToDevice(backend_, queue));
  ASSIGN_OR_RETURN(views.value, io.value.ToDevice(backend_, queue));
  ASSIGN_OR_RETURN(views.out, io.out.ToDevice(backend_, queue));
  if (case_.lse != LseKind::kNone) {
    ASSIGN_OR_RETURN(views.lse, io.lse.ToDevice(backend_, queue));
  }
  ASSIGN_OR_RETURN(views.cache, cache.ToDevice(backend_, queue));
  return layer.Forward(queue, *io.step, views);
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

absl::Status Runner::RunRank(const AttentionLayer& layer, int64_t rank) {
  const std::vector<RankRow> rows = RowsOf(rank);
  RankIo io = MakeIo(rows);
  ASSIGN_OR_RETURN(CacheImage cache, ContextImage());
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend_.CreateQueue());
  RETURN_IF_ERROR(Record(layer, rank, io, cache, *queue));
  RETURN_IF_ERROR(io.out.FromDevice(*queue));
  if (case_.lse != LseKind::kNone) RETURN_IF_ERROR(io.lse.FromDevice(*queue));
  for (const RankRow& row : WrittenRows()) {
    if (row.request < 0) continue;
    cache.SetKey(Slot(row.request, row.position), KeyRow(case_, row.request, row.position));
    cache.SetValue(Slot(row.request, row.position), ValueRow(case_, row.request, row.position));
  }
  const absl::Status written = cache.CheckDevice(*queue);
  if (!written.ok()) return Broken("rank ", rank, ": ", written.message());
  return Collect(rows, rank, io);
}

absl::StatusOr<AttentionOutput> Runner::Run() {
  ASSIGN_OR_RETURN(layout_, case_.Layout());
  ASSIGN_OR_RETURN(const AttentionLayer layer,
                   AttentionLayer::Create(backend_.shared_from_this(), case_.Spec(), layout_));
  AssignBlocks();
  RETURN_IF_ERROR(BuildMetadata());
  const int64_t rows = case_.num_rows();
  output_.out.resize(
      static_cast<size_t>(rows * case_.heads * case_.head_size * SizeOf(case_.dtype)));
  if (case_.lse != LseKind::kNone) {
    output_.lse.resize(static_cast<size_t>(rows * case_.heads * 4));
  }
  have_row_.assign(static_cast<size_t>(rows), false);
  for (int64_t rank = 0; rank < case_.pcp; ++rank) RETURN_IF_ERROR(RunRank(layer, rank));
  for (int64_t token = 0; token < rows; ++token) {
    if (!have_row_[token]) return Broken("no rank has token ", token);
  }
  return std::move(output_);
}

}  // namespace

absl::StatusOr<AttentionOutput> RunAttention(Backend& backend, const AttentionCase& c) {
  return Runner(backend, c).Run();
}

}  // namespace weft::testing
