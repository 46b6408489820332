// SPDX-License-Identifier: Apache-2.0
//
// PcpPartition over random batches, all ranks together: properties P1 to P6 of reliability.md, and
// the closed form against an emulation of the seed's array algorithm, which labels all rows of all
// ranks and sorts.
#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/pcp_partition.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using Ints = std::vector<int64_t>;

constexpr RequestKind kD = RequestKind::kDecode;
constexpr RequestKind kP = RequestKind::kPrefill;
constexpr int64_t kWorldSizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 16};

std::string Describe(const std::vector<RequestShape>& shapes, int64_t world_size) {
  std::string text = "W=" + std::to_string(world_size);
  for (const RequestShape& shape : shapes) {
    text += std::string(shape.kind == kD ? " d" : " p") + std::to_string(shape.num_new_tokens) +
            "@" + std::to_string(shape.num_computed_tokens);
  }
  return text;
}

// Kinds in any order; lengths where the chunk arithmetic turns: 0, 1, around multiples of 2W.
std::vector<RequestShape> RandomBatch(std::mt19937_64& random, int64_t world_size) {
  auto below = [&](int64_t bound) { return static_cast<int64_t>(random() % bound); };
  std::vector<RequestShape> shapes(below(9));
  for (RequestShape& shape : shapes) {
    if (below(2) == 0) {
      shape = {kD, below(6), 1 + below(100)};
    } else {
      const int64_t edge = 2 * world_size * (1 + below(4)) - 2 + below(5);
      shape = {kP, below(3) == 0 ? below(4) : edge, below(2) == 0 ? 0 : below(100)};
    }
  }
  return shapes;
}

// The seed's flat algorithm. Everything is an array over rows; the restore index is the argsort of
// the rows' labels in rank-major order, where a label is the row's place in padded order.
struct ArrayForm {
  std::vector<Ints> sources, positions, requests;  // [W][local rows]
  std::vector<std::vector<bool>> padding;
  Ints local_num_scheduled;
  Ints restore_index;
  std::vector<bool> unpad_mask;
};

// Labels, within a request, of the rows that `rank` holds of it.
Ints LabelsOf(const RequestShape& shape, int64_t rank, int64_t world_size) {
  Ints labels;
  const int64_t n = shape.num_new_tokens;
  if (shape.kind == kD) {
    for (int64_t k = 0; k < n; ++k) labels.push_back(rank * n + k);
    return labels;
  }
  int64_t padded = n;
  while (padded % (2 * world_size) != 0) ++padded;
  for (int64_t t = 0; t < padded; ++t) {
    const int64_t chunk = t / (padded / (2 * world_size));
    if (chunk == rank || chunk == 2 * world_size - 1 - rank) labels.push_back(t);
  }
  return labels;
}

ArrayForm BuildArrayForm(const std::vector<RequestShape>& shapes, int64_t world_size) {
  ArrayForm form;
  form.sources.resize(world_size);
  form.positions.resize(world_size);
  form.requests.resize(world_size);
  form.padding.resize(world_size);
  Ints padded_begin, global_begin;
  int64_t padded_total = 0, global_total = 0;
  for (const RequestShape& shape : shapes) {
    const int64_t rows = LabelsOf(shape, 0, world_size).size();
    padded_begin.push_back(padded_total);
    global_begin.push_back(global_total);
    form.local_num_scheduled.push_back(rows);
    for (int64_t t = 0; t < rows * world_size; ++t) {
      form.unpad_mask.push_back(t < shape.num_new_tokens);
    }
    padded_total += rows * world_size;
    global_total += shape.num_new_tokens;
  }
  Ints labels;
  for (int64_t rank = 0; rank < world_size; ++rank) {
    for (size_t i = 0; i < shapes.size(); ++i) {
      for (int64_t label : LabelsOf(shapes[i], rank, world_size)) {
        labels.push_back(padded_begin[i] + label);
        const int64_t n = shapes[i].num_new_tokens;
        const bool pad = shapes[i].kind == kP && label >= n;
        const int64_t token = pad ? 0 : shapes[i].kind == kD ? label % n : label;
        form.sources[rank].push_back(global_begin[i] + token);
        form.positions[rank].push_back(shapes[i].num_computed_tokens + token);
        form.requests[rank].push_back(i);
        form.padding[rank].push_back(pad);
      }
    }
  }
  form.restore_index.resize(labels.size());
  std::iota(form.restore_index.begin(), form.restore_index.end(), 0);
  std::sort(form.restore_index.begin(), form.restore_index.end(),
            [&](int64_t a, int64_t b) { return labels[a] < labels[b]; });
  return form;
}

