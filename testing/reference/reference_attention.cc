// SPDX-License-Identifier: Apache-2.0
#include "testing/reference/reference_attention.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/types/span.h"
#include "core/plan.h"
#include "testing/reference/granule.h"
#include "testing/reference/host_memory.h"
#include "testing/reference/rounding.h"
#include "testing/reference/widen.h"

namespace weft {
namespace {

// Query rows [first_row, first_row + num_rows) of one request, at positions from first_position,
// and the keys [first_key, num_keys) of which each sees a part.
struct RowRun {
  int64_t first_row;
  int64_t num_rows;
  int64_t first_position;
  int64_t first_key;
  int64_t num_keys;
  const int32_t* blocks;
};

// Entry `head` of a contiguous f32 array, or `otherwise` where it is not given.
template <typename T>
T HeadValue(const TensorView& values, int64_t head, T otherwise) {
  return values.given() ? static_cast<T>(HostPointer<const float>(values.address())[head])
                        : otherwise;
}

// Everything that the loops share.
template <typename T>
class Attender {
 public:
  Attender(const AttentionArgs& args, const AttentionSpec& spec)
      : args_(args),
        spec_(spec),
        group_(spec.group_size()),
        head_size_(spec.head_size),
        granule_(spec.head_size),
        zeros_(static_cast<size_t>(spec.head_size)) {}

  void Attend(const RowRun& run) {
    for (int64_t kv_head = 0; kv_head < spec_.num_kv_heads; ++kv_head) AttendHead(run, kv_head);
  }

  void WriteEmpty(int64_t first_row, int64_t num_rows) {
    for (int64_t row = first_row; row < first_row + num_rows; ++row) {
      for (int64_t head = 0; head < spec_.num_heads; ++head) {
        WriteRow(row, head, zeros_, T{1}, T{1}, kNegativeInfinity<T>);
      }
    }
  }

 private:
  void AttendHead(const RowRun& run, int64_t kv_head) {
    const int64_t num_states = run.num_rows * group_;
    queries_.resize(static_cast<size_t>(num_states * head_size_));
    states_.assign(static_cast<size_t>(num_states), State<T>());
    for (int64_t i = 0; i < num_states; ++i) {
      states_[i].weighted.assign(static_cast<size_t>(head_size_), T{0});
      LoadQuery(run.first_row + i / group_, kv_head * group_ + i % group_,
                queries_.data() + i * head_size_);
    }
    const T k_scale = HeadValue(args_.head_values.k_scales, kv_head, T{1});
    const T v_scale = HeadValue(args_.head_values.v_scales, kv_head, T{1});
    const int64_t num_keys = std::min(run.first_position + run.num_rows, run.num_keys);
    for (int64_t first = run.first_key / kGranule * kGranule; first < num_keys; first += kGranule) {
      const int64_t begin = std::max<int64_t>(run.first_key - first, 0);
      const int64_t end = std::min(kGranule, num_keys - first);
      granule_.Load(args_.cache, run.blocks, kv_head, first, begin, end, k_scale, v_scale);
      for (int64_t i = 0; i < num_states; ++i) AccumulateRow(run, kv_head, i, first, begin, end);
    }
    for (int64_t i = 0; i < num_states; ++i) {
      FinishRow(run.first_row + i / group_, kv_head * group_ + i % group_, states_[i]);
    }
  }

  // What state `i` sees of the keys [begin, end) of the granule at `first`.
  void AccumulateRow(const RowRun& run, int64_t kv_head, int64_t i, int64_t first, int64_t begin,
                     int64_t end) {
    const int64_t position = run.first_position + i / group_;
    int64_t from = begin;
    if (spec_.window > 0) from = std::max(from, position + 1 - spec_.window - first);
    const int64_t to = std::min(end, position + 1 - first);
    if (from >= to) return;
    LogitRule<T> rule;
    rule.scale = static_cast<T>(spec_.effective_scale());
    rule.softcap = static_cast<T>(spec_.softcap);
    rule.slope = HeadValue(args_.head_values.alibi_slopes, kv_head * group_ + i % group_, T{0});
    rule.position = position;
    granule_.Accumulate(queries_.data() + i * head_size_, rule, from, to, states_[i]);
  }

