// SPDX-License-Identifier: Apache-2.0
#include "cuda/bench/capture.h"

#include "core/status_macros.h"
#include "cuda/runtime/status.h"

namespace weft::cuda {

absl::StatusOr<CapturedGraph> CapturedGraph::Capture(cudaStream_t stream,
                                                     absl::FunctionRef<absl::Status()> work) {
  RETURN_IF_ERROR(
      ToStatus(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "beginning a capture"));
  const absl::Status worked = work();
  cudaGraph_t graph = nullptr;
  const absl::Status ended = ToStatus(cudaStreamEndCapture(stream, &graph), "ending a capture");
  CapturedGraph captured(graph);
  // What `work` says is why the capture broke, if it did.
  RETURN_IF_ERROR(worked);
  RETURN_IF_ERROR(ended);
  return captured;
}

CapturedGraph::~CapturedGraph() {
  if (graph_ != nullptr) cudaGraphDestroy(graph_);
}

absl::StatusOr<std::vector<int64_t>> CapturedGraph::KernelGrids() const {
  size_t count = 0;
  RETURN_IF_ERROR(ToStatus(cudaGraphGetNodes(graph_, nullptr, &count), "counting a graph's nodes"));
  std::vector<cudaGraphNode_t> nodes(count);
  RETURN_IF_ERROR(
      ToStatus(cudaGraphGetNodes(graph_, nodes.data(), &count), "listing a graph's nodes"));
  std::vector<int64_t> grids;
  for (cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type = cudaGraphNodeTypeEmpty;
    RETURN_IF_ERROR(ToStatus(cudaGraphNodeGetType(node, &type), "looking at a graph's node"));
    if (type != cudaGraphNodeTypeKernel) continue;
    cudaKernelNodeParams kernel = {};
    RETURN_IF_ERROR(
        ToStatus(cudaGraphKernelNodeGetParams(node, &kernel), "looking at a graph's kernel"));
    grids.push_back(int64_t{kernel.gridDim.x} * kernel.gridDim.y * kernel.gridDim.z);
  }
  return grids;
}

absl::StatusOr<cudaGraphExec_t> CapturedGraph::Instantiate() const {
  cudaGraphExec_t executable = nullptr;
  RETURN_IF_ERROR(ToStatus(cudaGraphInstantiate(&executable, graph_, 0), "making a graph"));
  return executable;
}

}  // namespace weft::cuda