void ExpectArrayForm(const std::vector<RequestShape>& shapes, const PcpPartition& partition) {
  const ArrayForm want = BuildArrayForm(shapes, partition.world_size());
  EXPECT_EQ(partition.LocalNumScheduled(), want.local_num_scheduled);
  EXPECT_EQ(partition.RestoreIndex(), want.restore_index);
  EXPECT_EQ(partition.UnpadMask(), want.unpad_mask);
  for (int64_t rank = 0; rank < partition.world_size(); ++rank) {
    Ints sources, positions, requests;
    std::vector<bool> padding;
    for (const PcpRow& row : partition.Rows(rank)) {
      sources.push_back(row.source);
      positions.push_back(row.position);
      requests.push_back(row.request);
      padding.push_back(row.is_padding);
    }
    EXPECT_EQ(sources, want.sources[rank]) << "rank " << rank;
    EXPECT_EQ(positions, want.positions[rank]) << "rank " << rank;
    EXPECT_EQ(requests, want.requests[rank]) << "rank " << rank;
    EXPECT_EQ(padding, want.padding[rank]) << "rank " << rank;
  }
}

// P1 and P3: equal rows on every rank; each prefill token once, each decode token once on each
// rank; nothing else is real.
void ExpectCover(const std::vector<RequestShape>& shapes, const PcpPartition& partition) {
  std::map<std::pair<int64_t, int64_t>, Ints> ranks_of;  // (request, position) -> ranks
  for (int64_t rank = 0; rank < partition.world_size(); ++rank) {
    const std::vector<PcpRow> rows = partition.Rows(rank);
    EXPECT_EQ(static_cast<int64_t>(rows.size()), partition.local_total());
    for (const PcpRow& row : rows) {
      if (!row.is_padding) ranks_of[{row.request, row.position}].push_back(rank);
    }
  }
  EXPECT_EQ(partition.padded_total(), partition.world_size() * partition.local_total());
  Ints every_rank(partition.world_size());
  std::iota(every_rank.begin(), every_rank.end(), 0);
  size_t tokens = 0;
  for (size_t i = 0; i < shapes.size(); ++i) {
    for (int64_t t = 0; t < shapes[i].num_new_tokens; ++t, ++tokens) {
      const Ints& ranks = ranks_of[{i, shapes[i].num_computed_tokens + t}];
      if (shapes[i].kind == kD) {
        EXPECT_EQ(ranks, every_rank) << "request " << i << " token " << t;
      } else {
        EXPECT_EQ(ranks.size(), 1u) << "request " << i << " token " << t;
      }
    }
  }
  EXPECT_EQ(ranks_of.size(), tokens);
}

// The segments of a rank are its real rows, position by position, each once and in order.
void ExpectSegments(const PcpPartition& partition) {
  for (int64_t rank = 0; rank < partition.world_size(); ++rank) {
    const std::vector<PcpRow> rows = partition.Rows(rank);
    std::vector<bool> outside(rows.size(), true);
    int64_t next_row = 0;
    for (const Segment& segment : partition.Segments(rank)) {
      EXPECT_GE(segment.num_rows, 1);
      EXPECT_GE(segment.first_row, next_row);
      next_row = segment.first_row + segment.num_rows;
      ASSERT_LE(next_row, static_cast<int64_t>(rows.size()));
      for (int64_t k = 0; k < segment.num_rows; ++k) {
        const PcpRow& row = rows[segment.first_row + k];
        EXPECT_EQ(row.request, segment.request);
        EXPECT_EQ(row.position, segment.first_position + k);
        outside[segment.first_row + k] = false;
      }
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(rows[i].is_padding, outside[i]) << "rank " << rank << ", row " << i;
    }
  }
}

