// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "cuda/bench/paged_read.h"

namespace weft::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kBlocksPerMultiprocessor = 8;  // 2048 threads
constexpr int kLoads = 4;                    // in flight for each thread
constexpr uint32_t kPass = 32 * 16;          // bytes that a warp reads at once
constexpr uint32_t kChunk = kPass * kLoads;

// Nothing is read twice, so nothing should stay in the first cache.
__device__ uint4 Read(uint64_t address) {
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(address));
  return value;
}

// A warp takes a chunk, and neighbours take neighbouring ones: a page is read by warps that run at
// the same time.
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    PagedReadKernel(const PagedReadParams params, uint32_t chunks_of_half, uint64_t num_chunks) {
  const uint32_t warp = blockIdx.x * kWarps + threadIdx.x / 32;
  const uint32_t warps = gridDim.x * kWarps;
  const uint32_t lane_bytes = threadIdx.x % 32 * 16;
  const auto* blocks = reinterpret_cast<const int32_t*>(params.blocks);
  uint32_t seen = 0;
  for (uint64_t at = warp; at < num_chunks; at += warps) {
    const auto half = static_cast<uint32_t>(at) / chunks_of_half;
    const uint32_t chunk = static_cast<uint32_t>(at) - half * chunks_of_half;
    const uint64_t base = (half & 1) != 0 ? params.value_base : params.key_base;
    const uint64_t page = base + static_cast<uint64_t>(blocks[half >> 1]) * params.block_bytes;
    const uint32_t first = chunk * kChunk + lane_bytes;
    uint4 values[kLoads] = {};
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const uint32_t offset = first + i * kPass;
      if (offset < params.half_bytes) values[i] = Read(page + offset);
    }
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      seen ^= values[i].x ^ values[i].y ^ values[i].z ^ values[i].w;
    }
  }
  // Keeps the loads alive: that it is always 0 is not known here.
  if (params.sink != 0) *reinterpret_cast<uint32_t*>(params.sink) = seen;
}

}  // namespace

cudaError_t LaunchPagedRead(const PagedReadParams& params, int multiprocessors,
                            cudaStream_t stream) {
  const uint32_t chunks_of_half = (params.half_bytes + kChunk - 1) / kChunk;
  const uint64_t num_chunks = uint64_t{2} * params.num_blocks * chunks_of_half;
  if (num_chunks == 0) return cudaSuccess;
  if (num_chunks > UINT32_MAX) return cudaErrorInvalidValue;
  const uint64_t wanted = (num_chunks + kWarps - 1) / kWarps;
  const uint64_t room = static_cast<uint64_t>(multiprocessors) * kBlocksPerMultiprocessor;
  PagedReadKernel<<<static_cast<unsigned>(wanted < room ? wanted : room), kThreads, 0, stream>>>(
      params, chunks_of_half, num_chunks);
  return cudaGetLastError();
}

}  // namespace weft::cuda
