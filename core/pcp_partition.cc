// SPDX-License-Identifier: Apache-2.0
#include "core/pcp_partition.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/fingerprint.h"
#include "core/status_macros.h"

namespace weft {
namespace {

constexpr int64_t kMaxIndex = std::numeric_limits<int32_t>::max();

absl::Status CheckRequest(size_t index, const RequestShape& shape) {
  if (shape.num_new_tokens < 0) {
    return absl::InvalidArgumentError(absl::StrCat("request ", index, ": num_new_tokens is ",
                                                   shape.num_new_tokens, ", must be at least 0"));
  }
  if (shape.num_computed_tokens < 0) {
    return absl::InvalidArgumentError(absl::StrCat("request ", index, ": num_computed_tokens is ",
                                                   shape.num_computed_tokens,
                                                   ", must be at least 0"));
  }
  // Each term first: their sum may overflow.
  if (shape.num_new_tokens > kMaxIndex || shape.num_computed_tokens > kMaxIndex ||
      shape.num_new_tokens + shape.num_computed_tokens > kMaxIndex) {
    return absl::OutOfRangeError(absl::StrCat("request ", index, ": ", shape.num_computed_tokens,
                                              " computed and ", shape.num_new_tokens,
                                              " new tokens are more than ", kMaxIndex));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<RequestShape> ShapesOf(const AttentionMetadata& metadata) {
  std::vector<RequestShape> shapes(metadata.num_requests());
  for (size_t i = 0; i < shapes.size(); ++i) {
    shapes[i] = {metadata.kinds()[i],
                 metadata.query_start_loc()[i + 1] - metadata.query_start_loc()[i],
                 metadata.context_lens()[i]};
  }
  return shapes;
}

absl::StatusOr<PcpPartition> PcpPartition::Build(absl::Span<const RequestShape> requests,
                                                 int64_t world_size, const PcpLimits& limits) {
  if (world_size < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("PCP world size is ", world_size, ", must be at least 1"));
  }
  if (world_size > kMaxIndex) {
    return absl::OutOfRangeError(
        absl::StrCat("PCP world size is ", world_size, ", must be at most ", kMaxIndex));
  }
  PcpPartition result;
  result.world_size_ = world_size;
  result.requests_.assign(requests.begin(), requests.end());
  result.places_.reserve(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    RETURN_IF_ERROR(CheckRequest(i, requests[i]));
    const int64_t n = requests[i].num_new_tokens;
    const bool decode = requests[i].kind == RequestKind::kDecode;
    Place place;
    place.local_begin = result.local_total_;
    place.padded_begin = result.padded_total_;
    place.global_begin = result.num_tokens_;
    place.chunk = decode ? 0 : CeilDiv(n, 2 * world_size);
    place.local_rows = decode ? n : 2 * place.chunk;
    result.local_total_ += place.local_rows;
    // Neither factor is over int32, so nothing here wraps before it is seen to be too large.
    result.padded_total_ += place.local_rows * world_size;
    result.num_tokens_ += n;
    if (result.padded_total_ > kMaxIndex) {
      return absl::OutOfRangeError(absl::StrCat("request ", i, ": the step has ",
                                                result.padded_total_, " rows over ", world_size,
                                                " ranks up to here, more than ", kMaxIndex));
    }
    result.places_.push_back(place);
  }
  if (limits.max_padded_tokens > 0 && result.padded_total_ > limits.max_padded_tokens) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the step needs ", result.padded_total_, " padded rows (", result.num_tokens_,
                     " tokens of ", requests.size(), " requests over ", world_size,
                     " ranks), the capacity is ", limits.max_padded_tokens));
  }
  return result;
}

absl::StatusOr<PcpPartition> PcpPartition::BuildFromArrays(
    absl::Span<const int64_t> num_new_tokens, absl::Span<const int64_t> num_computed_tokens,
    int64_t decode_threshold, int64_t world_size, const PcpLimits& limits) {
  ASSIGN_OR_RETURN(std::vector<RequestKind> kinds,
                   ClassifyRequests(num_new_tokens, num_computed_tokens, decode_threshold));
  std::optional<size_t> first_prefill;
  std::vector<RequestShape> shapes(kinds.size());
  for (size_t i = 0; i < kinds.size(); ++i) {
    shapes[i] = {kinds[i], num_new_tokens[i], num_computed_tokens[i]};
    if (kinds[i] == RequestKind::kPrefill) {
      if (!first_prefill.has_value()) first_prefill = i;
    } else if (first_prefill.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "request ", i, ": a decode (", num_new_tokens[i], " new, ", num_computed_tokens[i],
          " computed tokens, threshold ", decode_threshold, ") behind request ", *first_prefill,
          ", a prefill; decodes must come first"));
    }
  }
  return Build(shapes, world_size, limits);
}

