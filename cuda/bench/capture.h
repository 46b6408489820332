// SPDX-License-Identifier: Apache-2.0
//
// Capture: what a piece of code puts on a stream, as a CUDA graph.
#ifndef WEFT_CUDA_BENCH_CAPTURE_H_
#define WEFT_CUDA_BENCH_CAPTURE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {

// Owns a graph that was captured. Movable.
class CapturedGraph {
 public:
  // Runs `work` while `stream` is under capture, in the global mode: a call of any thread that
  // might wait or allocate makes it fail. The errors of `work`; the stream is not under capture
  // afterwards, whatever happens.
  static absl::StatusOr<CapturedGraph> Capture(cudaStream_t stream,
                                               absl::FunctionRef<absl::Status()> work);
  CapturedGraph(CapturedGraph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
  CapturedGraph& operator=(CapturedGraph&& other) noexcept {
    std::swap(graph_, other.graph_);
    return *this;
  }
  ~CapturedGraph();

  cudaGraph_t get() const { return graph_; }
  // How many blocks of threads each kernel has, in no order that means anything. Copies and fills
  // are no kernels.
  absl::StatusOr<std::vector<int64_t>> KernelGrids() const;
  // The caller destroys it.
  absl::StatusOr<cudaGraphExec_t> Instantiate() const;

 private:
  explicit CapturedGraph(cudaGraph_t graph) : graph_(graph) {}
  cudaGraph_t graph_;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_BENCH_CAPTURE_H_
