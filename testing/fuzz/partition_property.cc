// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "core/pcp_partition.h"
#include "core/request_batch.h"
#include "testing/fuzz/fuzz_input.h"
#include "testing/fuzz/properties.h"

namespace weft::fuzz {
namespace {

using Wide = __int128;
using Shapes = std::vector<RequestShape>;

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();
// Larger steps are legal; their arrays would only cost memory.
constexpr int64_t kMaxRows = 1 << 13;

struct Case {
  Shapes shapes;
  int64_t world_size = 1;
  PcpLimits limits;
};

Case ReadCase(FuzzInput& input) {
  Case c;
  c.world_size = input.Integer();
  if (input.Below(4) == 1) c.limits.max_padded_tokens = input.Integer();
  c.shapes.resize(input.Below(9));
  for (RequestShape& shape : c.shapes) {
    shape.kind = input.Below(2) == 0 ? RequestKind::kPrefill : RequestKind::kDecode;
    shape.num_new_tokens = input.Integer();
    shape.num_computed_tokens = input.Integer();
  }
  return c;
}

// ---- The model ----------------------------------------------------------------------------------

Wide LocalRows(const RequestShape& shape, int64_t world_size) {
  if (shape.kind == RequestKind::kDecode) return shape.num_new_tokens;
  const Wide chunks = Wide{2} * world_size;
  return 2 * ((shape.num_new_tokens + chunks - 1) / chunks);
}

// The code that Build must answer with. An early request's fault hides a later one's.
absl::StatusCode Verdict(const Case& c, Wide& padded) {
  padded = 0;
  if (c.world_size < 1) return absl::StatusCode::kInvalidArgument;
  if (c.world_size > kMaxInt32) return absl::StatusCode::kOutOfRange;
  for (const RequestShape& shape : c.shapes) {
    if (shape.num_new_tokens < 0 || shape.num_computed_tokens < 0) {
      return absl::StatusCode::kInvalidArgument;
    }
    if (Wide{shape.num_new_tokens} + shape.num_computed_tokens > kMaxInt32) {
      return absl::StatusCode::kOutOfRange;
    }
    padded += LocalRows(shape, c.world_size) * c.world_size;
    if (padded > kMaxInt32) return absl::StatusCode::kOutOfRange;
  }
  if (c.limits.max_padded_tokens > 0 && padded > c.limits.max_padded_tokens) {
    return absl::StatusCode::kResourceExhausted;
  }
  return absl::StatusCode::kOk;
}

// ---- P1 to P5 -----------------------------------------------------------------------------------

// All ranks' rows, rank-major; what an all-gather of the rows themselves would give.
std::vector<PcpRow> Gathered(const PcpPartition& partition) {
  std::vector<PcpRow> gathered;
  for (int64_t rank = 0; rank < partition.world_size(); ++rank) {
    const std::vector<PcpRow> rows = partition.Rows(rank);
    CHECK_EQ(static_cast<int64_t>(rows.size()), partition.local_total()) << "P3: rank " << rank;
    gathered.insert(gathered.end(), rows.begin(), rows.end());
  }
  CHECK_EQ(static_cast<int64_t>(gathered.size()), partition.padded_total()) << "P3";
  return gathered;
}

void CheckCover(const Case& c, const PcpPartition& partition, const std::vector<PcpRow>& gathered) {
  std::vector<int64_t> times(partition.num_tokens(), 0);
  for (const PcpRow& row : gathered) {
    CHECK(row.source >= 0 && row.source < partition.num_tokens()) << "P1: source " << row.source;
    if (!row.is_padding) ++times[row.source];
  }
  int64_t token = 0;
  for (size_t i = 0; i < c.shapes.size(); ++i) {
    const bool decode = c.shapes[i].kind == RequestKind::kDecode;
    const int64_t first = token;
    for (; token < first + c.shapes[i].num_new_tokens; ++token) {
      CHECK_EQ(times[token], decode ? c.world_size : 1) << "P1: request " << i;
    }
  }
  for (const PcpRow& row : gathered) {
    int64_t first = 0;
    for (int32_t i = 0; i < row.request; ++i) first += c.shapes[i].num_new_tokens;
    const RequestShape& shape = c.shapes[row.request];
    CHECK_LT(row.source - first, shape.num_new_tokens);
    CHECK_EQ(row.position, shape.num_computed_tokens + row.source - first);
  }
}

void CheckRestore(const PcpPartition& partition, const std::vector<PcpRow>& gathered) {
  const std::vector<int64_t> restore = partition.RestoreIndex();
  const std::vector<bool> mask = partition.UnpadMask();
  const std::vector<int64_t> compact = partition.CompactRestoreIndex();
  CHECK_EQ(restore.size(), gathered.size());
  CHECK_EQ(mask.size(), gathered.size());
  CHECK_EQ(static_cast<int64_t>(compact.size()), partition.num_tokens());
  std::vector<int64_t> sorted = restore;
  std::sort(sorted.begin(), sorted.end());
  int64_t token = 0;
  for (size_t i = 0; i < restore.size(); ++i) {
    CHECK_EQ(sorted[i], static_cast<int64_t>(i)) << "P2: not a permutation";
    if (!mask[i]) continue;
    CHECK_EQ(gathered[restore[i]].source, token) << "P2";
    CHECK_EQ(compact[token], restore[i]) << "P2";
    CHECK(!gathered[restore[i]].is_padding);
    ++token;
  }
  CHECK_EQ(token, partition.num_tokens()) << "P2";
}

void CheckSlots(const PcpPartition& partition, const std::vector<PcpRow>& gathered) {
  std::vector<int64_t> slots(partition.num_tokens());
  for (size_t i = 0; i < slots.size(); ++i) slots[i] = 100 + 3 * static_cast<int64_t>(i);
  const absl::StatusOr<std::vector<int64_t>> padded = partition.PadSlots(slots);
  const absl::StatusOr<std::vector<int64_t>> in_gathered = partition.GatheredSlots(slots);
  CHECK_OK(padded);
  CHECK_OK(in_gathered);
  const std::vector<int64_t> restore = partition.RestoreIndex();
  const std::vector<bool> mask = partition.UnpadMask();
  CHECK_EQ(padded->size(), restore.size());
  size_t next = 0;
  for (size_t i = 0; i < restore.size(); ++i) {
    const int64_t slot = (*padded)[i];
    CHECK_EQ(slot, mask[i] ? slots[next] : -1) << "P4: padded row " << i;
    next += mask[i] ? 1 : 0;
    CHECK_EQ((*in_gathered)[restore[i]], slot) << "P4: padded row " << i;
    if (slot != -1) CHECK_EQ(slot, slots[gathered[restore[i]].source]) << "P4";
  }
  CHECK_EQ(next, slots.size()) << "P4";
  slots.push_back(0);
  CHECK(!partition.PadSlots(slots).ok());
}

// The segments of a rank are its real rows, and nobody has more than his share of the work.
void CheckSegments(const Case& c, const PcpPartition& partition,
                   const std::vector<PcpRow>& gathered) {
  std::vector<Wide> most(c.shapes.size(), 0), sum(c.shapes.size(), 0);
  for (int64_t rank = 0; rank < partition.world_size(); ++rank) {
    const absl::Span<const PcpRow> rows = absl::MakeConstSpan(gathered).subspan(
        rank * partition.local_total(), partition.local_total());
    std::vector<Wide> work(c.shapes.size(), 0);
    int64_t next = 0;
    for (const Segment& segment : partition.Segments(rank)) {
      for (; next < segment.first_row; ++next) CHECK(rows[next].is_padding);
      CHECK_EQ(next, segment.first_row);
      for (int64_t k = 0; k < segment.num_rows; ++k, ++next) {
        CHECK(!rows[next].is_padding);
        CHECK_EQ(rows[next].request, segment.request);
        CHECK_EQ(rows[next].position, segment.first_position + k);
        work[segment.request] += rows[next].position + 1;
      }
    }
    for (; next < partition.local_total(); ++next) CHECK(rows[next].is_padding);
    for (size_t i = 0; i < work.size(); ++i) {
      most[i] = std::max(most[i], work[i]);
      sum[i] += work[i];
    }
  }
  for (size_t i = 0; i < c.shapes.size(); ++i) {
    const int64_t n = c.shapes[i].num_new_tokens;
    if (c.shapes[i].kind == RequestKind::kDecode || n < 2 * c.world_size) continue;
    // most / (sum / W) <= 1 + 6W / n, in whole numbers.
    CHECK(most[i] * c.world_size * n <= sum[i] * (n + 6 * c.world_size)) << "P5: request " << i;
  }
}

// The seed's call: the same answer wherever kinds follow from the lengths.
void CheckFromArrays(const Case& c, FuzzInput& input) {
  const int64_t threshold = input.Integer();
  std::vector<int64_t> new_tokens, computed;
  for (const RequestShape& shape : c.shapes) {
    new_tokens.push_back(shape.num_new_tokens);
    computed.push_back(shape.num_computed_tokens);
  }
  const absl::StatusOr<PcpPartition> partition =
      PcpPartition::BuildFromArrays(new_tokens, computed, threshold, c.world_size, c.limits);
  const absl::StatusOr<std::vector<RequestKind>> kinds =
      ClassifyRequests(new_tokens, computed, threshold);
  if (!partition.ok()) {
    CHECK(!partition.status().message().empty());
    return;
  }
  CHECK_OK(kinds);
  Shapes shapes = c.shapes;
  for (size_t i = 0; i < shapes.size(); ++i) shapes[i].kind = (*kinds)[i];
  const absl::StatusOr<PcpPartition> same = PcpPartition::Build(shapes, c.world_size, c.limits);
  CHECK_OK(same);
  CHECK_EQ(same->fingerprint(), partition->fingerprint());
  CHECK_LE(partition->padded_total(),
           PcpPartition::SafeCapacity(partition->num_tokens(), partition->num_requests(), threshold,
                                      c.world_size));
}

}  // namespace

void PartitionProperty(absl::Span<const uint8_t> bytes) {
  FuzzInput input(bytes);
  const Case c = ReadCase(input);
  Wide padded = 0;
  const absl::StatusCode verdict = Verdict(c, padded);
  CheckFromArrays(c, input);
  const absl::StatusOr<PcpPartition> partition =
      PcpPartition::Build(c.shapes, c.world_size, c.limits);
  CHECK(partition.status().code() == verdict) << partition.status();
  if (!partition.ok()) return;
  CHECK(Wide{partition->padded_total()} == padded);
  CHECK(!partition->ToString().empty());
  if (padded > kMaxRows || c.world_size > kMaxRows) return;
  const std::vector<PcpRow> gathered = Gathered(*partition);
  CheckCover(c, *partition, gathered);
  CheckRestore(*partition, gathered);
  CheckSlots(*partition, gathered);
  CheckSegments(c, *partition, gathered);
}

}  // namespace weft::fuzz
