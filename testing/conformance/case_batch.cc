// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/case_batch.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/checked_math.h"
#include "core/status_macros.h"
#include "testing/conformance/attention_data.h"
#include "testing/conformance/random.h"

namespace weft::testing {
namespace {

// Rows behind the last one that a call may not touch.
constexpr int64_t kExtraRows = 2;
// Blocks of the pool that belong to nobody.
constexpr int64_t kSpareBlocks = 3;
// Entries behind the used ones of a request's block ids, which nobody may read.
constexpr int64_t kTableTail = 2;

constexpr int32_t kNoBlock = std::numeric_limits<int32_t>::max();

// A token's heads, full of what nobody may use.
std::vector<uint8_t> PoisonRow(PoisonKind kind, DType dtype, int64_t elements) {
  std::vector<uint8_t> row(static_cast<size_t>(elements * SizeOf(dtype)));
  for (int64_t i = 0; i < elements; ++i) {
    const float sign = i % 2 == 0 ? 1.0f : -1.0f;
    float value = 0.0f;
    if (kind == PoisonKind::kNan) value = std::numeric_limits<float>::quiet_NaN();
    if (kind == PoisonKind::kInfinity) value = sign * std::numeric_limits<float>::infinity();
    if (kind == PoisonKind::kBig) value = sign * (dtype == DType::kF16 ? 6e4f : 1e30f);
    StoreFloat(dtype, row.data(), i, value);
  }
  return row;
}

}  // namespace

absl::StatusOr<CaseBatch> CaseBatch::Create(const AttentionCase& c, const AttentionCase& lengths) {
  CaseBatch batch(c);
  ASSIGN_OR_RETURN(batch.layout_, c.Layout());
  batch.AssignBlocks(lengths);
  RETURN_IF_ERROR(batch.BuildMetadata());
  return batch;
}

void CaseBatch::AssignBlocks(const AttentionCase& lengths) {
  std::vector<int64_t> used;
  num_blocks_ = kSpareBlocks;
  for (const CaseRequest& request : lengths.requests) {
    used.push_back(CeilDiv(request.context + request.new_tokens, case_->block_size));
    num_blocks_ += used.back();
  }
  std::vector<int32_t> pool(static_cast<size_t>(num_blocks_));
  for (int64_t i = 0; i < num_blocks_; ++i) pool[i] = static_cast<int32_t>(i);
  RandomStream random({case_->pages, 0x9a6e});
  for (size_t i = pool.size(); i > 1; --i) std::swap(pool[i - 1], pool[random.Below(i)]);
  // No block, none again, and one of another request.
  const int32_t tails[] = {kNoBlock, -1, pool.front()};
  size_t next = 0;
  for (int64_t count : used) {
    std::vector<int32_t> ids(pool.begin() + static_cast<int64_t>(next),
                             pool.begin() + static_cast<int64_t>(next) + count);
    next += static_cast<size_t>(count);
    ids.insert(ids.end(), kTableTail, tails[case_->pages % 3]);
    block_ids_.push_back(std::move(ids));
  }
}

absl::Status CaseBatch::BuildMetadata() {
  RequestBatch batch;
  std::vector<std::vector<int32_t>> ids = block_ids_;
  for (size_t i = 0; i < case_->requests.size(); ++i) {
    const CaseRequest& from = case_->requests[i];
    const int64_t used = CeilDiv(from.context + from.new_tokens, case_->block_size);
    const int64_t freed = case_->evict ? FirstNeeded(*case_, from) / case_->block_size : 0;
    for (int64_t column = 0; column < static_cast<int64_t>(ids[i].size()); ++column) {
      if (column < used) ids[i][column] += static_cast<int32_t>(case_->bias);
      if (column < freed) ids[i][column] = column % 2 == 0 ? kNoBlock : -1;
    }
    Request request;
    request.kind = from.kind;
    request.num_new_tokens = from.new_tokens;
    request.num_computed_tokens = from.context;
    request.block_ids = ids[i];
    batch.requests.push_back(request);
  }
  MetadataOptions options;
  if (case_->evict) options.window = case_->window;
  ASSIGN_OR_RETURN(
      metadata_,
      AttentionMetadataBuilder(layout_, num_blocks_ + case_->bias).Build(batch, options));
  if (case_->pcp == 1) return absl::OkStatus();
  ASSIGN_OR_RETURN(partition_, PcpPartition::Build(ShapesOf(*metadata_), case_->pcp));
  return absl::OkStatus();
}

int64_t CaseBatch::Slot(int64_t request, int64_t position) const {
  return block_ids_[request][position / case_->block_size] * case_->block_size +
         position % case_->block_size;
}

void CaseBatch::SetToken(CacheImage& cache, int64_t request, int64_t position) const {
  const int64_t slot = Slot(request, position);
  cache.SetKey(slot, KeyRowAs(*case_, case_->kv_dtype(), request, position));
  cache.SetValue(slot, ValueRowAs(*case_, case_->kv_dtype(), request, position));
}

absl::StatusOr<CacheImage> CaseBatch::ContextImage() const {
  CacheOptions options;
  options.segments = case_->segments;
  options.offset = case_->io == IoKind::kOffset ? 1 : 0;
  options.place = case_->place;
  options.bias = case_->bias;
  ASSIGN_OR_RETURN(CacheImage image, CacheImage::Create(layout_, num_blocks_, options));
  const int64_t elements = case_->kv_heads * case_->head_size;
  const std::vector<uint8_t> key = PoisonRow(case_->poison_keys, layout_.dtype(), elements);
  const std::vector<uint8_t> value = PoisonRow(case_->poison_values, layout_.dtype(), elements);
  for (int64_t slot = 0; slot < image.num_slots(); ++slot) {
    image.SetKey(slot, key);
    image.SetValue(slot, value);
  }
  const bool shared = case_->keys == KeyMode::kShared;
  for (size_t i = 0; i < case_->requests.size(); ++i) {
    const CaseRequest& request = case_->requests[i];
    const int64_t end = request.context + (shared ? request.new_tokens : 0);
    for (int64_t p = FirstNeeded(*case_, request); p < end; ++p) {
      SetToken(image, static_cast<int64_t>(i), p);
    }
  }
  return image;
}

void CaseBatch::AddWrittenTo(CacheImage& cache) const {
  if (!case_->writes_cache()) return;
  for (const RankRow& row : WrittenRows()) {
    if (row.request >= 0) SetToken(cache, row.request, row.position);
  }
}

std::vector<RankRow> CaseBatch::RowsOf(int64_t rank) const {
  std::vector<RankRow> rows;
  if (!partition_) {
    for (size_t i = 0; i < case_->requests.size(); ++i) {
      for (int64_t t = 0; t < case_->requests[i].new_tokens; ++t) {
        rows.push_back({static_cast<int64_t>(i), case_->requests[i].context + t,
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

std::vector<RankRow> CaseBatch::WrittenRows() const {
  std::vector<RankRow> rows;
  for (int64_t rank = 0; rank < case_->pcp; ++rank) {
    const std::vector<RankRow> local = RowsOf(rank);
    rows.insert(rows.end(), local.begin(), local.end());
  }
  return rows;
}

StridedImage CaseBatch::HeadsImage(DType dtype, int64_t rows, int64_t heads) const {
  const bool gaps = case_->io == IoKind::kStrided;
  const int64_t head_stride = case_->head_size + (gaps ? 8 : 0);
  const int64_t row_stride = heads * head_stride + (gaps ? 24 : 0);
  const int64_t offset = case_->io == IoKind::kOffset ? SizeOf(dtype) : 0;
  return StridedImage(dtype, {rows, heads, case_->head_size}, {row_stride, head_stride, 1}, offset,
                      case_->place);
}

StridedImage CaseBatch::LseImage(int64_t rows) const {
  const bool strided = case_->lse == LseKind::kStrided;  // heads outside, with a gap
  const int64_t offset = case_->io == IoKind::kOffset ? SizeOf(DType::kF32) : 0;
  return StridedImage(DType::kF32, {rows, case_->heads},
                      {strided ? 1 : case_->heads, strided ? rows + 3 : 1}, offset, case_->place);
}

RankIo CaseBatch::MakeIo(const std::vector<RankRow>& rows) const {
  const auto count = static_cast<int64_t>(rows.size());
  const std::vector<RankRow> written = WrittenRows();
  const auto written_count = static_cast<int64_t>(written.size());
  // Nothing stands between the last row and a page that faults.
  const int64_t extra = case_->place == Place::kDevice ? kExtraRows : 0;
  RankIo io;
  io.query = HeadsImage(case_->query_dtype(), count + extra, case_->heads);
  io.out = HeadsImage(case_->output_dtype(), count + extra, case_->heads);
  io.key = HeadsImage(case_->key_dtype(), written_count + extra, case_->kv_heads);
  io.value = HeadsImage(case_->key_dtype(), written_count + extra, case_->kv_heads);
  io.lse = LseImage(count + extra);
  for (int64_t i = 0; i < count; ++i) {
    if (rows[i].request < 0) continue;
    io.query.SetRow(i, QueryRow(*case_, rows[i].request, rows[i].position));
  }
  for (int64_t i = 0; i < written_count; ++i) {
    const auto [request, position, token] = written[i];
    if (request < 0) continue;
    io.key.SetRow(i, KeyRowAs(*case_, case_->key_dtype(), request, position));
    io.value.SetRow(i, ValueRowAs(*case_, case_->key_dtype(), request, position));
  }
  return io;
}

RankIo CaseBatch::MakeState(int64_t rows) const {
  RankIo state;
  state.out = StridedImage(DType::kF32, {rows, case_->heads, case_->head_size},
                           {case_->heads * case_->head_size, case_->head_size, 1}, 0, case_->place);
  state.lse = StridedImage(DType::kF32, {rows, case_->heads}, {case_->heads, 1}, 0, case_->place);
  return state;
}

}  // namespace weft::testing
