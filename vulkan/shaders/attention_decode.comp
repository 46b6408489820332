#version 460
#extension GL_GOOGLE_include_directive : require
// SPDX-License-Identifier: Apache-2.0
//
// One granule of one decode row, for up to ROWS query heads of one kv head: its state (maximum,
// sum, weighted sum of values) goes to the workspace, for attention_merge.comp. The teams take the
// granule's key blocks in turn.

#include "attention_core.glsl"

const uint kSubgroups = THREADS / SUBGROUP;
const uint kSharedSums = kSubgroups == 1 ? 1 : kSubgroups * ROWS * LANES * kDims;
const uint kSharedStats = kSubgroups == 1 ? 1 : kSubgroups * ROWS;
shared float shared_sum[kSharedSums];
shared float shared_max[kSharedStats];
shared float shared_row_sum[kSharedStats];

#define WEFT_ADD_OVER(distance) \
  if (LANES <= distance && distance < SUBGROUP) sum[i] += subgroupShuffleXor(sum[i], distance);

// Adds up the teams of a subgroup; their maxima are the same.
void AddTeams() {
  FinishSum(true);
  UNROLL for (uint i = 0; i < ROWS * kDims; ++i) {
    WEFT_ADD_OVER(4)
    WEFT_ADD_OVER(8)
    WEFT_ADD_OVER(16)
    WEFT_ADD_OVER(32)
  }
}

uint64_t PartialIndex(uint partial, uint head) { return uint64_t(partial) * P().num_heads + head; }

void StoreStats(uint64_t index, float maximum, float total) {
  const uint64_t address = P().partial_stats + index * 8;
  RefFloat(address).x = maximum;
  RefFloat(address + 4).x = total;
}

// One subgroup holds all there is.
void StoreDirectly(uint partial, uint first_head, uint num_rows) {
  AttentionParams p = P();
  UNROLL for (uint r = 0; r < ROWS; ++r) {
    if (r < num_rows) {
      const uint64_t row =
          p.partial_sums + PartialIndex(partial, first_head + r) * p.head_size * 4;
      UNROLL for (uint c = 0; c < CHUNKS; ++c) {
        const uint first = (c * LANES + lane) * kChunkDims;
        UNROLL for (uint i = 0; i < kChunkDims; ++i) {
          if (first + i < p.head_size) {
            RefFloat(row + 4 * (first + i)).x = sum[r * kDims + c * kChunkDims + i];
          }
        }
      }
    }
  }
  const uint own = lane / kRowLanes;
  if (own < num_rows && (lane & (kRowLanes - 1)) == 0) {
    StoreStats(PartialIndex(partial, first_head + own), row_max, row_sum);
  }
}

// Merges the subgroups in their order.
void StoreMerged(uint partial, uint first_head, uint num_rows) {
  AttentionParams p = P();
  const uint kRowDims = LANES * kDims;
  if (gl_SubgroupInvocationID < LANES) {
    UNROLL for (uint r = 0; r < ROWS; ++r) {
      UNROLL for (uint c = 0; c < CHUNKS; ++c) {
        UNROLL for (uint i = 0; i < kChunkDims; ++i) {
          shared_sum[(gl_SubgroupID * ROWS + r) * kRowDims + (c * LANES + lane) * kChunkDims + i] =
              sum[r * kDims + c * kChunkDims + i];
        }
      }
    }
    if ((lane & (kRowLanes - 1)) == 0) {
      shared_max[gl_SubgroupID * ROWS + lane / kRowLanes] = row_max;
      shared_row_sum[gl_SubgroupID * ROWS + lane / kRowLanes] = row_sum;
    }
  }
  barrier();
  for (uint at = gl_LocalInvocationIndex; at < ROWS * kRowDims; at += THREADS) {
    const uint r = at / kRowDims;
    const uint dim = at % kRowDims;
    if (r >= num_rows || dim >= p.head_size) continue;
    float maximum = kMinusInfinity;
    for (uint s = 0; s < kSubgroups; ++s) maximum = max(maximum, shared_max[s * ROWS + r]);
    const float origin = maximum == kMinusInfinity ? 0.0 : maximum;
    precise float total = 0.0;
    precise float weighted = 0.0;
    for (uint s = 0; s < kSubgroups; ++s) {
      // A subgroup that saw nothing has -inf, and nothing to add.
      const float factor = exp2((shared_max[s * ROWS + r] - origin) * kLog2E);
      total = fma(factor, shared_row_sum[s * ROWS + r], total);
      weighted = fma(factor, shared_sum[s * ROWS * kRowDims + at], weighted);
    }
    const uint64_t index = PartialIndex(partial, first_head + r);
    RefFloat(p.partial_sums + (index * p.head_size + dim) * 4).x = weighted;
    if (dim == 0) StoreStats(index, maximum, total);
  }
}

void main() {
  AttentionParams p = P();
  uint work = WorkgroupIndex();
  const uint part = work % p.chunks;
  work /= p.chunks;
  const uint kv_head = work % p.num_kv_heads;
  work /= p.num_kv_heads;
  if (work >= p.num_work) return;
  const ivec2 split = RefInt2(p.decode_splits + work * uint64_t(8)).x;
  if (split.x < 0) return;  // fills up a table
  const uint64_t decode_row = p.decode_rows + uint(split.x) * uint64_t(32);
  const ivec4 row = RefInt4(decode_row).x;
  const ivec4 keys_of_row = RefInt4(decode_row + 16).x;  // num_keys, first_granule, num_granules
  const uint granule = uint(split.y);

  StartTeam(kv_head);
  const uint first_head = kv_head * p.group_size + part * ROWS;
  const uint num_rows = min(p.group_size - part * ROWS, ROWS);
  UNROLL for (uint r = 0; r < ROWS; ++r) {
    LoadQuery(r, uint(row.x), first_head + min(r, num_rows - 1));
  }
  // Not beyond the granule: the last turn may run into the next one.
  const uint granule_key = granule * kGranule;
  const uint last_seen = min(uint(min(row.y, keys_of_row.x - 1)), granule_key + kGranule - 1);
  const uint first_seen = max(uint(FirstSeen(row.y)), granule_key);
  if (lane / kRowLanes < num_rows) {
    SetRow(first_head + lane / kRowLanes, row.y, int(first_seen), int(last_seen) + 1);
  }
  const uint team = gl_LocalInvocationIndex / LANES;
  uint first_block = first_seen / KEYS;  // of the turn
  const uint num_blocks = last_seen / KEYS + 1 - first_block;
  const uint turns = (num_blocks + kTeams - 1) / kTeams;
  KvRow next = FindKey(first_block + team, first_seen, last_seen, uint(row.z), kv_head);
  [[dont_unroll]] for (uint t = 0; t < turns; ++t) {
    const KvRow found = next;
    LoadKeys(found);
    LoadValues(found);
    // The page look-up of the next turn runs beside this one's arithmetic.
    next = FindKey(first_block + kTeams + team, first_seen, last_seen, uint(row.z), kv_head);
    Dot();
    Softmax(first_block + team, true);
    Weigh(first_block * KEYS >= first_seen && (first_block + kTeams) * KEYS <= last_seen + 1);
    first_block += kTeams;
  }
  AddTeams();
  if (kSubgroups == 1) {
    StoreDirectly(row.w + granule - keys_of_row.y, first_head, num_rows);
  } else {
    StoreMerged(row.w + granule - keys_of_row.y, first_head, num_rows);
  }
}
