// SPDX-License-Identifier: Apache-2.0
//
// Attention of the mutant: the plan's tables walked on the host, each row by the oracle.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "core/plan.h"
#include "testing/conformance/mutant_backend.h"
#include "testing/conformance/mutant_memory.h"
#include "testing/conformance/row_oracle.h"

namespace weft::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A row as a table names it.
struct Job {
  int64_t row = 0;
  int64_t query_row = 0;  // where its query is read
  int64_t position = 0;
  int64_t num_keys = 0;
  int64_t request = 0;
  const int32_t* blocks = nullptr;
  int64_t tile_rows = 1;
};

class Mutant {
 public:
  Mutant(const AttentionArgs& args, Fault fault)
      : args_(args), fault_(fault), spec_(args.prepared->spec()) {}

  void Run() {
    RunTiles();
    for (int64_t i = 0; i < args_.tables.decode_rows.extent(0); ++i) {
      const DecodeRow row = *At<DecodeRow>(args_.tables.decode_rows.address(), i);
      if (row.num_granules == 0 && fault_ != Fault::kRunFillers) continue;
      Attend(
          {row.row, row.row, row.position, row.num_keys, row.request, Blocks(row.first_block), 1});
    }
    if (fault_ == Fault::kExtraRow && args_.out.extent(0) > args_.num_rows) {
      WriteZeros(args_.num_rows, 0.0f);
    }
    if (fault_ == Fault::kTouchCache) {
      *At<uint8_t>(args_.cache.segments()[0].key_base, 0) ^= 1;
    }
  }

 private:
  const int32_t* Blocks(int64_t first) const {
    return At<const int32_t>(args_.tables.blocks.address(), first);
  }

  void RunTiles() {
    std::vector<PrefillTile> tiles;
    for (int64_t i = 0; i < args_.tables.tiles.extent(0); ++i) {
      tiles.push_back(*At<PrefillTile>(args_.tables.tiles.address(), i));
    }
    if (fault_ == Fault::kSwapChunks) SwapChunks(tiles);
    for (const PrefillTile& tile : tiles) {
      if (tile.first_block < 0) {
        WritePadding(tile);
      } else {
        AttendTile(tile);
      }
    }
  }

  void WritePadding(const PrefillTile& tile) {
    if (fault_ == Fault::kPaddingUnwritten) return;
    for (int64_t row = tile.first_row; row < tile.first_row + tile.num_rows; ++row) {
      WriteZeros(row, fault_ == Fault::kPaddingLseZero ? 0.0f : -kInfinity);
    }
  }

  void AttendTile(const PrefillTile& tile) {
    bool nan_before = true;
    for (int64_t t = 0; t < tile.num_rows; ++t) {
      const int64_t row = tile.first_row + t;
      // Odd rows take the query of the row before, even ones that of the row after.
      const bool swap = fault_ == Fault::kSwapRows && (t ^ 1) < tile.num_rows;
      const bool nan =
          Attend({row, swap ? tile.first_row + (t ^ 1) : row, tile.first_position + t,
                  tile.num_keys, tile.request, Blocks(tile.first_block), tile.num_rows});
      if (fault_ == Fault::kLeakNan && nan && !nan_before) {
        Put(row - 1, 0, 0, std::numeric_limits<double>::quiet_NaN(), false);
      }
      nan_before = nan;
    }
  }

  static void SwapChunks(std::vector<PrefillTile>& tiles) {
    for (size_t i = 0; i < tiles.size(); ++i) {
      for (size_t j = i + 1; j < tiles.size(); ++j) {
        if (tiles[i].first_block < 0 || tiles[i].first_block != tiles[j].first_block) continue;
        std::swap(tiles[i].first_position, tiles[j].first_position);
        return;
      }
    }
  }

  bool Sees(int64_t position, int64_t key) const {
    const int64_t page = args_.cache.layout().block_size();
    const int64_t page_start = position / page * page;
    switch (fault_) {
      case Fault::kDropFirstKey:
        return key != 0;
      case Fault::kDropOwnKey:
        return key != position;
      case Fault::kDropPreviousKey:
        return key != position - 1;
      case Fault::kDropPageStart:
        return key != page_start;
      case Fault::kDropPageEnd:
        return key != page_start - 1;
      case Fault::kDropGranuleStart:
        return key < kGranule || key % kGranule != 0;
      case Fault::kDropGranuleEnd:
        return key % kGranule != kGranule - 1;
      case Fault::kDropLastGranule:
        return key / kGranule < position / kGranule || position < kGranule;
      default:
        return true;
    }
  }

