// SPDX-License-Identifier: Apache-2.0
#include "cuda/bench/graph_tools.h"

#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/status_macros.h"
#include "cuda/bench/capture.h"
#include "cuda/bench/ceiling_kernels.h"
#include "cuda/bench/cublas.h"
#include "cuda/bench/paged_read.h"
#include "cuda/interop.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/status.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {
namespace {

// A graph, and events on both sides of each launch.
class GraphReplay final : public bench::Replay {
 public:
  static absl::StatusOr<std::unique_ptr<Replay>> Create(const CapturedGraph& graph, int32_t device,
                                                        cudaStream_t stream) {
    auto replay = std::unique_ptr<GraphReplay>(new GraphReplay(device, stream));
    ASSIGN_OR_RETURN(replay->executable_, graph.Instantiate());
    RETURN_IF_ERROR(ToStatus(cudaEventCreate(&replay->begin_), "making an event"));
    RETURN_IF_ERROR(ToStatus(cudaEventCreate(&replay->end_), "making an event"));
    RETURN_IF_ERROR(ToStatus(cudaGraphUpload(replay->executable_, stream), "uploading a graph"));
    return replay;
  }

  ~GraphReplay() override {
    ScopedDevice current(device_);
    if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
    if (begin_ != nullptr) cudaEventDestroy(begin_);
    if (end_ != nullptr) cudaEventDestroy(end_);
  }

  absl::StatusOr<double> Run() override {
    ScopedDevice current(device_);
    RETURN_IF_ERROR(current.status());
    RETURN_IF_ERROR(ToStatus(cudaEventRecord(begin_, stream_), "timing a graph"));
    const int64_t start = absl::GetCurrentTimeNanos();
    RETURN_IF_ERROR(ToStatus(cudaGraphLaunch(executable_, stream_), "launching a graph"));
    host_seconds_ = static_cast<double>(absl::GetCurrentTimeNanos() - start) * 1e-9;
    RETURN_IF_ERROR(ToStatus(cudaEventRecord(end_, stream_), "timing a graph"));
    RETURN_IF_ERROR(ToStatus(cudaEventSynchronize(end_), "running a graph"));
    float milliseconds = 0;
    RETURN_IF_ERROR(ToStatus(cudaEventElapsedTime(&milliseconds, begin_, end_), "timing a graph"));
    return milliseconds * 1e-3;
  }

  absl::StatusOr<double> HostSeconds() const override { return host_seconds_; }

 private:
  GraphReplay(int32_t device, cudaStream_t stream) : device_(device), stream_(stream) {}

  int32_t device_;
  cudaStream_t stream_;
  cudaGraphExec_t executable_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  double host_seconds_ = 0.0;
};

// "580.159.04": what the runtime does not tell.
std::string KernelModuleVersion() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string word;
  while (file >> word) {
    if (!word.empty() && word[0] >= '0' && word[0] <= '9' && word.find('.') != word.npos) {
      return word;
    }
  }
  return "";
}

class GraphTools final : public bench::DeviceTools {
 public:
  static absl::StatusOr<std::unique_ptr<DeviceTools>> Create(std::shared_ptr<Backend> backend) {
    ScopedDevice current(backend->device().ordinal);
    RETURN_IF_ERROR(current.status());
    auto tools = std::unique_ptr<GraphTools>(new GraphTools(std::move(backend)));
    RETURN_IF_ERROR(ToStatus(cudaStreamCreateWithFlags(&tools->stream_, cudaStreamNonBlocking),
                             "making a stream"));
    ASSIGN_OR_RETURN(tools->queue_, AdoptStream(*tools->backend_, tools->stream_));
    RETURN_IF_ERROR(
        ToStatus(cudaDeviceGetAttribute(&tools->multiprocessors_, cudaDevAttrMultiProcessorCount,
                                        tools->backend_->device().ordinal),
                 "counting multiprocessors"));
    return tools;
  }