  void FinishRow(int64_t row, int64_t head, const State<T>& state) {
    // A row that saw nothing (every logit -inf) is the identity of a merge, sink or not.
    if (state.sum == T{0}) return WriteRow(row, head, zeros_, T{1}, T{1}, kNegativeInfinity<T>);
    const T lse = state.maximum + std::log(state.sum);
    const T sink = args_.apply_sinks
                       ? HeadValue(args_.head_values.sinks, head, kNegativeInfinity<T>)
                       : kNegativeInfinity<T>;
    if (sink == kNegativeInfinity<T>) {
      return WriteRow(row, head, state.weighted, T{1}, state.sum, lse);
    }
    // The sum and the sink as multiples of the larger one, so that neither overflows.
    const T largest = std::max(state.maximum, sink);
    const T factor = std::exp(state.maximum - largest);
    WriteRow(row, head, state.weighted, factor, state.sum * factor + std::exp(sink - largest), lse);
  }

  void LoadQuery(int64_t row, int64_t head, T* target) const {
    const TensorView& query = args_.query;
    const int64_t place = row * query.stride(0) + head * query.stride(1);
    Widen<T>(query.dtype(), HostPointer<uint8_t>(query.address(), place * SizeOf(query.dtype())),
             head_size_, 1, target, 1);
    if (spec_.q_scale == 1.0f) return;
    for (int64_t c = 0; c < head_size_; ++c) target[c] *= static_cast<T>(spec_.q_scale);
  }

  // out = weighted * factor / divisor.
  void WriteRow(int64_t row, int64_t head, const std::vector<T>& weighted, T factor, T divisor,
                T lse) const {
    const TensorView& out = args_.out;
    void* const target = HostPointer<uint8_t>(
        out.address(), (row * out.stride(0) + head * out.stride(1)) * SizeOf(out.dtype()));
    const T out_scale = static_cast<T>(spec_.out_scale);
    for (int64_t c = 0; c < head_size_; ++c) {
      StoreRounded(out.dtype(), target, c,
                   static_cast<double>(weighted[c] * factor / divisor / out_scale));
    }
    if (!args_.lse.given()) return;
    *HostPointer<float>(args_.lse.address(),
                        (row * args_.lse.stride(0) + head * args_.lse.stride(1)) * 4) =
        static_cast<float>(lse);
  }

  const AttentionArgs& args_;
  const AttentionSpec& spec_;
  int64_t group_;
  int64_t head_size_;
  Granule<T> granule_;
  std::vector<T> zeros_;    // [head_size]
  std::vector<T> queries_;  // [rows, group, head_size]
  std::vector<State<T>> states_;
};

// The rows of a table of plain structs; empty if the table is.
template <typename Row>
absl::Span<const Row> TableRows(const TensorView& table) {
  if (table.empty()) return {};
  return absl::MakeConstSpan(HostPointer<const Row>(table.address()),
                             static_cast<size_t>(table.extent(0)));
}

}  // namespace

AttentionJob::AttentionJob(const AttentionArgs& args) : args_(args), spec_(args.prepared->spec()) {
  args_.prepared = nullptr;
}

template <typename T>
void AttentionJob::RunTables() const {
  Attender<T> attender(args_, spec_);
  const int64_t window = spec_.window > 0 ? spec_.window : std::numeric_limits<int64_t>::max();
  const auto* const blocks = HostPointer<const int32_t>(args_.tables.blocks.address());
  for (const PrefillTile& tile : TableRows<PrefillTile>(args_.tables.tiles)) {
    if (tile.first_block < 0) {
      attender.WriteEmpty(tile.first_row, tile.num_rows);
    } else {
      attender.Attend({tile.first_row, tile.num_rows, tile.first_position, tile.first_key,
                       tile.num_keys, blocks + tile.first_block});
    }
  }
  // One state after the other, left to right: there is no need for splits and workspace here.
  for (const DecodeRow& row : TableRows<DecodeRow>(args_.tables.decode_rows)) {
    if (row.num_granules == 0) continue;  // fills up a table (StepLimits::pad)
    const int64_t end = int64_t{row.first_granule} + row.num_granules;
    attender.Attend({row.row, 1, row.position,
                     std::max({int64_t{row.first_granule} * kGranule, row.position + 1 - window}),
                     std::min<int64_t>(row.num_keys, end * kGranule), blocks + row.first_block});
  }
}

void AttentionJob::Run(Precision precision) const {
  if (precision == Precision::kFloat32) {
    RunTables<float>();
  } else {
    RunTables<double>();
  }
}

}  // namespace weft
