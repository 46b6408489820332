// SPDX-License-Identifier: Apache-2.0
//
// From memory to a team's registers: queries, pages, keys and values.
//
// Where rows lie in pieces (adjacent and aligned), a lane's piece is one load: 16 bytes, or as many
// codes of an fp8 cache, which are widened to 8 halves or 4 floats. Elsewhere dimensions are loaded
// one by one.
#ifndef WEFT_VULKAN_SHADERS_ATTENTION_LOAD_GLSL_
#define WEFT_VULKAN_SHADERS_ATTENTION_LOAD_GLSL_

// The halves of 4 fp8 codes: of elements 0 and 2, and of 1 and 3. That takes half the instructions
// of pairs of neighbours. (As a constant instead of a function it crashed NVIDIA's compiler, 580.)
bool EvenOdd() { return DTYPE == kF16 && NARROW == 1; }

uvec2 HalvesOfEvenOdd(uint dtype, uint codes) {
  const uvec2 shifted = uvec2(codes << 8, codes) & 0xff00ff00u;
  if (dtype == kE5M2) return shifted;
  // As HalvesOfFloat8.
  const uvec2 magnitude = uvec2(codes << 7, codes >> 1) & 0x3f803f80u;
  return (shifted & 0x80008000u) | magnitude | ((magnitude + 0x00800080u) & 0x40004000u);
}

// Element i of a piece; i is known at compile time.
float Element(uvec4 chunk, uint i) {
  if (DTYPE == kF32) return uintBitsToFloat(chunk[i]);
  if (EvenOdd()) {
    const vec2 pair = unpackHalf2x16(chunk[(i >> 2) * 2 + (i & 1)]);
    return (i & 2) == 0 ? pair.x : pair.y;
  }
  const vec2 pair = WidenPair(DTYPE, chunk[i >> 1]);
  return (i & 1) == 0 ? pair.x : pair.y;
}

// 8 fp8 codes in two words, as 8 halves in four.
uvec4 HalvesOfCodes(uint dtype, uvec2 codes) {
  const uvec2 low = PairsOfBytes(codes.x);
  const uvec2 high = PairsOfBytes(codes.y);
  return uvec4(HalvesOfFloat8(dtype, low.x), HalvesOfFloat8(dtype, low.y),
               HalvesOfFloat8(dtype, high.x), HalvesOfFloat8(dtype, high.y));
}

// A piece of codes, as LoadCodes leaves it.
uvec4 WidenPiece(uint dtype, uvec4 codes) {
  if (EvenOdd()) {
    const uvec2 low = HalvesOfEvenOdd(dtype, codes.x);
    const uvec2 high = HalvesOfEvenOdd(dtype, codes.y);
    return uvec4(low, high);
  }
  if (DTYPE != kF32) return HalvesOfCodes(dtype, codes.xy);
  const uvec2 pairs = PairsOfBytes(codes.x);
  return floatBitsToUint(vec4(unpackHalf2x16(HalvesOfFloat8(dtype, pairs.x)),
                              unpackHalf2x16(HalvesOfFloat8(dtype, pairs.y))));
}

uvec4 LoadCodes(uint64_t address) {
  if (DTYPE == kF32) return uvec4(Ref32(address).x, 0, 0, 0);
  return uvec4(RefPair(address).x, 0, 0);
}

void LoadQueryElements(uint64_t row, uint first, uint slot, uint c) {
  const uint dtype = P().query_dtype;
  const uint head_size = P().head_size;
  const uint bytes = ElementBytes(dtype);
  float piece[kChunkDims];
  UNROLL for (uint i = 0; i < kChunkDims; ++i) piece[i] = 0.0;
  [[dont_unroll]] for (uint i = 0; i < kChunkDims; ++i) {
    if (first + i >= head_size) break;
    piece[i] = LoadElement(dtype, row + (first + i) * bytes);
  }
  UNROLL for (uint i = 0; i < kChunkDims; ++i) query[slot * kDims + c * kChunkDims + i] = piece[i];
}

// Row `row` of the queries of `head`, as row `slot` of the team.
void LoadQuery(uint slot, uint row, uint head) {
  AttentionParams p = P();
  const uint64_t address = p.query + row * p.query_row_stride + head * p.query_head_stride;
  const bool aligned = (p.flags & kQueryAligned) != 0;
  const bool wide = DTYPE == kF32 ? p.query_dtype == kF32
                                  : p.query_dtype == kF16 || p.query_dtype == kBF16;
  UNROLL for (uint c = 0; c < CHUNKS; ++c) {
    const uint first = (c * LANES + lane) * kChunkDims;
    const uint from = chunk_mask[c] == 0 ? 0 : first;
    if (aligned && wide) {
      const uvec4 chunk = Ref128(address + from * (DTYPE == kF32 ? 4 : 2)).x & chunk_mask[c];
      UNROLL for (uint i = 0; i < kChunkDims; ++i) {
        float value;
        if (DTYPE == kF32) {
          value = uintBitsToFloat(chunk[i]);
        } else {
          const vec2 pair = WidenPair(p.query_dtype, chunk[i >> 1]);
          value = (i & 1) == 0 ? pair.x : pair.y;
        }
        query[slot * kDims + c * kChunkDims + i] = value;
      }
    } else if (DTYPE != kF32 && aligned && p.query_dtype >= kE4M3) {
      const uvec4 chunk = HalvesOfCodes(p.query_dtype, RefPair(address + from).x & chunk_mask[c]);
      UNROLL for (uint i = 0; i < kChunkDims; ++i) {
        const vec2 pair = unpackHalf2x16(chunk[i >> 1]) * Float8Unit(p.query_dtype);
        query[slot * kDims + c * kChunkDims + i] = (i & 1) == 0 ? pair.x : pair.y;
      }
    } else {
      LoadQueryElements(address, first, slot, c);
    }
  }
}