  ~GraphTools() override {
    ScopedDevice current(backend_->device().ordinal);
    cublas_.reset();
    queue_.reset();
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  std::string_view method() const override { return "CUDA graph between two events"; }
  std::string driver() const override { return KernelModuleVersion(); }

  absl::StatusOr<std::unique_ptr<bench::Replay>> Record(int64_t calls, RecordCall record) override {
    ScopedDevice current(backend_->device().ordinal);
    RETURN_IF_ERROR(current.status());
    ASSIGN_OR_RETURN(const CapturedGraph graph, Capture(calls, record));
    ASSIGN_OR_RETURN(std::unique_ptr<bench::Replay> replay,
                     GraphReplay::Create(graph, backend_->device().ordinal, stream_));
    RETURN_IF_ERROR(replay->Run().status());
    return replay;
  }

  absl::Status PagedRead(const KvCacheView& cache, const TensorView& blocks) override {
    const KvCacheLayout& layout = cache.layout();
    const int64_t elements = layout.block_size() * layout.num_kv_heads() * layout.head_size();
    const int64_t half_bytes = elements * SizeOf(layout.dtype());
    const auto dense = [&](const KvStrides& strides) {
      return strides.inner == 0 && strides.head == layout.head_size() &&
             strides.token == layout.num_kv_heads() * layout.head_size();
    };
    if (cache.segments().size() != 1 || !dense(layout.key_strides()) ||
        !dense(layout.value_strides()) || half_bytes % 16 != 0) {
      return absl::UnimplementedError("the paged read knows dense pages of one allocation only");
    }
    PagedReadParams params = {};
    params.key_base = cache.segments()[0].key_base;
    params.value_base = cache.segments()[0].value_base;
    params.blocks = blocks.address();
    params.block_bytes = layout.key_strides().block * SizeOf(layout.dtype());
    params.num_blocks = static_cast<uint32_t>(blocks.num_elements());
    params.half_bytes = static_cast<uint32_t>(half_bytes);
    return ToStatus(LaunchPagedRead(params, multiprocessors_, stream_), "paged read");
  }

  absl::Status StreamCopy(Queue&, uint64_t to, uint64_t from, int64_t bytes) override {
    return ToStatus(LaunchStreamCopy(to, from, bytes, stream_), "copying");
  }

  absl::Status Matmul(const TensorView& a, const TensorView& b, const TensorView& c) override {
    if (!cublas_.has_value()) cublas_ = Cublas::Open(stream_);
    RETURN_IF_ERROR(cublas_->status());
    return (**cublas_)->Multiply(a.address(), b.address(), c.address(), a.extent(0));
  }

  absl::StatusOr<double> LaunchSeconds(int64_t launches) override {
    ScopedDevice current(backend_->device().ordinal);
    RETURN_IF_ERROR(current.status());
    const int64_t start = absl::GetCurrentTimeNanos();
    for (int64_t i = 0; i < launches; ++i)
      RETURN_IF_ERROR(ToStatus(LaunchNothing(stream_), "launching"));
    const auto elapsed = static_cast<double>(absl::GetCurrentTimeNanos() - start) * 1e-9;
    RETURN_IF_ERROR(ToStatus(cudaStreamSynchronize(stream_), "launching"));
    return elapsed / static_cast<double>(launches);
  }

  absl::StatusOr<int64_t> CountKernels(RecordCall record) override {
    ScopedDevice current(backend_->device().ordinal);
    RETURN_IF_ERROR(current.status());
    ASSIGN_OR_RETURN(const CapturedGraph graph, Capture(1, record));
    ASSIGN_OR_RETURN(const std::vector<int64_t> grids, graph.KernelGrids());
    return static_cast<int64_t>(grids.size());
  }

 private:
  explicit GraphTools(std::shared_ptr<Backend> backend) : backend_(std::move(backend)) {}

  absl::StatusOr<CapturedGraph> Capture(int64_t calls, const RecordCall& record) {
    // Once as it is: what is lazy (kernels, cuBLAS) must not happen under capture.
    RETURN_IF_ERROR(record(*queue_, 0));
    RETURN_IF_ERROR(queue_->Submit());
    RETURN_IF_ERROR(queue_->Wait(absl::Now() + absl::Minutes(5)));
    RETURN_IF_ERROR(ToStatus(cudaStreamSynchronize(stream_), "running a call"));
    return CapturedGraph::Capture(stream_, [&]() -> absl::Status {
      for (int64_t call = 0; call < calls; ++call) RETURN_IF_ERROR(record(*queue_, call));
      return queue_->Submit();
    });
  }

  std::shared_ptr<Backend> backend_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<Queue> queue_;
  int multiprocessors_ = 0;
  std::optional<absl::StatusOr<std::unique_ptr<Cublas>>> cublas_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<bench::DeviceTools>> MakeGraphTools(
    std::shared_ptr<Backend> backend) {
  return GraphTools::Create(std::move(backend));
}

}  // namespace weft::cuda
