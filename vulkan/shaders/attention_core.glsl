// SPDX-License-Identifier: Apache-2.0
//
// The part that prefill and decode share: ROWS query rows walk the keys in blocks of KEYS, with a
// running softmax.
//
// LANES adjacent lanes (a team) hold ROWS query rows and their outputs, each lane CHUNKS pieces of
// 16 bytes of every row. A key block is loaded piece by piece the same way, so that a team reads
// whole rows with adjacent 16-byte loads. The ROWS x KEYS dot products, spread over the lanes, are
// summed by halving: each step exchanges half of the values with the lane `x` away and adds the
// rest, until each lane holds the finished logits of one row and kLogits keys.
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
#include "convert.glsl"

layout(constant_id = 0) const uint DTYPE = 1;        // kF32, kF16, kBF16
layout(constant_id = 1) const uint LANES = 8;        // of a team; a power of two <= SUBGROUP
layout(constant_id = 2) const uint CHUNKS = 2;       // LANES * CHUNKS * 16 bytes >= a row
layout(constant_id = 3) const uint ROWS = 8;         // a power of two <= LANES
layout(constant_id = 4) const uint KEYS = 4;         // a power of two in [LANES / ROWS, LANES]
layout(constant_id = 5) const bool ALIGNED = true;    // keys and values can be read 16 bytes at once
layout(constant_id = 6) const bool TWO_PATHS = true;  // see Weigh
layout(constant_id = 7) const uint SUBGROUP = 8;
layout(local_size_x_id = 8) in;
layout(constant_id = 8) const uint THREADS = 8;

const uint kElementBytes = DTYPE == kF32 ? 4 : 2;
const uint kChunkDims = 16 / kElementBytes;
const uint kDims = CHUNKS * kChunkDims;  // of a row, in one lane
const uint kTeams = THREADS / LANES;     // of the workgroup
const uint kRowLanes = LANES / ROWS;     // lanes that hold logits of the same row
const uint kLogits = KEYS / kRowLanes;   // logits of a block in one lane
const uint kGranule = 512;               // core/plan.h
const float kLog2E = 1.44269504088896340736;
#define kMinusInfinity uintBitsToFloat(0xff800000u)

// Lane d of a team holds pieces d, d + LANES, ... of each row.
float query[ROWS * kDims];
float sum[ROWS * kDims];  // of value * weight; f32: since the last FoldGranule
float folded_sum[DTYPE == kF32 ? ROWS * kDims : 1];
uint64_t chunk_offset[CHUNKS];    // bytes from a row's first element
uint chunk_mask[CHUNKS];          // 0 where the piece lies past the row's end

// The softmax of the row that this lane holds logits of.
float row_max = kMinusInfinity;
float row_sum = 0.0;  // of the weights since FoldGranule; of this lane's keys only, until FinishSum
float folded_row_sum = 0.0;
int row_position = -1;        // absolute; -1: sees nothing

uint lane;       // in the team
uint team_base;  // the team's first lane in the subgroup

AttentionParams P() { return AttentionParams(push.params); }

// 16 bytes of a row, elements past `head_size` zero.
uvec4 LoadChunk(uint64_t row, uint chunk, bool aligned) {
  const uint64_t address = row + chunk_offset[chunk];
  if (aligned) return Ref128(address).x & chunk_mask[chunk];
  const uint first = (chunk * LANES + lane) * kChunkDims;
  const uint head_size = P().head_size;
  uvec4 words = uvec4(0);
  [[dont_unroll]] for (uint i = 0; i < kChunkDims; ++i) {
    if (first + i >= head_size) break;
    if (DTYPE == kF32) {
      words[i] = Ref32(address + 4 * i).x;
    } else {
      words[i >> 1] |= uint(Ref16(address + 2 * i).x) << (16 * (i & 1));
    }
  }
  return words;
}

// Element i of a piece; i is known at compile time.
float Element(uvec4 chunk, uint i) {
  if (DTYPE == kF32) return uintBitsToFloat(chunk[i]);
  const vec2 pair = WidenPair(DTYPE, chunk[i >> 1]);
  return (i & 1) == 0 ? pair.x : pair.y;
}

