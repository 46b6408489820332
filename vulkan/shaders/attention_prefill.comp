#version 460
#extension GL_GOOGLE_include_directive : require
// SPDX-License-Identifier: Apache-2.0
//
// Causal attention of one prefill tile and one kv head. The tile's (token, query head) pairs, token
// by token, are dealt to the teams, ROWS to each, so that keys and values are read once for all
// query heads of a kv head. Teams do not communicate.

#include "attention_core.glsl"
#include "attention_output.glsl"

void main() {
  AttentionParams p = P();
  uint work = WorkgroupIndex();
  const uint part = work % p.chunks;
  work /= p.chunks;
  const uint kv_head = work % p.num_kv_heads;
  work /= p.num_kv_heads;
  if (work >= p.num_work) return;
  const ivec4 tile = RefInt4(p.tiles + work * uint64_t(32)).x;
  const int last_key = int(Ref32(p.tiles + work * uint64_t(32) + 16).x) - 1;
  const uint first_row = uint(tile.x);
  const uint num_rows = uint(tile.y);
  const int first_position = tile.z;

  const uint num_pairs = num_rows * p.group_size;
  const uint first_pair = part * kTeams * ROWS;
  if (first_pair >= num_pairs) return;
  const uint last_pair = min(first_pair + kTeams * ROWS, num_pairs) - 1;

  StartTeam();
  const uint team = gl_LocalInvocationIndex / LANES;
  const uint team_pair = first_pair + team * ROWS;
  UNROLL for (uint r = 0; r < ROWS; ++r) {
    const uint pair = min(team_pair + r, last_pair);
    const uint token = Divide(pair, p.by_group_size);
    LoadQuery(r, first_row + token, kv_head * p.group_size + pair - token * p.group_size);
  }
  const uint own_pair = team_pair + lane / kRowLanes;
  const uint own_token = Divide(min(own_pair, last_pair), p.by_group_size);
  const bool padding = tile.w < 0;
  if (own_pair <= last_pair && !padding) row_position = min(first_position + int(own_token), last_key);

  // The same for all teams, so that control flow is too.
  const uint first_seen =
      uint(min(first_position + int(Divide(first_pair, p.by_group_size)), last_key));
  const uint last_seen =
      uint(min(first_position + int(Divide(last_pair, p.by_group_size)), last_key));
  const uint num_key_blocks = padding ? 0 : last_seen / KEYS + 1;
  [[dont_unroll]] for (uint b = 0; b < num_key_blocks; ++b) {
    const KvRow found = FindKey(b, last_seen, uint(tile.w), kv_head);
    LoadKeys(found);
    Dot();
    LoadValues(found);
    Softmax(b, false);
    Weigh(b * KEYS + KEYS <= first_seen + 1);
    if ((b + 1) % (kGranule / KEYS) == 0) FoldGranule();
  }
  FoldGranule();
  Unfold();
  FinishSum(false);

  const float inverse = row_sum == 0.0 ? 0.0 : 1.0 / row_sum;
  const bool out_aligned = (p.flags & kOutAligned) != 0;
  UNROLL for (uint r = 0; r < ROWS; ++r) {
    const float factor = FromRowLane(inverse, r, 0);
    const uint pair = team_pair + r;
    if (pair <= last_pair) {
      const uint token = Divide(pair, p.by_group_size);
      const uint head = kv_head * p.group_size + pair - token * p.group_size;
      StoreRow(OutRow(p, first_row + token, head), r, factor, out_aligned);
    }
  }
  if (own_pair <= last_pair && (lane & (kRowLanes - 1)) == 0) {
    const uint head = kv_head * p.group_size + own_pair - own_token * p.group_size;
    StoreLse(p, first_row + own_token, head, row_max, row_sum);
  }
}