int64_t PcpPartition::SafeCapacity(int64_t max_tokens, int64_t max_requests,
                                   int64_t decode_threshold, int64_t world_size) {
  constexpr int64_t kOverflow = std::numeric_limits<int64_t>::max();
  const auto copies = CheckedMul(decode_threshold, world_size - 1);
  const auto twice = CheckedMul(2, world_size);
  if (!copies || !twice) return kOverflow;
  const auto extra = CheckedMul(max_requests, std::max(*twice - 1, *copies));
  if (!extra) return kOverflow;
  return CheckedAdd(max_tokens, *extra).value_or(kOverflow);
}

std::vector<int64_t> PcpPartition::LocalNumScheduled() const {
  std::vector<int64_t> result;
  result.reserve(places_.size());
  for (const Place& place : places_) result.push_back(place.local_rows);
  return result;
}

int PcpPartition::Chunks(int64_t request, int64_t rank, Chunk chunks[2]) const {
  const Place& place = places_[request];
  const int64_t n = requests_[request].num_new_tokens;
  if (place.local_rows == 0) return 0;
  if (place.chunk == 0) {
    chunks[0] = {place.local_begin, 0, n, n};
    return 1;
  }
  const int64_t c = place.chunk;
  const int64_t head = rank * c;
  const int64_t tail = (2 * world_size_ - 1 - rank) * c;
  chunks[0] = {place.local_begin, head, c, std::clamp<int64_t>(n - head, 0, c)};
  chunks[1] = {place.local_begin + c, tail, c, std::clamp<int64_t>(n - tail, 0, c)};
  return 2;
}

std::vector<PcpRow> PcpPartition::Rows(int64_t rank) const {
  std::vector<PcpRow> rows;
  rows.reserve(local_total_);
  Chunk chunks[2];
  for (int64_t i = 0; i < num_requests(); ++i) {
    const int64_t first_position = requests_[i].num_computed_tokens;
    const int64_t first_source = places_[i].global_begin;
    const int count = Chunks(i, rank, chunks);
    for (int j = 0; j < count; ++j) {
      for (int64_t k = 0; k < chunks[j].num_rows; ++k) {
        const bool padding = k >= chunks[j].num_real;
        const int64_t token = padding ? 0 : chunks[j].offset + k;
        rows.push_back(
            {static_cast<int32_t>(i), first_position + token, first_source + token, padding});
      }
    }
  }
  return rows;
}

std::vector<Segment> PcpPartition::Segments(int64_t rank) const {
  std::vector<Segment> segments;
  Chunk chunks[2];
  for (int64_t i = 0; i < num_requests(); ++i) {
    const int count = Chunks(i, rank, chunks);
    for (int j = 0; j < count; ++j) {
      if (chunks[j].num_real == 0) continue;
      segments.push_back({static_cast<int32_t>(i), chunks[j].first_row, chunks[j].num_real,
                          requests_[i].num_computed_tokens + chunks[j].offset});
    }
  }
  return segments;
}

// Where the padded row stands that is `padded_offset` rows into the request's.
int64_t PcpPartition::GatheredRow(int64_t request, int64_t padded_offset) const {
  const Place& place = places_[request];
  if (place.chunk == 0) {  // the copies of rank 0, then those of rank 1, ...
    const int64_t rank = padded_offset / place.local_rows;
    return rank * local_total_ + place.local_begin + padded_offset % place.local_rows;
  }
  const int64_t chunk = padded_offset / place.chunk;
  const int64_t k = padded_offset % place.chunk;
  if (chunk < world_size_) return chunk * local_total_ + place.local_begin + k;
  return (2 * world_size_ - 1 - chunk) * local_total_ + place.local_begin + place.chunk + k;
}

std::vector<int64_t> PcpPartition::RestoreIndex() const {
  std::vector<int64_t> index;
  index.reserve(padded_total_);
  for (int64_t i = 0; i < num_requests(); ++i) {
    const int64_t rows = places_[i].local_rows * world_size_;
    for (int64_t t = 0; t < rows; ++t) index.push_back(GatheredRow(i, t));
  }
  return index;
}

std::vector<bool> PcpPartition::UnpadMask() const {
  std::vector<bool> mask(padded_total_, false);
  for (int64_t i = 0; i < num_requests(); ++i) {
    const auto begin = mask.begin() + places_[i].padded_begin;
    std::fill(begin, begin + requests_[i].num_new_tokens, true);
  }
  return mask;
}

