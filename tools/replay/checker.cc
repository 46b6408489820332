// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/checker.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/dtype.h"
#include "testing/compare.h"
#include "testing/oracle.h"
#include "tools/replay/random.h"

namespace weft::replay {
namespace {

// A row of the step, and where the ranks hold it.
struct Place {
  int64_t entry = 0;
  int64_t position = 0;
  std::vector<std::pair<int64_t, int64_t>> holders;  // (rank, local row); all ranks for a decode
  bool edge = false;  // at an end of its request's part, or beside a chunk edge
};

std::vector<Place> PlacesOf(const StepWork& work) {
  std::vector<Place> places;
  for (size_t entry = 0; entry < work.step.entries.size(); ++entry) {
    const StepEntry& part = work.step.entries[entry];
    for (int64_t i = 0; i < part.num_new_tokens; ++i) {
      Place place;
      place.entry = static_cast<int64_t>(entry);
      place.position = part.num_computed_tokens + i;
      place.edge = i == 0 || i + 1 == part.num_new_tokens;
      places.push_back(std::move(place));
    }
  }
  const int64_t world_size = work.partition ? work.partition->world_size() : 1;
  for (int64_t rank = 0; rank < world_size; ++rank) {
    const std::vector<int64_t> sources = SourceRows(work, rank);
    for (size_t local = 0; local < sources.size(); ++local) {
      if (sources[local] < 0) continue;
      places[sources[local]].holders.emplace_back(rank, static_cast<int64_t>(local));
    }
  }
  for (size_t row = 0; row + 1 < places.size(); ++row) {
    if (places[row].holders.front().first == places[row + 1].holders.front().first) continue;
    places[row].edge = places[row + 1].edge = true;
  }
  return places;
}

}  // namespace

Checker::Checker(const Content& content, std::vector<AttentionSpec> kinds, int64_t num_layers,
                 int64_t dcp, uint64_t seed, std::string run)
    : content_(&content),
      kinds_(std::move(kinds)),
      num_layers_(num_layers),
      dcp_(dcp),
      seed_(Mix(seed, 0x636865636b)),
      run_(std::move(run)) {}

std::vector<Sample> Checker::Choose(const StepWork& work) const {
  Random random(Mix(seed_, work.step.index));
  const std::vector<Place> places = PlacesOf(work);
  // In three groups, each with a share of the samples that the others leave over.
  std::vector<int64_t> decodes, edges, others;
  for (size_t row = 0; row < places.size(); ++row) {
    const bool decode = work.step.entries[places[row].entry].kind == RequestKind::kDecode;
    (decode ? decodes : places[row].edge ? edges : others).push_back(static_cast<int64_t>(row));
  }
  std::vector<Sample> samples;
  std::set<std::pair<int64_t, int64_t>> taken;
  const auto take = [&](const std::vector<int64_t>& rows, int64_t up_to) {
    if (rows.empty()) return;
    // Twice as many draws as wanted: pairs may come up again, in small steps above all.
    for (int64_t draw = 2 * up_to; draw > 0 && static_cast<int64_t>(samples.size()) < up_to;
         --draw) {
      Sample sample;
      sample.row = rows[random.Below(static_cast<int64_t>(rows.size()))];
      sample.head = random.Below(kinds_[0].num_heads);
      sample.layer = random.Below(num_layers_);
      const Place& place = places[sample.row];
      const auto& [rank, local_row] =
          place.holders[random.Below(static_cast<int64_t>(place.holders.size()))];
      sample.entry = place.entry;
      sample.position = place.position;
      sample.rank = dcp_ > 1 ? sample.head * dcp_ / kinds_[0].num_heads : rank;
      sample.local_row = local_row;
      if (taken.insert({sample.row, sample.head}).second) samples.push_back(sample);
    }
  };
  take(decodes, kSamplesPerStep / 3);
  take(edges, kSamplesPerStep * 2 / 3);
  take(others, kSamplesPerStep);
  take(decodes, kSamplesPerStep);
  take(edges, kSamplesPerStep);
  return samples;
}

std::string Checker::CaseLine(const StepWork& work, const Sample& sample) const {
  const StepEntry& entry = work.step.entries[sample.entry];
  return absl::StrCat(run_, "  # step=", work.step.index, " request=", entry.request,
                      " kind=", Name(entry.kind), " position=", sample.position,
                      " ctx=", entry.num_computed_tokens, " new=", entry.num_new_tokens,
                      " layer=", sample.layer, " head=", sample.head, " rank=", sample.rank);
}

std::vector<std::string> Checker::Judge(const StepWork& work,
                                        absl::Span<const SampleAnswer> answers,
                                        absl::Span<const uint8_t> restored) const {
  std::vector<std::string> mismatches;
  const int64_t size = kinds_[0].head_size, head_bytes = size * SizeOf(kinds_[0].dtype);
  std::vector<float> query(size);
  for (size_t i = 0; i < work.samples.size(); ++i) {
    const Sample& sample = work.samples[i];
    const AttentionSpec& spec = KindOf(sample.layer);
    const StepEntry& entry = work.step.entries[sample.entry];
    const int64_t request = entry.request;
    const int64_t kv_head = sample.head / spec.group_size();
    const int64_t query_row =
        content_->QueryRow(request, sample.position, sample.head, spec.window);
    content_->FetchKey(sample.layer, query_row, absl::MakeSpan(query));
    const auto fetch = [&](int64_t position, absl::Span<float> key, absl::Span<float> value) {
      const int64_t row = content_->KeyRow(request, position, kv_head);
      // Under DCP a prefill reads the step's own tokens as they are, before the cache rounds them.
      if (dcp_ > 1 && entry.kind == RequestKind::kPrefill &&
          position >= entry.num_computed_tokens) {
        content_->FetchKey(sample.layer, row, key);
        content_->FetchValue(sample.layer, row, value);
      } else {
        content_->FetchCached(sample.layer, row, kv_head, key, value);
      }
    };
    testing::OracleHead head = testing::OracleHeadOf(spec, sample.head);
    head.k_scale = head.v_scale = 1.0;  // Content has applied them
    const testing::OracleResult expected =
        testing::AttendRow(query, head, sample.position, sample.position + 1, fetch);

    absl::Span<const uint8_t> bytes = answers[i].out;
    if (sample.layer + 1 == num_layers_) {
      bytes =
          restored.subspan((sample.row * spec.num_heads + sample.head) * head_bytes, head_bytes);
    }
    const int64_t extents[] = {1, 1, size};
    testing::HostTensor wanted{spec.dtype, {1, 1, size}, expected.out};
    testing::HostTensor lse{DType::kF32, {1, 1}, {answers[i].lse}};
    testing::HostTensor wanted_lse{DType::kF32, {1, 1}, {expected.lse}};
    testing::CompareContext context;
    context.case_line = CaseLine(work, sample);
    context.tensor = "out";
    absl::Status status =
        testing::CompareTensors(testing::DecodeTensor(spec.dtype, extents, bytes), wanted,
                                testing::ToleranceFor(spec.dtype), context);
    context.tensor = "lse";
    if (status.ok()) {
      status = testing::CompareLse(lse, wanted_lse, {expected.max_abs_logit}, context);
    }
    if (!status.ok()) mismatches.emplace_back(status.message());
  }
  return mismatches;
}

}  // namespace weft::replay
