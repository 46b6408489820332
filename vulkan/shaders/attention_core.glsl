// SPDX-License-Identifier: Apache-2.0
//
// The part that prefill and decode share: ROWS query rows walk the keys in blocks of KEYS, with a
// running softmax. Here is what a lane holds; attention_load.glsl fills it from memory,
// attention_softmax.glsl computes.
//
// LANES adjacent lanes (a team) hold ROWS query rows and their outputs, each lane CHUNKS pieces of
// kChunkDims dimensions of every row. A key block is loaded piece by piece the same way, so that a
// team reads whole rows with adjacent loads of 16 bytes. The ROWS x KEYS dot products, spread over
// the lanes, are summed by halving: each step exchanges half of the values with the lane `x` away
// and adds the rest, until each lane holds the finished logits of one row and kLogits keys.
//
// A result's bits must not depend on the tile that a row stands in (design.md, semantics 11):
//  - Key blocks lie at absolute positions, and a row's state after a block depends on the row and
//    the block only. Sums are trees of the same shape for every row and key (a + b = b + a, so it
//    does not matter which lane adds). `precise` and fma() leave compilers no choice of rounding;
//    it stands on local variables only, since glslang 15.1 miscompiles `precise` global arrays.
//  - A key that a row does not see leaves its state untouched by selection, not by a product with
//    0: stale memory may hold NaN (semantics 8), and another row's visible keys may too.
#ifndef WEFT_VULKAN_SHADERS_ATTENTION_CORE_GLSL_
#define WEFT_VULKAN_SHADERS_ATTENTION_CORE_GLSL_

#extension GL_KHR_shader_subgroup_vote : require

#include "attention_params.glsl"
#include "element.glsl"

layout(constant_id = 0) const uint DTYPE = 1;        // kF32, kF16 or kBF16; fp8 is widened to one
layout(constant_id = 1) const uint LANES = 8;        // of a team; a power of two <= SUBGROUP
layout(constant_id = 2) const uint CHUNKS = 2;       // LANES * CHUNKS * 16 bytes >= a row
layout(constant_id = 3) const uint ROWS = 8;         // a power of two <= LANES
layout(constant_id = 4) const uint KEYS = 4;         // a power of two in [LANES / ROWS, LANES]
layout(constant_id = 5) const bool ALIGNED = true;    // kKeysAligned and kValuesAligned; else asked
layout(constant_id = 6) const bool TWO_PATHS = true;  // see Weigh
layout(constant_id = 7) const uint SUBGROUP = 8;
layout(local_size_x_id = 8) in;
layout(constant_id = 8) const uint THREADS = 8;
layout(constant_id = 9) const uint NARROW = 2;  // an fp8 cache: 0 no, 1 yes, 2 asked at run time

const uint kChunkDims = DTYPE == kF32 ? 4 : 8;  // of a piece: 16 bytes, or as many codes
const uint kDims = CHUNKS * kChunkDims;  // of a row, in one lane
const uint kTeams = THREADS / LANES;     // of the workgroup
const uint kRowLanes = LANES / ROWS;     // lanes that hold logits of the same row
const uint kLogits = KEYS / kRowLanes;   // logits of a block in one lane
const uint kGranule = 512;               // core/plan.h
#define kMinusInfinity uintBitsToFloat(0xff800000u)

// Lane d of a team holds pieces d, d + LANES, ... of each row.
float query[ROWS * kDims];
float sum[ROWS * kDims];  // of value * weight; f32: since the last FoldGranule
float folded_sum[DTYPE == kF32 ? ROWS * kDims : 1];
// A lane's pieces of a row: bytes from the row's first element, in a key and in a value.
uint key_offset[CHUNKS];
uint value_offset[CHUNKS];
uint chunk_mask[CHUNKS];  // 0 where the piece lies past the row's end

// The softmax of the row that this lane holds logits of.
float row_max = kMinusInfinity;
float row_sum = 0.0;  // of the weights since FoldGranule; of this lane's keys only, until FinishSum
float folded_row_sum = 0.0;
int row_first = 0;            // the first key that it sees
uint row_count = 0;           // of the keys that it sees, from row_first on
int row_position = 0;         // its own; only ALiBi asks
float row_slope = 0.0;

// The same for all rows of the workgroup, read once.
float logit_scale;
bool shaped_logits;  // softcap or ALiBi
bool narrow_cache = NARROW == 1;

uint lane;       // in the team
uint team_base;  // the team's first lane in the subgroup

AttentionParams P() { return AttentionParams(push.params); }

void StartTeam(uint kv_head) {
  AttentionParams p = P();
  lane = gl_SubgroupInvocationID & (LANES - 1);
  team_base = gl_SubgroupInvocationID - lane;
  const uint bytes = ElementBytes(p.kv_dtype);
  UNROLL for (uint c = 0; c < CHUNKS; ++c) {
    const uint dim = (c * LANES + lane) * kChunkDims;
    const bool inside = dim < p.head_size;
    // A masked piece is still loaded: from the row's beginning, which is always there.
    const uint from = inside ? dim : 0;
    const uint key_run = Divide(from, p.by_key_run);
    const uint value_run = Divide(from, p.by_value_run);
    key_offset[c] = key_run * uint(p.key_run_stride) + (from - key_run * p.key_run) * bytes;
    value_offset[c] =
        value_run * uint(p.value_run_stride) + (from - value_run * p.value_run) * bytes;
    chunk_mask[c] = inside ? ~0u : 0u;
  }
  UNROLL for (uint i = 0; i < ROWS * kDims; ++i) {
    sum[i] = 0.0;
    if (DTYPE == kF32) folded_sum[i] = 0.0;
  }
  precise float scale = p.scale * LoadOptional(p.k_scales, kv_head, 1.0);
  logit_scale = scale;
  shaped_logits = p.softcap != 0.0 || p.alibi_slopes != 0;
  if (NARROW == 2) narrow_cache = p.kv_dtype >= kE4M3;
}

// The row that this lane holds logits of sees the keys [first_key, end_key). Without a call: none.
void SetRow(uint head, int position, int first_key, int end_key) {
  row_position = position;
  row_first = first_key;
  row_count = uint(max(end_key - first_key, 0));
  row_slope = LoadOptional(P().alibi_slopes, head, 0.0);
}

int FirstSeen(int position) { return max(position - P().window + 1, 0); }

#include "attention_load.glsl"
#include "attention_softmax.glsl"

#endif  // WEFT_VULKAN_SHADERS_ATTENTION_CORE_GLSL_