std::vector<int64_t> PcpPartition::CompactRestoreIndex() const {
  std::vector<int64_t> index;
  index.reserve(num_tokens_);
  for (int64_t i = 0; i < num_requests(); ++i) {
    for (int64_t t = 0; t < requests_[i].num_new_tokens; ++t) index.push_back(GatheredRow(i, t));
  }
  return index;
}

std::vector<int64_t> PcpPartition::PadIndex() const {
  std::vector<int64_t> index(padded_total_, -1);
  for (int64_t i = 0; i < num_requests(); ++i) {
    for (int64_t t = 0; t < requests_[i].num_new_tokens; ++t) {
      index[places_[i].padded_begin + t] = places_[i].global_begin + t;
    }
  }
  return index;
}

absl::Status PcpPartition::CheckSlots(absl::Span<const int64_t> slots) const {
  if (static_cast<int64_t>(slots.size()) == num_tokens_) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "slot mapping has ", slots.size(), " entries, the step has ", num_tokens_, " tokens"));
}

absl::StatusOr<std::vector<int64_t>> PcpPartition::PadSlots(absl::Span<const int64_t> slots) const {
  RETURN_IF_ERROR(CheckSlots(slots));
  std::vector<int64_t> padded = PadIndex();
  for (int64_t& entry : padded) {
    if (entry >= 0) entry = slots[entry];
  }
  return padded;
}

absl::StatusOr<std::vector<int64_t>> PcpPartition::GatheredSlots(
    absl::Span<const int64_t> slots) const {
  RETURN_IF_ERROR(CheckSlots(slots));
  std::vector<int64_t> gathered(padded_total_, -1);
  const std::vector<int64_t> rows = CompactRestoreIndex();
  for (size_t token = 0; token < rows.size(); ++token) gathered[rows[token]] = slots[token];
  return gathered;
}

uint64_t PcpPartition::fingerprint() const {
  Fingerprint fingerprint;
  fingerprint.Add(world_size_).Add(num_requests());
  for (const RequestShape& request : requests_) {
    fingerprint.Add(request.kind).Add(request.num_new_tokens).Add(request.num_computed_tokens);
  }
  return fingerprint.value();
}

// The positions that `rank` has of `request`: "0-1 6-7", "8 .", dots for padding rows.
std::string PcpPartition::Cell(int64_t request, int64_t rank) const {
  constexpr int64_t kMaxDots = 4;
  std::string text;
  Chunk chunks[2];
  const int count = Chunks(request, rank, chunks);
  for (int j = 0; j < count; ++j) {
    const Chunk& chunk = chunks[j];
    const int64_t first = requests_[request].num_computed_tokens + chunk.offset;
    const int64_t padding = chunk.num_rows - chunk.num_real;
    if (chunk.num_real > 0) absl::StrAppend(&text, text.empty() ? "" : " ", first);
    if (chunk.num_real > 1) absl::StrAppend(&text, "-", first + chunk.num_real - 1);
    if (padding > 0) absl::StrAppend(&text, text.empty() ? "" : " ");
    if (padding > kMaxDots) {
      absl::StrAppend(&text, ".x", padding);
    } else {
      text.append(padding, '.');
    }
  }
  return text;
}

std::string PcpPartition::ToString() const {
  constexpr int64_t kMaxShown = 32;
  const int64_t shown_requests = std::min(num_requests(), kMaxShown);
  const int64_t shown_ranks = std::min(world_size_, kMaxShown);
  // Column 0 names the ranks, row 0 the requests.
  std::vector<std::vector<std::string>> table(shown_ranks + 1);
  table[0].push_back("");
  for (int64_t rank = 0; rank < shown_ranks; ++rank) {
    table[rank + 1].push_back(absl::StrCat("rank ", rank));
  }
  for (int64_t i = 0; i < shown_requests; ++i) {
    table[0].push_back(absl::StrCat(i, ":", Name(requests_[i].kind)));
    for (int64_t rank = 0; rank < shown_ranks; ++rank) table[rank + 1].push_back(Cell(i, rank));
  }

  std::string text =
      absl::StrCat("PCP of ", world_size_, world_size_ == 1 ? " rank: " : " ranks: ", num_tokens_,
                   " tokens of ", num_requests(), " requests, ", local_total_,
                   " rows on each rank, ", padded_total_, " in all\n");
  std::vector<size_t> widths(shown_requests + 1, 0);
  for (const auto& row : table) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : table) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += " | ";
      line += row[i] + std::string(widths[i] - row[i].size(), ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  if (shown_requests < num_requests()) {
    absl::StrAppend(&text, "and ", num_requests() - shown_requests, " more requests\n");
  }
  if (shown_ranks < world_size_) {
    absl::StrAppend(&text, "and ", world_size_ - shown_ranks, " more ranks\n");
  }
  return text;
}

}  // namespace weft