// P2: gather the ranks' rows, restore, and the step's tokens are back in order.
void ExpectRestored(const PcpPartition& partition) {
  Ints gathered;
  std::vector<bool> gathered_padding;
  for (int64_t rank = 0; rank < partition.world_size(); ++rank) {
    for (const PcpRow& row : partition.Rows(rank)) {
      gathered.push_back(row.source);
      gathered_padding.push_back(row.is_padding);
    }
  }
  Ints identity(partition.num_tokens());
  std::iota(identity.begin(), identity.end(), 0);

  const Ints restore = partition.RestoreIndex();
  const std::vector<bool> mask = partition.UnpadMask();
  ASSERT_EQ(restore.size(), gathered.size());
  EXPECT_EQ(std::set<int64_t>(restore.begin(), restore.end()).size(), gathered.size());
  Ints in_two_steps;
  for (size_t i = 0; i < restore.size(); ++i) {
    if (mask[i]) in_two_steps.push_back(gathered[restore[i]]);
  }
  EXPECT_EQ(in_two_steps, identity);

  Ints in_one_step;
  for (int64_t row : partition.CompactRestoreIndex()) {
    EXPECT_FALSE(gathered_padding[row]) << "gathered row " << row;
    in_one_step.push_back(gathered[row]);
  }
  EXPECT_EQ(in_one_step, identity);
}

// P4: each slot once, -1 elsewhere, and beside the row that it belongs to.
void ExpectSlots(const PcpPartition& partition) {
  Ints slots(partition.num_tokens());
  for (size_t i = 0; i < slots.size(); ++i) slots[i] = 1000 + 7 * static_cast<int64_t>(i);
  const Ints padded = *partition.PadSlots(slots);
  const Ints gathered = *partition.GatheredSlots(slots);
  const Ints restore = partition.RestoreIndex();
  const std::vector<bool> mask = partition.UnpadMask();
  ASSERT_EQ(padded.size(), mask.size());
  ASSERT_EQ(gathered.size(), mask.size());
  size_t next = 0;
  for (size_t i = 0; i < mask.size(); ++i) {
    EXPECT_EQ(padded[i], mask[i] ? slots[next++] : -1) << "padded row " << i;
    EXPECT_EQ(gathered[restore[i]], padded[i]) << "padded row " << i;
  }
  EXPECT_EQ(next, slots.size());
  // In gathered order, a slot stands beside the row of its own token.
  size_t row_index = 0;
  for (int64_t rank = 0; rank < partition.world_size(); ++rank) {
    for (const PcpRow& row : partition.Rows(rank)) {
      const int64_t slot = gathered[row_index++];
      if (slot != -1) {
        EXPECT_EQ(slot, slots[row.source]);
        EXPECT_FALSE(row.is_padding);
      }
    }
  }
}

// The tokens of one request on one rank, free of where the request stands in the batch.
using RequestRows = std::vector<std::pair<int64_t, bool>>;  // position, padding

std::vector<RequestRows> RowsByRequest(const PcpPartition& partition, int64_t rank) {
  std::vector<RequestRows> result(partition.num_requests());
  for (const PcpRow& row : partition.Rows(rank)) {
    result[row.request].push_back({row.position, row.is_padding});
  }
  return result;
}