void StartTeam() {
  lane = gl_SubgroupInvocationID & (LANES - 1);
  team_base = gl_SubgroupInvocationID - lane;
  const uint row_bytes = P().head_size * kElementBytes;
  UNROLL for (uint c = 0; c < CHUNKS; ++c) {
    const uint offset = (c * LANES + lane) * 16;
    const bool inside = offset < row_bytes;
    // A masked piece is still loaded: from the row's beginning, which is always there.
    chunk_offset[c] = inside ? offset : 0;
    chunk_mask[c] = inside ? ~0u : 0u;
  }
  UNROLL for (uint i = 0; i < ROWS * kDims; ++i) {
    sum[i] = 0.0;
    if (DTYPE == kF32) folded_sum[i] = 0.0;
  }
}

void LoadQuery(uint slot, uint row, uint head) {
  AttentionParams p = P();
  const uint64_t address = p.query + row * p.query_row_stride + head * p.query_head_stride;
  const bool aligned = (p.flags & kQueryAligned) != 0;
  UNROLL for (uint c = 0; c < CHUNKS; ++c) {
    const uvec4 chunk = LoadChunk(address, c, aligned);
    UNROLL for (uint i = 0; i < kChunkDims; ++i) {
      query[slot * kDims + c * kChunkDims + i] = Element(chunk, i);
    }
  }
}

// The rows of one key and of one value.
struct KvRow {
  uint64_t key;
  uint64_t value;
};

// Lane d of a team finds key d % KEYS of the block; `last` caps the position, so that what is
// loaded beyond it is some row that exists.
KvRow FindKey(uint key_block, uint last, uint first_block, uint kv_head) {
  AttentionParams p = P();
  const uint position = min(key_block * KEYS + (lane & (KEYS - 1)), last);
  const uint column = Divide(position, p.by_block_size);
  const uint offset = position - column * p.block_size;
  const uint block = Ref32(p.blocks + (first_block + column) * uint64_t(4)).x;
  const uint segment = Divide(block, p.by_blocks_per_segment);
  const uint local = block - segment * p.blocks_per_segment;
  const KvSegment base = p.segments[segment];
  return KvRow(base.key + local * p.key_block_stride + offset * p.key_token_stride +
                   kv_head * p.key_head_stride,
               base.value + local * p.value_block_stride + offset * p.value_token_stride +
                   kv_head * p.value_head_stride);
}

// (Adding up strides instead, where a key block lies within a page, was slower on an H200: the
// branch costs more than the shuffles.)
uint64_t FromTeamLane(uint64_t address, uint from) {
  const uvec2 halves = unpackUint2x32(address);
  return packUint2x32(uvec2(subgroupShuffle(halves.x, team_base + from),
                            subgroupShuffle(halves.y, team_base + from)));
}

uvec4 keys[KEYS * CHUNKS];
uvec4 values[KEYS * CHUNKS];

void LoadKeys(KvRow found) {
  UNROLL for (uint j = 0; j < KEYS; ++j) {
    const uint64_t row = FromTeamLane(found.key, j);
    UNROLL for (uint c = 0; c < CHUNKS; ++c) keys[j * CHUNKS + c] = LoadChunk(row, c, ALIGNED);
  }
}

void LoadValues(KvRow found) {
  UNROLL for (uint j = 0; j < KEYS; ++j) {
    const uint64_t row = FromTeamLane(found.value, j);
    UNROLL for (uint c = 0; c < CHUNKS; ++c) values[j * CHUNKS + c] = LoadChunk(row, c, ALIGNED);
  }
}

float logits[ROWS * KEYS];

// One step of the sum over lanes: after it `n` values are left, of twice as many. A macro, with
// the loop bound and the distance written out: some compilers do not unroll a loop of two counters.
#define WEFT_HALVE(step)                                                    \
  if ((LANES >> step) != 0) {                                               \
    const uint n = (ROWS * KEYS) >> step;                                   \
    const uint x = LANES >> step;                                           \
    const bool upper = (lane & x) != 0;                                     \
    UNROLL for (uint i = 0; i < n; ++i) {                                   \
      const float keep = upper ? logits[i + n] : logits[i];                 \
      const float give = upper ? logits[i] : logits[i + n];                 \
      logits[i] = keep + subgroupShuffleXor(give, x);                       \
    }                                                                       \
  }

