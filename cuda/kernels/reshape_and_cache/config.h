// SPDX-License-Identifier: Apache-2.0
//
// What is fixed at compile time in ReshapeAndCache, and the one choice made at run time: how a
// launch is cut into blocks. Host code, no CUDA header.
#ifndef WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_CONFIG_H_
#define WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_CONFIG_H_

#include <cstdint>

namespace weft::cuda {

// Where rows and cache have one type the operation moves bytes, so the only thing that changes
// instructions is the width of one access (a *unit*): 16 bytes when every address and stride allows
// it, else 4, else 2, else 1. Into an fp8 cache a unit is the elements of 16 bytes of f32, f16 or
// bf16 rows, else one element. These are all the instantiations: 4, and 3 and 1.
inline constexpr int kReshapeUnitBytes[] = {16, 4, 2, 1};

inline constexpr int kReshapeThreads = 256;
// Tokens of one thread whose loads are in flight together: 4 tokens x (key, value) x 16 bytes,
// times the 1024 or more threads of a multiprocessor, is well over what its share of HBM's latency
// needs.
inline constexpr int kReshapeTokensInFlight = 4;
// Of tokens that are quantised: fewer, so that more threads' loads overlap with arithmetic.
inline constexpr int kQuantizeTokensInFlight = 2;
// Segments that travel as a kernel argument (1 KiB). More of them take more launches.
inline constexpr int kReshapeMaxSegments = 64;

struct ReshapeAndCacheShape {
  int64_t blocks = 0;
  int threads_x = 0;         // over the units of a row; a power of two
  int threads_y = 0;         // over tokens; threads_x * threads_y == kReshapeThreads
  int tokens_per_block = 0;  // <= kReshapeThreads and <= threads_y * tokens_in_flight
};

// A block is as wide as a row of `row_units` units needs, and takes as many tokens as it can keep
// in flight, unless that would leave multiprocessors without a block. All arguments >= 1.
inline ReshapeAndCacheShape ChooseReshapeAndCacheShape(int64_t num_tokens, int64_t row_units,
                                                       int tokens_in_flight,
                                                       int num_multiprocessors) {
  ReshapeAndCacheShape shape;
  shape.threads_x = 1;
  while (shape.threads_x < row_units && shape.threads_x < kReshapeThreads) shape.threads_x *= 2;
  shape.threads_y = kReshapeThreads / shape.threads_x;

  // Two blocks for each multiprocessor: with fewer, latency is what a small batch waits for.
  const int64_t spread = int64_t{2} * num_multiprocessors * shape.threads_y;
  int64_t tokens_of_thread = num_tokens / spread;
  if (tokens_of_thread > tokens_in_flight) tokens_of_thread = tokens_in_flight;
  if (tokens_of_thread > shape.threads_x) tokens_of_thread = shape.threads_x;
  if (tokens_of_thread < 1) tokens_of_thread = 1;
  shape.tokens_per_block = static_cast<int>(tokens_of_thread) * shape.threads_y;
  shape.blocks = (num_tokens - 1) / shape.tokens_per_block + 1;
  return shape;
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_CONFIG_H_