  // With a fault that looks too far, only as far as the row's own page goes: the table may hold no
  // further block.
  std::vector<int64_t> VisibleKeys(const Job& job) const {
    const int64_t page = args_.cache.layout().block_size();
    const int64_t page_end = (job.position / page + 1) * page;
    int64_t end = std::min(job.position + 1, job.num_keys);
    if (fault_ == Fault::kSeeNextKey && job.num_keys > job.position) {
      end = std::min(end + 1, page_end);
    }
    if (fault_ == Fault::kLeakPage && job.num_keys > job.position) end = page_end;
    if (fault_ == Fault::kIgnoreNumKeys) {
      end = std::min(job.position + 1, (job.num_keys + page - 1) / page * page);
    }
    int64_t window = fault_ == Fault::kIgnoreWindow ? 0 : spec_.window;
    if (window > 0 && fault_ == Fault::kWindowLong) ++window;
    if (window > 1 && fault_ == Fault::kWindowShort) --window;
    std::vector<int64_t> keys;
    for (int64_t key = window > 0 ? std::max<int64_t>(0, job.position + 1 - window) : 0; key < end;
         ++key) {
      if (Sees(job.position, key)) keys.push_back(key);
    }
    return keys;
  }

  float Element(bool is_key, uint64_t base, int64_t index) const {
    DType dtype = args_.cache.layout().dtype();
    if (fault_ == Fault::kOtherFp8 && dtype == DType::kF8E5M2) dtype = DType::kF8E4M3;
    // What 32 bits do not hold is somewhere else; any other number will do for that.
    const bool wraps = index * SizeOf(dtype) > std::numeric_limits<int32_t>::max();
    if (fault_ == Fault::kOffset32 && wraps) return is_key ? 0.25f : 1.0f;
    const float value = LoadFloat(dtype, reinterpret_cast<const void*>(base), index);
    const bool finite = fault_ == Fault::kFiniteInfinity && dtype == DType::kF8E5M2;
    return finite && std::isinf(value) ? std::copysign(65536.0f, value) : value;
  }

  void Fetch(const Job& job, int64_t key, int64_t kv_head, bool is_key,
             absl::Span<float> target) const {
    const KvCacheLayout& layout = args_.cache.layout();
    int64_t column = key / layout.block_size();
    if (fault_ == Fault::kForeignKey && key == 0 && job.position >= layout.block_size()) column = 1;
    const int64_t block = job.blocks[column];
    const KvSegment& segment = args_.cache.segments()[block / args_.cache.blocks_per_segment()];
    const KvStrides& strides = is_key ? layout.key_strides() : layout.value_strides();
    const int64_t place = block % args_.cache.blocks_per_segment() * strides.block +
                          key % layout.block_size() * strides.token + kv_head * strides.head;
    const uint64_t base = is_key ? segment.key_base : segment.value_base;
    const bool as_key = is_key != (fault_ == Fault::kSwapScales);
    const bool ignored = fault_ == (is_key ? Fault::kIgnoreKeyScale : Fault::kIgnoreValueScale);
    const TensorView& scales = as_key ? args_.head_values.k_scales : args_.head_values.v_scales;
    const float scale =
        ignored ? 1.0f : ValueOr(scales, fault_ == Fault::kScaleOfFirstHead ? 0 : kv_head, 1.0f);
    for (int64_t d = 0; d < static_cast<int64_t>(target.size()); ++d) {
      // Adjacent dimensions of the last token would lie outside.
      const bool adjacent = fault_ == Fault::kAdjacentDims && strides.inner > 0 && key == 0;
      target[d] = scale * Element(is_key, base, place + (adjacent ? d : DimOffset(strides, d)));
    }
  }

  RowRules Rules(int64_t head) const {
    RowRules rules;
    rules.scale = spec_.effective_scale() * (fault_ == Fault::kWrongScale ? 1.001 : 1.0);
    if (fault_ != Fault::kIgnoreSoftcap) rules.softcap = spec_.softcap;
    if (fault_ != Fault::kIgnoreAlibi) {
      rules.slope = ValueOr(args_.head_values.alibi_slopes, head, 0.0f);
    }
    if (fault_ == Fault::kAlibiSign) rules.slope = -rules.slope;
    rules.cap_after_bias = fault_ == Fault::kSoftcapAfterBias;
    const bool sinks = args_.apply_sinks || fault_ == Fault::kSinkInPartial;
    if (sinks && fault_ != Fault::kIgnoreSinks) {
      rules.sink = ValueOr(args_.head_values.sinks, head, -kInfinity);
    }
    if (fault_ == Fault::kSinkTwice) rules.sink += std::log(2.0);
    return rules;
  }

