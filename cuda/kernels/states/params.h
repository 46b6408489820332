// SPDX-License-Identifier: Apache-2.0
//
// The argument blocks of the MergeStates and CorrectAttnOut kernels. No CUDA header.
#ifndef WEFT_CUDA_KERNELS_STATES_PARAMS_H_
#define WEFT_CUDA_KERNELS_STATES_PARAMS_H_

#include <cstdint>
#include <type_traits>

#include "core/divisor.h"
#include "cuda/kernels/divide.h"
#include "cuda/kernels/element_type.h"
#include "cuda/kernels/head_places.h"
#include "cuda/kernels/host_device.h"
#include "cuda/kernels/row_groups.h"
#include "cuda/kernels/states/config.h"
#include "cuda/kernels/states/weights.h"

namespace weft::cuda {

// What both have in common: an item is a (row, head), whose dimensions are taken vector by vector.
struct StateShape {
  int64_t rows;
  uint32_t heads;
  Divisor by_heads;
  int32_t lanes_log2;
  uint32_t vectors;  // of a head, below 2^31
  ElementType type;  // of what is read
  bool whole;        // vectors of 16 bytes as read; otherwise of one element
  uint64_t sinks;    // f32 [heads]; 0: none
};

struct MergeStatesParams {
  StateShape shape;
  HeadPlaces a;
  HeadPlaces a_lse;
  HeadPlaces b;
  HeadPlaces b_lse;
  HeadPlaces out;
  HeadPlaces lse;
  ElementType out_type;
  float inverse_out_scale;
};
static_assert(std::is_trivially_copyable_v<MergeStatesParams>);

struct CorrectAttnOutParams {
  StateShape shape;
  HeadPlaces out;
  int64_t out_vector_stride;
  HeadPlaces corrected;
  int64_t corrected_vector_stride;
  HeadPlaces lses;  // of rank 0
  int64_t lses_rank_stride;
  HeadPlaces lse;
  int32_t ranks;
  int32_t rank;
  bool base2;
};
static_assert(std::is_trivially_copyable_v<CorrectAttnOutParams>);

inline void SkipRows(StateShape& shape, int64_t rows) {
  const int64_t left = shape.rows - rows;
  const int64_t most = RowsOfLaunch(shape.heads);
  shape.rows = left < most ? left : most;
}

// The launch that begins with row `first`.
inline MergeStatesParams SkipRows(MergeStatesParams p, int64_t first) {
  for (HeadPlaces* places : {&p.a, &p.a_lse, &p.b, &p.b_lse, &p.out, &p.lse})
    SkipRows(*places, first);
  SkipRows(p.shape, first);
  return p;
}

inline CorrectAttnOutParams SkipRows(CorrectAttnOutParams p, int64_t first) {
  for (HeadPlaces* places : {&p.out, &p.corrected, &p.lses, &p.lse}) SkipRows(*places, first);
  SkipRows(p.shape, first);
  return p;
}

WEFT_HOST_DEVICE inline float SinkOf(const StateShape& shape, uint32_t head) {
  return shape.sinks == 0 ? EmptyLse()
                          : LoadGlobal<float>(shape.sinks + uint64_t{head} * sizeof(float));
}

WEFT_HOST_DEVICE inline RankShare RankShareOf(const CorrectAttnOutParams& p, uint32_t row,
                                              uint32_t head) {
  const RankLses lses = {PlaceOf(p.lses, row, head), p.lses_rank_stride, p.ranks};
  return ShareOfRank(lses, p.rank, SinkOf(p.shape, head), p.base2);
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_STATES_PARAMS_H_