// The rows of one key and of one value.
struct KvRow {
  uint64_t key;
  uint64_t value;
};

// Lane d of a team finds key d % KEYS of the block. The position is moved into [first, last], of
// which all keys exist, so that whatever is loaded outside is some row that does.
KvRow FindKey(uint key_block, uint first, uint last, uint first_block, uint kv_head) {
  AttentionParams p = P();
  const uint position = clamp(key_block * KEYS + (lane & (KEYS - 1)), first, last);
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

// A piece whose dimensions lie unaligned, or in runs that are no whole pieces: as it would be read
// at once, with zeros past the head's end.
uvec4 LoadPieceElements(uint64_t row, uint chunk, uint run, Divisor by_run, uint64_t run_stride) {
  const uint first = (chunk * LANES + lane) * kChunkDims;
  const uint head_size = P().head_size;
  uvec4 words = uvec4(0);
  [[dont_unroll]] for (uint i = 0; i < kChunkDims; ++i) {
    const uint dim = first + i;
    if (dim >= head_size) break;
    const uint number = Divide(dim, by_run);
    const uint64_t in_row = row + number * run_stride;
    const uint in_run = dim - number * run;
    if (narrow_cache) {
      words[i >> 2] |= uint(Ref8(in_row + in_run).x) << (8 * (i & 3));
    } else if (DTYPE == kF32) {
      words[i] = Ref32(in_row + 4 * in_run).x;
    } else {
      words[i >> 1] |= uint(Ref16(in_row + 2 * in_run).x) << (16 * (i & 1));
    }
  }
  return words;
}

uvec4 keys[KEYS * CHUNKS];
uvec4 values[KEYS * CHUNKS];

// All loads stand beside each other, without a branch between them: a lane waits for all of them
// once. Of fp8 only codes are loaded here, see Widen.
#define WEFT_LOAD_ROWS(into, found_row, offset, is_aligned, run, by_run, run_stride)     \
  if (ALIGNED || (P().flags & is_aligned) != 0) {                                        \
    if (narrow_cache) {                                                                  \
      UNROLL for (uint j = 0; j < KEYS; ++j) {                                           \
        const uint64_t row = FromTeamLane(found_row, j);                                 \
        UNROLL for (uint c = 0; c < CHUNKS; ++c) {                                       \
          into[j * CHUNKS + c] = LoadCodes(row + offset[c]) & chunk_mask[c];             \
        }                                                                                \
      }                                                                                  \
    } else {                                                                             \
      UNROLL for (uint j = 0; j < KEYS; ++j) {                                           \
        const uint64_t row = FromTeamLane(found_row, j);                                 \
        UNROLL for (uint c = 0; c < CHUNKS; ++c) {                                       \
          into[j * CHUNKS + c] = Ref128(row + offset[c]).x & chunk_mask[c];              \
        }                                                                                \
      }                                                                                  \
    }                                                                                    \
  } else {                                                                               \
    UNROLL for (uint j = 0; j < KEYS; ++j) {                                             \
      const uint64_t row = FromTeamLane(found_row, j);                                   \
      UNROLL for (uint c = 0; c < CHUNKS; ++c) {                                         \
        into[j * CHUNKS + c] =                                                           \
            LoadPieceElements(row, c, P().run, P().by_run, P().run_stride);              \
      }                                                                                  \
    }                                                                                    \
  }

void LoadKeys(KvRow found) {
  WEFT_LOAD_ROWS(keys, found.key, key_offset, kKeysAligned, key_run, by_key_run, key_run_stride)
}

void LoadValues(KvRow found) {
  WEFT_LOAD_ROWS(values, found.value, value_offset, kValuesAligned, value_run, by_value_run,
                 value_run_stride)
}

// fp8 codes become halves, just before they are used.
void WidenKeys() {
  if (!narrow_cache) return;
  const uint dtype = P().kv_dtype;
  UNROLL for (uint i = 0; i < KEYS * CHUNKS; ++i) keys[i] = WidenPiece(dtype, keys[i]);
}

void WidenValues() {
  if (!narrow_cache) return;
  const uint dtype = P().kv_dtype;
  UNROLL for (uint i = 0; i < KEYS * CHUNKS; ++i) values[i] = WidenPiece(dtype, values[i]);
}

#endif  // WEFT_VULKAN_SHADERS_ATTENTION_LOAD_GLSL_