// Afterwards logits[0 .. kLogits) belong to row lane / kRowLanes and to the keys from
// (lane % kRowLanes) * kLogits on.
void Dot() {
  UNROLL for (uint j = 0; j < KEYS; ++j) {
    float key[kDims];
    UNROLL for (uint c = 0; c < CHUNKS; ++c) {
      UNROLL for (uint i = 0; i < kChunkDims; ++i) {
        key[c * kChunkDims + i] = Element(keys[j * CHUNKS + c], i);
      }
    }
    UNROLL for (uint r = 0; r < ROWS; ++r) {
      precise float dot = query[r * kDims] * key[0];
      UNROLL for (uint d = 1; d < kDims; ++d) dot = fma(query[r * kDims + d], key[d], dot);
      logits[r * KEYS + j] = dot;
    }
  }
  WEFT_HALVE(1)
  WEFT_HALVE(2)
  WEFT_HALVE(3)
  WEFT_HALVE(4)
  WEFT_HALVE(5)
  WEFT_HALVE(6)
}

float weights[KEYS];  // [kLogits]; -1: this row does not see the key
float rescale;        // of what the row has summed before

#define WEFT_MAX_OVER(distance, limit) \
  if (distance < limit) block_max = max(block_max, subgroupShuffleXor(block_max, distance));

// `shared_rows`: all teams of the subgroup hold the same rows, and keep one maximum for each.
void Softmax(uint key_block, bool shared_rows) {
  const float scale = P().scale;
  const int first_key = int(key_block * KEYS + (lane & (kRowLanes - 1)) * kLogits);
  float block_max = kMinusInfinity;
  UNROLL for (uint j = 0; j < kLogits; ++j) {
    precise float scaled = logits[j] * scale;
    logits[j] = first_key + int(j) <= row_position ? scaled : kMinusInfinity;
    block_max = max(block_max, logits[j]);
  }
  WEFT_MAX_OVER(1, kRowLanes)
  WEFT_MAX_OVER(2, kRowLanes)
  WEFT_MAX_OVER(4, kRowLanes)
  WEFT_MAX_OVER(8, kRowLanes)
  WEFT_MAX_OVER(16, kRowLanes)
  WEFT_MAX_OVER(32, kRowLanes)
  if (shared_rows) {
    if (LANES <= 4) WEFT_MAX_OVER(4, SUBGROUP)
    if (LANES <= 8) WEFT_MAX_OVER(8, SUBGROUP)
    if (LANES <= 16) WEFT_MAX_OVER(16, SUBGROUP)
    if (LANES <= 32) WEFT_MAX_OVER(32, SUBGROUP)
  }
  const float new_max = max(row_max, block_max);
  // Not exp2(0) where nothing changed: its last bit is the device's affair. And no -inf - -inf.
  rescale = new_max == row_max ? 1.0 : exp2((row_max - new_max) * kLog2E);
  row_max = new_max;
  const float origin = new_max == kMinusInfinity ? 0.0 : new_max;
  precise float total = row_sum * rescale;
  UNROLL for (uint j = 0; j < kLogits; ++j) {
    const float weight = exp2((logits[j] - origin) * kLog2E);
    const bool visible = first_key + int(j) <= row_position;
    weights[j] = visible ? weight : -1.0;
    precise float added = total + weight;
    total = visible ? added : total;
  }
  row_sum = total;
  precise float folded = folded_row_sum * rescale;
  folded_row_sum = folded;
}

float FromRowLane(float value, uint row, uint part) {
  return subgroupShuffle(value, team_base + row * kRowLanes + part);
}

void Rescale() {
  UNROLL for (uint r = 0; r < ROWS; ++r) {
    const float factor = FromRowLane(rescale, r, 0);
    UNROLL for (uint d = 0; d < kDims; ++d) {
      precise float scaled = sum[r * kDims + d] * factor;
      sum[r * kDims + d] = scaled;
      if (DTYPE == kF32) {
        precise float folded = folded_sum[r * kDims + d] * factor;
        folded_sum[r * kDims + d] = folded;
      }
    }
  }
}