  // True if the row is NaN.
  bool Attend(const Job& job) {
    const std::vector<int64_t> keys = VisibleKeys(job);
    std::vector<float> query(static_cast<size_t>(spec_.head_size));
    bool nan = false;
    for (int64_t head = 0; head < spec_.num_heads; ++head) {
      for (int64_t d = 0; d < spec_.head_size; ++d) {
        query[d] = Load(args_.query, IndexOf(args_.query, job.query_row, head, d));
      }
      const int64_t kv_head =
          fault_ == Fault::kWrongKvHead ? head % spec_.num_kv_heads : head / spec_.group_size();
      const auto fetch = [&](int64_t key, absl::Span<float> k, absl::Span<float> v) {
        Fetch(job, key, kv_head, true, k);
        Fetch(job, key, kv_head, false, v);
      };
      const RowRules rules = Rules(head);
      const OracleResult result = AttendKeys(query, rules, job.position, keys, fetch);
      const bool nudge = Nudged(job);
      for (int64_t d = 0; d < spec_.head_size; ++d) {
        Put(job.row, head, d, result.out[d], nudge && d == 0);
      }
      nan |= std::isnan(result.out[0]);
      double lse = result.lse;
      if (fault_ == Fault::kSinkInLse && !std::isinf(lse)) {
        lse += std::log1p(std::exp(rules.sink - lse));
      }
      if (fault_ == Fault::kAlibiAbsolute) lse += rules.slope * static_cast<double>(job.position);
      WriteLse(job.row, head, lse);
    }
    return nan;
  }

  // Whether the last bit of a result is turned over, which no tolerance sees. In f32 alone: some
  // 16-bit cases have exact answers.
  bool Nudged(const Job& job) const {
    if (spec_.dtype != DType::kF32 || spec_.output_dtype() != DType::kF32) return false;
    switch (fault_) {
      case Fault::kTileDependent:
        return job.tile_rows % 2 == 1;
      case Fault::kPageDependent:
        return job.blocks[0] % 2 == 1;
      case Fault::kRowDependent:
        return job.row % 2 == 1;
      case Fault::kBlockSizeDependent:
        return args_.cache.layout().block_size() == 17;
      default:
        return false;
    }
  }

  void Put(int64_t row, int64_t head, int64_t d, double value, bool nudge) {
    const int64_t index = IndexOf(args_.out, row, head, d);
    if (IsFp8(args_.out.dtype())) {
      Fp8Fault how = Fp8Fault::kNone;
      if (fault_ == Fault::kOutOverflow) how = Fp8Fault::kOverflow;
      if (fault_ == Fault::kOutTruncate) how = Fp8Fault::kTruncate;
      const float scale = fault_ == Fault::kIgnoreOutScale ? 1.0f : spec_.out_scale;
      *At<uint8_t>(args_.out.address(), index) =
          ToFp8(args_.out.dtype(), static_cast<float>(value / scale), how);
      return;
    }
    Store(args_.out, index, static_cast<float>(value));
    if (nudge) *At<uint8_t>(args_.out.address(), index * SizeOf(args_.out.dtype())) ^= 1;
  }

  void WriteLse(int64_t row, int64_t head, double lse) {
    if (!args_.lse.given()) return;
    if (fault_ == Fault::kBase2Lse) lse /= std::log(2.0);
    const int64_t index = fault_ == Fault::kPackedLse ? PackedIndex(args_.lse, row, head)
                                                      : IndexOf(args_.lse, row, head);
    if (index * 4 >= args_.lse.span_bytes()) return;
    Store(args_.lse, index, static_cast<float>(lse));
  }

  void WriteZeros(int64_t row, float lse) {
    for (int64_t head = 0; head < spec_.num_heads; ++head) {
      for (int64_t d = 0; d < spec_.head_size; ++d) Put(row, head, d, 0.0, false);
      WriteLse(row, head, lse);
    }
  }

  const AttentionArgs& args_;
  Fault fault_;
  const AttentionSpec& spec_;
};

}  // namespace

void RunMutantAttention(const AttentionArgs& args, Fault fault) { Mutant(args, fault).Run(); }

}  // namespace weft::testing
