// SPDX-License-Identifier: Apache-2.0
//
// A team's arithmetic on one key block: logits, running softmax, weighted sum of the values.
#ifndef WEFT_VULKAN_SHADERS_ATTENTION_SOFTMAX_GLSL_
#define WEFT_VULKAN_SHADERS_ATTENTION_SOFTMAX_GLSL_

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

// logits = query x keys. Afterwards logits[0 .. kLogits) belong to row lane / kRowLanes and to the
// keys from (lane % kRowLanes) * kLogits on.
void Dot() {
  WidenKeys();
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

// tanh, also where GLSL's would lose digits: near 0, or with a NaN.
float Tanh(float x) {
  const float size = abs(x);
  precise float square = x * x;
  // The series up to x^11, for |x| < 0.35: what is left out is below an ulp.
  float series = fma(square, -1382.0 / 155925.0, 62.0 / 2835.0);
  series = fma(square, series, -17.0 / 315.0);
  series = fma(square, series, 2.0 / 15.0);
  series = fma(square, series, -1.0 / 3.0);
  precise float near = fma(series * square, x, x);
  precise float far = 1.0 - 2.0 / (exp2(min(size, 20.0) * (2.0 * kLog2E)) + 1.0);
  const float result = size < 0.35 ? near : x < 0.0 ? -far : far;
  return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u ? x : result;
}

// Softcap and ALiBi.
void ShapeLogits(int first_key) {
  AttentionParams p = P();
  UNROLL for (uint j = 0; j < kLogits; ++j) {
    float shaped = logits[j];
    if (p.softcap != 0.0) shaped = p.softcap * Tanh(shaped * p.inverse_softcap);
    precise float biased = fma(row_slope, float(first_key + int(j) - row_position), shaped);
    logits[j] = biased;
  }
}

// `shared_rows`: all teams of the subgroup hold the same rows, and keep one maximum for each.
void Softmax(uint key_block, bool shared_rows) {
  const int first_key = int(key_block * KEYS + (lane & (kRowLanes - 1)) * kLogits);
  // Wraps around before the row's first key, and is too large there as well.
  const uint nth_seen = uint(first_key - row_first);
  float block_max = kMinusInfinity;
  UNROLL for (uint j = 0; j < kLogits; ++j) {
    precise float scaled = logits[j] * logit_scale;
    logits[j] = scaled;
  }
  if (shaped_logits) ShapeLogits(first_key);
  UNROLL for (uint j = 0; j < kLogits; ++j) {
    logits[j] = nth_seen + j < row_count ? logits[j] : kMinusInfinity;
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
    const bool visible = nth_seen + j < row_count;
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
  WidenValues();
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

#endif  // WEFT_VULKAN_SHADERS_ATTENTION_SOFTMAX_GLSL_
