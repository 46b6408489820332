// SPDX-License-Identifier: Apache-2.0
//
// What kernels read of a Plan (core/plan.h). Includes nothing that a kernel could not.
#ifndef WEFT_CORE_PLAN_TABLES_H_
#define WEFT_CORE_PLAN_TABLES_H_

#include <cstdint>

namespace weft {

// Keys of a granule. A fixed number: it is part of a result's bits.
inline constexpr int64_t kGranule = 512;

// The packed arrays, as kernels read them. All indices are checked when the plan is built. A row at
// position p sees the keys [0, num_keys) of its request's table that are not behind it (key <= p)
// and not before its window (key > p - window).

// Up to tile_tokens query rows of one prefill segment. first_block < 0: rows that see nothing (PCP
// padding, or a request without keys in scope): output 0, LSE -inf.
struct PrefillTile {
  int32_t first_row;       // in the rank's query buffer
  int32_t num_rows;        // tokens
  int32_t first_position;  // of first_row; counts as the keys do
  int32_t first_block;     // the request's first entry in Plan::blocks()
  int32_t num_keys;        // of the request's table that any row may see
  int32_t first_key;       // no row of the tile sees a key before this one (its window)
  int32_t request;         // in the batch; -1 for padding
  int32_t reserved;        // 0
};

// One query row of a decode. It sees at least one key.
struct DecodeRow {
  int32_t row;            // in the rank's query buffer
  int32_t position;       // counts as the keys do
  int32_t first_block;    // the request's first entry in Plan::blocks()
  int32_t first_partial;  // granule g writes its state to partial first_partial + g - first_granule
  int32_t num_keys;       // at most; see above
  int32_t first_granule;  // the one of the first visible key
  int32_t num_granules;   // >= 1: first_granule .. that of the last visible key
  int32_t request;        // in the batch
};

// One granule of one decode row: keys [granule * kGranule, (granule + 1) * kGranule), as far as the
// row sees them.
struct DecodeSplit {
  int32_t decode_row;  // index into Plan::decode_rows(); -1: fills up the array, behind all others
  int32_t granule;
};

inline constexpr int64_t kTileInts = 8;
inline constexpr int64_t kDecodeRowInts = 8;
inline constexpr int64_t kDecodeSplitInts = 2;
static_assert(sizeof(PrefillTile) == 4 * kTileInts && sizeof(DecodeRow) == 4 * kDecodeRowInts &&
                  sizeof(DecodeSplit) == 4 * kDecodeSplitInts,
              "read by kernels");

}  // namespace weft

#endif  // WEFT_CORE_PLAN_TABLES_H_