// P6: permuting requests permutes what they get, and nothing else.
void ExpectPermuted(const std::vector<RequestShape>& shapes, const PcpPartition& partition,
                    std::mt19937_64& random) {
  std::vector<size_t> order(shapes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  std::vector<RequestShape> permuted_shapes;
  for (size_t i : order) permuted_shapes.push_back(shapes[i]);
  auto permuted = PcpPartition::Build(permuted_shapes, partition.world_size());
  ASSERT_TRUE(permuted.ok()) << permuted.status();
  EXPECT_EQ(permuted->local_total(), partition.local_total());
  for (int64_t rank = 0; rank < partition.world_size(); ++rank) {
    const auto before = RowsByRequest(partition, rank);
    const auto after = RowsByRequest(*permuted, rank);
    for (size_t i = 0; i < order.size(); ++i) {
      EXPECT_EQ(after[i], before[order[i]]) << "rank " << rank << ", request " << order[i];
    }
  }
  ExpectRestored(*permuted);
}

TEST(PcpPartitionPropertyTest, RandomBatches) {
  std::mt19937_64 random(20240607);
  for (int64_t world_size : kWorldSizes) {
    for (int repeat = 0; repeat < 150; ++repeat) {
      const std::vector<RequestShape> shapes = RandomBatch(random, world_size);
      SCOPED_TRACE(Describe(shapes, world_size));
      auto partition = PcpPartition::Build(shapes, world_size);
      ASSERT_TRUE(partition.ok()) << partition.status();
      ExpectArrayForm(shapes, *partition);
      ExpectCover(shapes, *partition);
      ExpectSegments(*partition);
      ExpectRestored(*partition);
      ExpectSlots(*partition);
      ExpectPermuted(shapes, *partition, random);
      if (HasFailure()) return;  // one batch is enough to read
    }
  }
}

// Every length around the first few multiples of 2W, alone: the edges that chance may miss.
TEST(PcpPartitionPropertyTest, EveryShortPrompt) {
  for (int64_t world_size : kWorldSizes) {
    for (int64_t n = 0; n <= 6 * world_size + 1; ++n) {
      const std::vector<RequestShape> shapes = {{kP, n, n % 3}};
      SCOPED_TRACE(Describe(shapes, world_size));
      auto partition = PcpPartition::Build(shapes, world_size);
      ASSERT_TRUE(partition.ok()) << partition.status();
      ExpectArrayForm(shapes, *partition);
      ExpectCover(shapes, *partition);
      ExpectSegments(*partition);
      ExpectRestored(*partition);
      ASSERT_FALSE(HasFailure());
    }
  }
}

// The seed-style call is Build with the kinds that the threshold gives, and stays within the safe
// capacity.
TEST(PcpPartitionPropertyTest, ArraysAndThresholds) {
  std::mt19937_64 random(7);
  for (int64_t world_size : kWorldSizes) {
    for (int64_t threshold = 1; threshold <= 4; ++threshold) {
      for (int repeat = 0; repeat < 40; ++repeat) {
        std::vector<std::pair<int64_t, int64_t>> lengths(random() % 10);
        for (auto& [n, m] : lengths) n = random() % 12, m = random() % 2 * (random() % 50);
        auto is_decode = [&](const std::pair<int64_t, int64_t>& request) {
          return request.first <= threshold && request.second > 0;
        };
        std::stable_partition(lengths.begin(), lengths.end(), is_decode);
        Ints n, m;
        std::vector<RequestShape> shapes;
        for (const auto& request : lengths) {
          n.push_back(request.first);
          m.push_back(request.second);
          shapes.push_back({is_decode(request) ? kD : kP, request.first, request.second});
        }
        const int64_t tokens = std::accumulate(n.begin(), n.end(), int64_t{0});
        const PcpLimits limits = {
            PcpPartition::SafeCapacity(tokens, n.size(), threshold, world_size)};
        SCOPED_TRACE(Describe(shapes, world_size));
        auto seed_style = PcpPartition::BuildFromArrays(n, m, threshold, world_size, limits);
        ASSERT_TRUE(seed_style.ok()) << seed_style.status();
        ExpectArrayForm(shapes, *seed_style);
        EXPECT_EQ(seed_style->fingerprint(),
                  PcpPartition::Build(shapes, world_size)->fingerprint());
        ASSERT_FALSE(HasFailure());
      }
    }
  }
}

// P5: work is the number of visible keys. Just above 2W padding leaves ranks idle, so the bound is
// loose there; it tightens with n.
TEST(PcpPartitionPropertyTest, Balance) {
  double worst_of_long_prompts = 0;
  for (int64_t world_size : {2, 4, 8, 16}) {
    for (int64_t n = 2 * world_size; n < 4000; n += (n < 300 ? 1 : 37)) {
      for (int64_t context : {0, 1000, 100000}) {
        auto partition = PcpPartition::Build({{kP, n, context}}, world_size);
        ASSERT_TRUE(partition.ok());
        double most = 0, sum = 0;
        for (int64_t rank = 0; rank < world_size; ++rank) {
          double work = 0;
          for (const Segment& segment : partition->Segments(rank)) {
            const double rows = segment.num_rows;
            work += rows * (segment.first_position + 1) + rows * (rows - 1) / 2;
          }
          most = std::max(most, work);
          sum += work;
        }
        const double bound = 1.0 + 6.0 * world_size / n;
        ASSERT_LE(most / (sum / world_size), bound)
            << "W=" << world_size << " n=" << n << " context=" << context;
        if (n % (2 * world_size) == 0 && n >= 128) {
          worst_of_long_prompts = std::max(worst_of_long_prompts, most / (sum / world_size));
        }
      }
    }
  }
  // Without padding the work is the same to the last pair, which no other pairing of chunks gives.
  EXPECT_EQ(worst_of_long_prompts, 1.0);
}

}  // namespace
}  // namespace weft
