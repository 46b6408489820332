// SPDX-License-Identifier: Apache-2.0
//
// Attention of the mutant: the plan's tables walked on the host, each row by the oracle.
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "core/plan.h"
#include "testing/conformance/mutant_backend.h"
#include "testing/oracle.h"

namespace weft::testing {
namespace {

template <typename T>
T* At(uint64_t address, int64_t index) {
  return reinterpret_cast<T*>(address) + index;
}

// A row as a table names it.
struct Job {
  int64_t row = 0;
  int64_t query_row = 0;  // where its query is read
  int64_t position = 0;
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
      Attend({row.row, row.row, row.position, Blocks(row.first_block), 1});
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
      WriteZeros(row,
                 fault_ == Fault::kPaddingLseZero ? 0.0f : -std::numeric_limits<float>::infinity());
    }
  }

  void AttendTile(const PrefillTile& tile) {
    bool nan_before = true;
    for (int64_t t = 0; t < tile.num_rows; ++t) {
      const int64_t row = tile.first_row + t;
      // Odd rows take the query of the row before, even ones that of the row after.
      const bool swap = fault_ == Fault::kSwapRows && (t ^ 1) < tile.num_rows;
      const bool nan = Attend({row, swap ? tile.first_row + (t ^ 1) : row, tile.first_position + t,
                               Blocks(tile.first_block), tile.num_rows});
      if (fault_ == Fault::kLeakNan && nan && !nan_before) {
        Store(row - 1, 0, 0, std::numeric_limits<double>::quiet_NaN(), false);
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

  std::vector<int64_t> VisibleKeys(int64_t position) const {
    std::vector<int64_t> keys;
    // One more key may lie in a block that the table does not hold; the pool's own is far enough.
    const bool next =
        fault_ == Fault::kSeeNextKey && (position + 1) % args_.cache.layout().block_size() != 0;
    for (int64_t key = 0; key <= position + (next ? 1 : 0); ++key) {
      if (Sees(position, key)) keys.push_back(key);
    }
    return keys;
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
    for (size_t d = 0; d < target.size(); ++d) {
      target[d] = LoadFloat(layout.dtype(), reinterpret_cast<const void*>(base),
                            place + static_cast<int64_t>(d));
    }
  }

  // True if the row is NaN.
  bool Attend(const Job& job) {
    const std::vector<int64_t> keys = VisibleKeys(job.position);
    std::vector<float> query(static_cast<size_t>(spec_.head_size));
    bool nan = false;
    for (int64_t head = 0; head < spec_.num_heads; ++head) {
      for (int64_t d = 0; d < spec_.head_size; ++d) {
        query[d] =
            LoadFloat(spec_.dtype, reinterpret_cast<const void*>(args_.query.address()),
                      job.query_row * args_.query.stride(0) + head * args_.query.stride(1) + d);
      }
      const int64_t kv_head =
          fault_ == Fault::kWrongKvHead ? head % spec_.num_kv_heads : head / spec_.group_size();
      const auto fetch = [&](int64_t i, absl::Span<float> key, absl::Span<float> value) {
        Fetch(job, keys[i], kv_head, true, key);
        Fetch(job, keys[i], kv_head, false, value);
      };
      const double scale = spec_.effective_scale() * (fault_ == Fault::kWrongScale ? 1.001 : 1.0);
      const OracleResult result = AttendRow(query, scale, static_cast<int64_t>(keys.size()), fetch);
      const bool nudge = Nudged(job);
      for (int64_t d = 0; d < spec_.head_size; ++d) {
        Store(job.row, head, d, result.out[d], nudge && d == 0);
      }
      nan |= std::isnan(result.out[0]);
      WriteLse(job.row, head, result.lse);
    }
    return nan;
  }

  // Whether the last bit of a result is turned over, which no tolerance sees. In f32 alone: some
  // 16-bit cases have exact answers.
  bool Nudged(const Job& job) const {
    if (spec_.dtype != DType::kF32) return false;
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

  void Store(int64_t row, int64_t head, int64_t d, double value, bool nudge) {
    const int64_t index = row * args_.out.stride(0) + head * args_.out.stride(1) + d;
    void* const out = reinterpret_cast<void*>(args_.out.address());
    StoreFloat(spec_.dtype, out, index, static_cast<float>(value));
    if (nudge) static_cast<uint8_t*>(out)[index * SizeOf(spec_.dtype)] ^= 1;
  }

  void WriteLse(int64_t row, int64_t head, double lse) {
    if (!args_.lse.given()) return;
    if (fault_ == Fault::kBase2Lse) lse /= std::log(2.0);
    const int64_t index = fault_ == Fault::kPackedLse
                              ? row * spec_.num_heads + head
                              : row * args_.lse.stride(0) + head * args_.lse.stride(1);
    if (index * 4 >= args_.lse.span_bytes()) return;
    *At<float>(args_.lse.address(), index) = static_cast<float>(lse);
  }

  void WriteZeros(int64_t row, float lse) {
    for (int64_t head = 0; head < spec_.num_heads; ++head) {
      for (int64_t d = 0; d < spec_.head_size; ++d) Store(row, head, d, 0.0, false);
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