void Accumulate(bool all_visible) {
  UNROLL for (uint j = 0; j < KEYS; ++j) {
    float value[kDims];
    UNROLL for (uint c = 0; c < CHUNKS; ++c) {
      UNROLL for (uint i = 0; i < kChunkDims; ++i) {
        value[c * kChunkDims + i] = Element(values[j * CHUNKS + c], i);
      }
    }
    UNROLL for (uint r = 0; r < ROWS; ++r) {
      const float weight = FromRowLane(weights[j % kLogits], r, j / kLogits);
      // Also true of NaN, which a row's own logits must pass on.
      const bool visible = all_visible || !(weight < 0.0);
      UNROLL for (uint d = 0; d < kDims; ++d) {
        const uint at = r * kDims + d;
        precise float next = fma(weight, value[d], sum[at]);
        sum[at] = visible ? next : sum[at];
      }
    }
  }
}

// sum += weights x values. TWO_PATHS: key blocks that all rows see in full take a path without the
// selection, with the same arithmetic; it doubles the code.
void Weigh(bool all_visible) {
  if (!TWO_PATHS) {
    Rescale();
    Accumulate(false);
    return;
  }
  if (subgroupAny(rescale != 1.0)) Rescale();
  if (all_visible) {
    Accumulate(true);
  } else {
    Accumulate(false);
  }
}

// Long sums in two levels, a granule's keys and then the granules, or the rounding of small weights
// into a large sum is seen at long contexts. The outputs need that in f32 only: elsewhere it is far
// below the output's own rounding, and would take as many registers again. To be called where
// granules end and once at the end: folding twice changes no bit.
void FoldGranule() {
  precise float total = folded_row_sum + row_sum;
  folded_row_sum = total;
  row_sum = 0.0;
  if (DTYPE == kF32) {
    UNROLL for (uint i = 0; i < ROWS * kDims; ++i) {
      precise float next = folded_sum[i] + sum[i];
      folded_sum[i] = next;
      sum[i] = 0.0;
    }
  }
}

// After the last FoldGranule: the folded sums take the place of the running ones.
void Unfold() {
  row_sum = folded_row_sum;
  if (DTYPE == kF32) {
    UNROLL for (uint i = 0; i < ROWS * kDims; ++i) sum[i] = folded_sum[i];
  }
}

#define WEFT_SUM_OVER(distance, limit) \
  if (distance < limit) row_sum += subgroupShuffleXor(row_sum, distance);

// The lanes' shares of row_sum, added up.
void FinishSum(bool shared_rows) {
  WEFT_SUM_OVER(1, kRowLanes)
  WEFT_SUM_OVER(2, kRowLanes)
  WEFT_SUM_OVER(4, kRowLanes)
  WEFT_SUM_OVER(8, kRowLanes)
  WEFT_SUM_OVER(16, kRowLanes)
  WEFT_SUM_OVER(32, kRowLanes)
  if (shared_rows) {
    if (LANES <= 4) WEFT_SUM_OVER(4, SUBGROUP)
    if (LANES <= 8) WEFT_SUM_OVER(8, SUBGROUP)
    if (LANES <= 16) WEFT_SUM_OVER(16, SUBGROUP)
    if (LANES <= 32) WEFT_SUM_OVER(32, SUBGROUP)
  }
}

// Row `slot` of the sums, times `factor`, as elements of the output.
void StoreRow(uint64_t row, uint slot, float factor, bool aligned) {
  const uint head_size = P().head_size;
  UNROLL for (uint c = 0; c < CHUNKS; ++c) {
    uvec4 words = uvec4(0);
    UNROLL for (uint i = 0; i < kChunkDims; ++i) {
      const float value = sum[slot * kDims + c * kChunkDims + i] * factor;
      if (DTYPE == kF32) {
        words[i] = floatBitsToUint(value);
      } else {
        words[i >> 1] |= NarrowOfFloat(DTYPE, value) << (16 * (i & 1));
      }
    }
    const uint first = (c * LANES + lane) * kChunkDims;
    if (aligned) {
      if (first < head_size) Ref128(row + first * kElementBytes).x = words;
      continue;
    }
    [[dont_unroll]] for (uint i = 0; i < kChunkDims; ++i) {
      if (first + i >= head_size) break;
      if (DTYPE == kF32) {
        Ref32(row + 4 * (first + i)).x = words[i];
      } else {
        Ref16(row + 2 * (first + i)).x = uint16_t(words[i >> 1] >> (16 * (i & 1)));
      }
    }
  }
}

#endif  // WEFT_VULKAN_SHADERS_ATTENTION_CORE_GLSL_
