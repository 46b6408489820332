// SPDX-License-Identifier: Apache-2.0
//
// CudaQueue: a Queue over one CUDA stream. Operations are kept as closures until Submit, because a
// stream would start them at once; Submit puts them on the stream and an event behind them. Over an
// adopted stream that is under capture, Submit puts them into the graph, without the event: there
// is nothing to wait for.
#ifndef WEFT_CUDA_RUNTIME_CUDA_QUEUE_H_
#define WEFT_CUDA_RUNTIME_CUDA_QUEUE_H_

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/queue.h"
#include "cuda/runtime/cuda_backend.h"
#include "cuda/runtime/event_pool.h"
#include "cuda/runtime/staging_pool.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {

class CudaQueue final : public Queue {
 public:
  // Over `adopted`, a stream of the backend's device that must outlive the queue, or else over a
  // stream of its own.
  static absl::StatusOr<std::unique_ptr<Queue>> Create(std::shared_ptr<const CudaBackend> backend,
                                                       std::optional<cudaStream_t> adopted);

  // Waits for what is in flight, though no longer than a minute; what is not done then keeps its
  // staging memory for ever, since the device may still write there. Delivers no CopyToHost: its
  // destination may be gone.
  ~CudaQueue() override;

  absl::Status Submit() override;
  absl::Status Wait(absl::Time deadline) override;
  void SetProfiling(bool on) override { profiling_ = on; }
  std::vector<OpTime> TakeOpTimes() override;

 protected:
  absl::Status DoCopyFromHost(uint64_t destination, absl::Span<const uint8_t> source) override;
  absl::Status DoCopyToHost(absl::Span<uint8_t> destination, uint64_t source) override;
  absl::Status DoCopy(uint64_t destination, uint64_t source, int64_t bytes) override;
  absl::Status DoFill(uint64_t destination, int64_t bytes, uint32_t pattern) override;
  absl::Status DoReshapeAndCache(const ReshapeAndCacheArgs& args) override;
  absl::Status DoAttention(const AttentionArgs& args) override;
  absl::Status DoGatherRows(const GatherRowsArgs& args) override;
  absl::Status DoMergeStates(const MergeStatesArgs& args) override;
  absl::Status DoCorrectAttnOut(const CorrectAttnOutArgs& args) override;
  absl::Status DoQuantizeFp8(const QuantizeFp8Args& args) override;

 private:
  struct Command {
    OpKind kind;
    std::function<cudaError_t(cudaStream_t)> start;
  };
  struct Download {
    absl::Span<uint8_t> destination;
    const uint8_t* staged;
  };
  struct Timing {
    OpKind kind;
    cudaEvent_t begin;
    cudaEvent_t end;
  };
  struct Submission {
    cudaEvent_t done = nullptr;
    StagingPool::Lease staging;
    std::vector<Download> downloads;
    std::vector<Timing> timings;
  };

  CudaQueue(std::shared_ptr<const CudaBackend> backend, cudaStream_t stream, bool owns_stream);

  // Makes an error of the device the answer of every later call.
  absl::Status Stick(absl::Status status);
  // Whether the stream is under capture; also if that has gone wrong and is yet to be ended. Only
  // an adopted stream can be.
  absl::StatusOr<bool> IsCapturing() const;
  // FAILED_PRECONDITION: `what` cannot be captured.
  absl::Status RefuseCapture(std::string_view what) const;
  absl::Status SubmitToCapture();
  // Staging memory for a copy of `bytes`, in pieces. On an error nothing is recorded yet.
  absl::StatusOr<std::vector<absl::Span<uint8_t>>> Stage(size_t bytes);
  absl::Status Start(const Command& command, Submission& submission);
  // Finishes the submissions that are done, oldest first, until `deadline` (at least one look).
  absl::Status Reap(absl::Time deadline, bool deliver);
  // True if it is done, false if the deadline came first.
  absl::StatusOr<bool> Await(const Submission& submission, absl::Time deadline);
  absl::Status Finish(Submission submission, bool deliver);

  std::shared_ptr<const CudaBackend> backend_;
  cudaStream_t stream_;
  bool owns_stream_;
  bool profiling_ = false;
  absl::Status status_;  // the first error of the device

  StagingPool staging_;
  EventPool done_events_;
  EventPool timing_events_;

  // Recorded, not submitted.
  std::vector<Command> commands_;
  StagingPool::Lease lease_;
  std::vector<Download> downloads_;

  std::deque<Submission> in_flight_;
  std::vector<OpTime> op_times_;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_RUNTIME_CUDA_QUEUE_H_
