#version 460
#extension GL_GOOGLE_include_directive : require
// SPDX-License-Identifier: Apache-2.0
//
// ReshapeAndCache into an fp8 cache: one token's keys and values of all heads, divided by their
// heads' scales.
//
// Grid: tokens. Workgroup: THREADS lanes, one token, 4 dimensions a lane at a time. Shared memory:
// none. Bytes: each element of key and value read once, its byte written once.

#include "quantize.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint THREADS = 64;

struct KvSegment {
  uint64_t key;
  uint64_t value;
};

// A row of the source: where, and how far apart. A cache's token: the same. Strides in bytes.
struct RowStrides {
  uint64_t address;
  uint64_t row;
  uint64_t head;
  uint64_t scales;  // of the KV heads; 0: 1
};
struct CacheStrides {
  uint64_t block;
  uint64_t token;
  uint64_t head;
  uint64_t run;
  uint run_dims;  // adjacent dimensions
  uint whole;     // 1: all quads are 4 adjacent dimensions, and stored as a word
  Divisor by_run_dims;
};

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer QuantizeToCacheParams {
  RowStrides key;
  RowStrides value;
  CacheStrides key_cache;
  CacheStrides value_cache;
  uint64_t slots;
  int64_t num_slots;
  int64_t block_size;
  uint num_tokens;
  uint num_kv_heads;
  uint head_size;
  uint quads_per_head;
  uint blocks_per_segment;
  uint source_dtype;
  uint cache_dtype;
  uint reserved;
  Divisor by_quads_per_head;
  Divisor by_blocks_per_segment;
  KvSegment segments[];
};

void StoreQuad(QuantizeToCacheParams p, RowStrides rows, CacheStrides cache, uint64_t base,
               uint token, uint head, uint dim) {
  const uint count = min(4u, p.head_size - dim);
  const float scale = LoadOptional(rows.scales, head, 1.0);
  const uint64_t from = rows.address + token * rows.row + head * rows.head +
                        dim * ElementBytes(p.source_dtype);
  const uint codes = QuantizeQuad(p.source_dtype, from, count, p.cache_dtype, MakeScale(scale));
  const uint64_t to = base + head * cache.head;
  if (cache.whole != 0) {
    const uint run = Divide(dim, cache.by_run_dims);
    Ref32(to + run * cache.run + (dim - run * cache.run_dims)).x = codes;
    return;
  }
  [[dont_unroll]] for (uint d = 0; d < count; ++d) {
    const uint run = Divide(dim + d, cache.by_run_dims);
    Ref8(to + run * cache.run + (dim + d - run * cache.run_dims)).x = uint8_t(codes >> (8 * d));
  }
}

void main() {
  QuantizeToCacheParams p = QuantizeToCacheParams(push.params);
  const uint token = WorkgroupIndex();
  if (token >= p.num_tokens) return;
  const int64_t slot = Ref64(p.slots + token * uint64_t(8)).x;
  if (slot < 0 || slot >= p.num_slots) return;  // -1, or a slot that is not there

  const uint block = uint(slot / p.block_size);
  const uint64_t offset = uint64_t(slot - int64_t(block) * p.block_size);
  const uint segment = Divide(block, p.by_blocks_per_segment);
  const uint local = block - segment * p.blocks_per_segment;
  const KvSegment base = p.segments[segment];
  const CacheStrides keys = p.key_cache;
  const CacheStrides values = p.value_cache;
  const uint64_t to_key = base.key + local * keys.block + offset * keys.token;
  const uint64_t to_value = base.value + local * values.block + offset * values.token;
  const uint quads = p.num_kv_heads * p.quads_per_head;
  // All quads before i, of other lanes too, are taken.
  for (uint i = gl_LocalInvocationIndex; i < quads; i += THREADS) {
    const uint head = Divide(i, p.by_quads_per_head);
    const uint dim = (i - head * p.quads_per_head) * 4;
    StoreQuad(p, p.key, keys, to_key, token, head, dim);
    StoreQuad(p, p.value, values, to_value, token, head, dim);
  }
}
