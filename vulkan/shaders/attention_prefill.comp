#version 460
#extension GL_GOOGLE_include_directive : require
// SPDX-License-Identifier: Apache-2.0
//
// Causal attention of one prefill tile and one kv head. The tile's (token, query head) pairs, token
// by token, are dealt to the teams, ROWS to each, so that keys and values are read once for all
// query heads of a kv head. Teams do not communicate.

#include "attention_core.glsl"
#include "attention_output.glsl"

void StoreElements(AttentionParams p, uint64_t row, uint first, float piece[kChunkDims]) {
  [[dont_unroll]] for (uint i = 0; i < kChunkDims; ++i) {
    if (first + i >= p.head_size) break;
    StoreDim(p, row, first + i, piece[i]);
  }
}

// Row `slot` of the sums, times `factor`, as elements of the output.
void StoreRow(AttentionParams p, uint64_t row, uint slot, float factor) {
  const bool whole = (p.flags & kOutAligned) != 0 && p.out_dtype == DTYPE;
  UNROLL for (uint c = 0; c < CHUNKS; ++c) {
    const uint first = (c * LANES + lane) * kChunkDims;
    float piece[kChunkDims];
    UNROLL for (uint i = 0; i < kChunkDims; ++i) {
      piece[i] = sum[slot * kDims + c * kChunkDims + i] * factor;
    }
    if (whole) {
      uvec4 words = uvec4(0);
      UNROLL for (uint i = 0; i < kChunkDims; ++i) {
        if (DTYPE == kF32) {
          words[i] = floatBitsToUint(piece[i]);
        } else {
          words[i >> 1] |= NarrowOfFloat(DTYPE, piece[i]) << (16 * (i & 1));
        }
      }
      if (first < p.head_size) Ref128(row + first * (DTYPE == kF32 ? 4 : 2)).x = words;
    } else {
      StoreElements(p, row, first, piece);
    }
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
  const ivec4 tile = RefInt4(p.tiles + work * uint64_t(32)).x;
  const int num_keys = int(Ref32(p.tiles + work * uint64_t(32) + 16).x);
  const uint first_row = uint(tile.x);
  const uint num_rows = uint(tile.y);
  const int first_position = tile.z;

  const uint num_pairs = num_rows * p.group_size;
  const uint first_pair = part * kTeams * ROWS;
  if (first_pair >= num_pairs) return;
  const uint last_pair = min(first_pair + kTeams * ROWS, num_pairs) - 1;

  StartTeam(kv_head);
  const uint team = gl_LocalInvocationIndex / LANES;
  const uint team_pair = first_pair + team * ROWS;
  UNROLL for (uint r = 0; r < ROWS; ++r) {
    const uint pair = min(team_pair + r, last_pair);
    const uint token = Divide(pair, p.by_group_size);
    LoadQuery(r, first_row + token, kv_head * p.group_size + pair - token * p.group_size);
  }
  const uint own_pair = team_pair + lane / kRowLanes;
  const uint own_token = Divide(min(own_pair, last_pair), p.by_group_size);
  const uint own_head =
      kv_head * p.group_size + min(own_pair, last_pair) - own_token * p.group_size;
  const bool padding = tile.w < 0;
  if (own_pair <= last_pair && !padding) {
    const int position = first_position + int(own_token);
    SetRow(own_head, position, FirstSeen(position), min(position + 1, num_keys));
  }

  // Of the workgroup's first and last row; the same for all teams, so that control flow is too.
  const int first_token_position = first_position + int(Divide(first_pair, p.by_group_size));
  const int last_token_position = first_position + int(Divide(last_pair, p.by_group_size));
  const uint seen_by_first = uint(min(first_token_position, num_keys - 1));
  const uint last_seen = uint(min(last_token_position, num_keys - 1));
  const uint first_seen = min(uint(FirstSeen(first_token_position)), last_seen);
  const uint first_of_last = uint(FirstSeen(last_token_position));
  const uint end_block = padding ? 0 : last_seen / KEYS + 1;
  [[dont_unroll]] for (uint b = first_seen / KEYS; b < end_block; ++b) {
    const KvRow found = FindKey(b, first_seen, last_seen, uint(tile.w), kv_head);
    LoadKeys(found);
    Dot();
    LoadValues(found);
    Softmax(b, false);
    Weigh(b * KEYS >= first_of_last && b * KEYS + KEYS <= seen_by_first + 1);
    if ((b + 1) % (kGranule / KEYS) == 0) FoldGranule();
  }
  FoldGranule();
  Unfold();
  FinishSum(false);

  const float inverse = Normaliser(p, own_head, kv_head, row_max, row_sum);
  UNROLL for (uint r = 0; r < ROWS; ++r) {
    const float factor = FromRowLane(inverse, r, 0);
    const uint pair = team_pair + r;
    if (pair <= last_pair) {
      const uint token = Divide(pair, p.by_group_size);
      const uint head = kv_head * p.group_size + pair - token * p.group_size;
      StoreRow(p, OutRow(p, first_row + token, head), r, factor);
    }
  }
  if (own_pair <= last_pair && (lane & (kRowLanes - 1)) == 0) {
    StoreLse(p, first_row + own_token, own_head, row_max, row_sum);
  }
}
