// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/cuda_queue.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/device.h"
#include "core/status_macros.h"
#include "cuda/kernels/attention/arguments.h"
#include "cuda/kernels/attention/attention.h"
#include "cuda/kernels/gather_rows/arguments.h"
#include "cuda/kernels/gather_rows/gather_rows.h"
#include "cuda/kernels/quantize/arguments.h"
#include "cuda/kernels/quantize/quantize.h"
#include "cuda/kernels/reshape_and_cache/arguments.h"
#include "cuda/kernels/reshape_and_cache/reshape_and_cache.h"
#include "cuda/kernels/states/arguments.h"
#include "cuda/kernels/states/states.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/prepared_attention.h"
#include "cuda/runtime/status.h"

namespace weft::cuda {
namespace {

constexpr absl::Duration kDestructorPatience = absl::Minutes(1);
// A step of inference often takes less than a sleep would, so Wait spins at first.
constexpr absl::Duration kSpin = absl::Microseconds(200);
constexpr absl::Duration kSleep = absl::Microseconds(50);

// `backend` must outlive it.
StagingPool::Source PinnedMemory(const CudaBackend* backend) {
  StagingPool::Source source;
  source.allocate = [backend](int64_t bytes) -> absl::StatusOr<uint8_t*> {
    void* pointer = nullptr;
    backend->CountAllocation();
    RETURN_IF_ERROR(
        ToStatus(cudaHostAlloc(&pointer, static_cast<size_t>(bytes), cudaHostAllocPortable),
                 absl::StrCat("pinning ", bytes, " bytes of host memory")));
    return static_cast<uint8_t*>(pointer);
  };
  source.free = [](uint8_t* data) {
    ScopedRelaxedCapture relaxed;
    cudaFreeHost(data);
  };
  return source;
}

void* Pointer(uint64_t address) { return reinterpret_cast<void*>(address); }

}  // namespace

absl::StatusOr<std::unique_ptr<Queue>> CudaQueue::Create(std::shared_ptr<const CudaBackend> backend,
                                                         std::optional<cudaStream_t> adopted) {
  ScopedDevice current(backend->device().ordinal);
  RETURN_IF_ERROR(current.status());
  ScopedRelaxedCapture relaxed;
  cudaStream_t stream = adopted.value_or(nullptr);
  if (!adopted.has_value()) {
    RETURN_IF_ERROR(
        ToStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream"));
  }
  return std::unique_ptr<Queue>(new CudaQueue(std::move(backend), stream, !adopted.has_value()));
}

CudaQueue::CudaQueue(std::shared_ptr<const CudaBackend> backend, cudaStream_t stream,
                     bool owns_stream)
    : Queue(backend->device(), &backend->allocations()),
      backend_(std::move(backend)),
      stream_(stream),
      owns_stream_(owns_stream),
      staging_(PinnedMemory(backend_.get())),
      done_events_(cudaEventDisableTiming),
      timing_events_(cudaEventDefault),
      op_times_(kNumOpKinds) {}

CudaQueue::~CudaQueue() {
  ScopedDevice current(device().ordinal);
  ScopedRelaxedCapture relaxed;
  if (status_.ok()) Reap(absl::Now() + kDestructorPatience, /*deliver=*/false).IgnoreError();
  staging_.Release(std::move(lease_));
  // CUDA keeps a destroyed stream until its work is done; it does not wait here.
  if (owns_stream_) cudaStreamDestroy(stream_);
}

absl::Status CudaQueue::Stick(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
  return status_;
}

absl::Status CudaQueue::Start(const Command& command, Submission& submission) {
  Timing timing = {command.kind, nullptr, nullptr};
  if (profiling_) {
    ASSIGN_OR_RETURN(timing.begin, timing_events_.Take());
    ASSIGN_OR_RETURN(timing.end, timing_events_.Take());
    RETURN_IF_ERROR(ToStatus(cudaEventRecord(timing.begin, stream_), "timing an operation"));
  }
  RETURN_IF_ERROR(ToStatus(command.start(stream_), Name(command.kind)));
  if (profiling_) {
    RETURN_IF_ERROR(ToStatus(cudaEventRecord(timing.end, stream_), "timing an operation"));
    submission.timings.push_back(timing);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> CudaQueue::IsCapturing() const {
  if (owns_stream_) return false;
  cudaStreamCaptureStatus state = cudaStreamCaptureStatusNone;
  RETURN_IF_ERROR(
      ToStatus(cudaStreamIsCapturing(stream_, &state), "asking whether a stream is captured"));
  return state != cudaStreamCaptureStatusNone;
}

absl::Status CudaQueue::RefuseCapture(std::string_view what) const {
  ASSIGN_OR_RETURN(const bool capturing, IsCapturing());
  if (!capturing) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(ToString(device()), ": the queue's stream is under capture, ", what));
}

absl::Status CudaQueue::SubmitToCapture() {
  // Recorded before the capture began. They stay recorded.
  if (!lease_.empty()) {
    return RefuseCapture(
        "and a copy from or to the host is recorded: a graph would repeat it with memory that is "
        "used for something else by then");
  }
  // What fails breaks the capture, not the device: it does not stick.
  for (const Command& command : std::exchange(commands_, {})) {
    RETURN_IF_ERROR(
        ToStatus(command.start(stream_), absl::StrCat("capturing ", Name(command.kind))));
  }
  return absl::OkStatus();
}

absl::Status CudaQueue::Submit() {
  RETURN_IF_ERROR(status_);
  if (commands_.empty()) return absl::OkStatus();
  ScopedDevice current(device().ordinal);
  RETURN_IF_ERROR(current.status());
  ASSIGN_OR_RETURN(const bool capturing, IsCapturing());
  if (capturing) return SubmitToCapture();
  ScopedRelaxedCapture relaxed;
  // Gives back the staging memory of a caller who submits often and waits seldom.
  RETURN_IF_ERROR(Reap(absl::InfinitePast(), /*deliver=*/true));

  // If one of them fails, those before it may be running: their staging memory stays taken.
  Submission submission;
  submission.staging = std::exchange(lease_, {});
  submission.downloads = std::exchange(downloads_, {});
  for (const Command& command : std::exchange(commands_, {})) {
    if (absl::Status started = Start(command, submission); !started.ok()) return Stick(started);
  }
  absl::StatusOr<cudaEvent_t> done = done_events_.Take();
  if (!done.ok()) return Stick(done.status());
  submission.done = *done;
  absl::Status recorded =
      ToStatus(cudaEventRecord(submission.done, stream_), "marking the end of a submission");
  if (!recorded.ok()) return Stick(recorded);
  in_flight_.push_back(std::move(submission));
  return absl::OkStatus();
}

absl::Status CudaQueue::Wait(absl::Time deadline) {
  RETURN_IF_ERROR(status_);
  ScopedDevice current(device().ordinal);
  RETURN_IF_ERROR(current.status());
  RETURN_IF_ERROR(RefuseCapture("so there is nothing to wait for before its graph is launched"));
  RETURN_IF_ERROR(Reap(deadline, /*deliver=*/true));
  if (in_flight_.empty()) return absl::OkStatus();
  return absl::DeadlineExceededError(absl::StrCat(ToString(device()), ": ", in_flight_.size(),
                                                  " submissions were not done by the deadline"));
}

absl::Status CudaQueue::Reap(absl::Time deadline, bool deliver) {
  ScopedRelaxedCapture relaxed;
  while (!in_flight_.empty()) {
    absl::StatusOr<bool> done = Await(in_flight_.front(), deadline);
    if (!done.ok()) return Stick(done.status());
    if (!*done) return absl::OkStatus();
    Submission submission = std::move(in_flight_.front());
    in_flight_.pop_front();
    if (absl::Status finished = Finish(std::move(submission), deliver); !finished.ok()) {
      return Stick(finished);
    }
  }
  return absl::OkStatus();
}

// Polls: a blocking wait of CUDA knows no deadline, and can hang for ever behind a kernel that
// never ends.
absl::StatusOr<bool> CudaQueue::Await(const Submission& submission, absl::Time deadline) {
  const absl::Time start = absl::Now();
  while (true) {
    const cudaError_t state = cudaEventQuery(submission.done);
    if (state == cudaSuccess) return true;
    if (state != cudaErrorNotReady) return ToStatus(state, "running submitted work");
    const absl::Time now = absl::Now();
    if (now >= deadline) return false;
    if (now - start < kSpin) {
      std::this_thread::yield();
    } else {
      absl::SleepFor(std::min(kSleep, deadline - now));
    }
  }
}

absl::Status CudaQueue::Finish(Submission submission, bool deliver) {
  for (const Download& download : submission.downloads) {
    if (!deliver) break;
    std::memcpy(download.destination.data(), download.staged, download.destination.size());
  }
  staging_.Release(std::move(submission.staging));
  done_events_.Return(submission.done);
  for (const Timing& timing : submission.timings) {
    float milliseconds = 0;
    RETURN_IF_ERROR(ToStatus(cudaEventElapsedTime(&milliseconds, timing.begin, timing.end),
                             "timing an operation"));
    OpTime& sum = op_times_[static_cast<size_t>(timing.kind)];
    ++sum.calls;
    sum.time += absl::Milliseconds(milliseconds);
    timing_events_.Return(timing.begin);
    timing_events_.Return(timing.end);
  }
  return absl::OkStatus();
}

std::vector<OpTime> CudaQueue::TakeOpTimes() {
  return std::exchange(op_times_, std::vector<OpTime>(kNumOpKinds));
}

absl::StatusOr<std::vector<absl::Span<uint8_t>>> CudaQueue::Stage(size_t bytes) {
  RETURN_IF_ERROR(
      RefuseCapture("and a copy from or to the host cannot be part of a graph: it would be "
                    "repeated with what the "
                    "host memory holds then"));
  ScopedDevice current(device().ordinal);
  RETURN_IF_ERROR(current.status());
  ScopedRelaxedCapture relaxed;
  std::vector<absl::Span<uint8_t>> pieces;
  while (bytes > 0) {
    ASSIGN_OR_RETURN(absl::Span<uint8_t> piece, staging_.Take(lease_, static_cast<int64_t>(bytes)));
    pieces.push_back(piece);
    bytes -= piece.size();
  }
  return pieces;
}

absl::Status CudaQueue::DoCopyFromHost(uint64_t destination, absl::Span<const uint8_t> source) {
  RETURN_IF_ERROR(status_);
  ASSIGN_OR_RETURN(std::vector<absl::Span<uint8_t>> pieces, Stage(source.size()));
  for (absl::Span<uint8_t> piece : pieces) {
    std::memcpy(piece.data(), source.data(), piece.size());
    commands_.push_back({OpKind::kCopy, [destination, piece](cudaStream_t stream) {
                           return cudaMemcpyAsync(Pointer(destination), piece.data(), piece.size(),
                                                  cudaMemcpyHostToDevice, stream);
                         }});
    destination += piece.size();
    source.remove_prefix(piece.size());
  }
  return absl::OkStatus();
}

absl::Status CudaQueue::DoCopyToHost(absl::Span<uint8_t> destination, uint64_t source) {
  RETURN_IF_ERROR(status_);
  ASSIGN_OR_RETURN(std::vector<absl::Span<uint8_t>> pieces, Stage(destination.size()));
  for (absl::Span<uint8_t> piece : pieces) {
    commands_.push_back({OpKind::kCopy, [piece, source](cudaStream_t stream) {
                           return cudaMemcpyAsync(piece.data(), Pointer(source), piece.size(),
                                                  cudaMemcpyDeviceToHost, stream);
                         }});
    downloads_.push_back({destination.subspan(0, piece.size()), piece.data()});
    source += piece.size();
    destination.remove_prefix(piece.size());
  }
  return absl::OkStatus();
}

absl::Status CudaQueue::DoCopy(uint64_t destination, uint64_t source, int64_t bytes) {
  RETURN_IF_ERROR(status_);
  commands_.push_back({OpKind::kCopy, [=](cudaStream_t stream) {
                         return cudaMemcpyAsync(Pointer(destination), Pointer(source),
                                                static_cast<size_t>(bytes),
                                                cudaMemcpyDeviceToDevice, stream);
                       }});
  return absl::OkStatus();
}

absl::Status CudaQueue::DoFill(uint64_t destination, int64_t bytes, uint32_t pattern) {
  RETURN_IF_ERROR(status_);
  const CudaBackend::MemsetD32 memset = backend_->memset_d32();
  commands_.push_back({OpKind::kFill, [=](cudaStream_t stream) {
                         // The two enums share their numbers.
                         return static_cast<cudaError_t>(
                             memset(destination, pattern, static_cast<size_t>(bytes / 4), stream));
                       }});
  return absl::OkStatus();
}

absl::Status CudaQueue::DoReshapeAndCache(const ReshapeAndCacheArgs& args) {
  RETURN_IF_ERROR(status_);
  ASSIGN_OR_RETURN(ReshapeAndCacheLaunches launches, MapReshapeAndCache(args));
  const int multiprocessors = backend_->num_multiprocessors();
  const int tokens_in_flight = launches.quantize ? kQuantizeTokensInFlight : kReshapeTokensInFlight;
  commands_.push_back(
      {OpKind::kReshapeAndCache,
       [launches = std::move(launches), tokens_in_flight, multiprocessors](cudaStream_t stream) {
         for (const ReshapeAndCacheParams& params : launches.params) {
           const ReshapeAndCacheShape shape = ChooseReshapeAndCacheShape(
               params.num_tokens, params.row_units, tokens_in_flight, multiprocessors);
           const cudaError_t error =
               launches.quantize
                   ? LaunchQuantizeToCache(params, launches.whole, shape, stream)
                   : LaunchReshapeAndCache(params, launches.unit_bytes, shape, stream);
           if (error != cudaSuccess) return error;
         }
         return cudaSuccess;
       }});
  return absl::OkStatus();
}

absl::Status CudaQueue::DoAttention(const AttentionArgs& args) {
  RETURN_IF_ERROR(status_);
  ASSIGN_OR_RETURN(const AttentionWork work, MapAttention(args));
  const auto& prepared = static_cast<const CudaPreparedAttention&>(*args.prepared);
  commands_.push_back(
      {OpKind::kAttention, [work, kernels = prepared.kernels()](cudaStream_t stream) {
         return LaunchAttention(kernels, work, stream);
       }});
  return absl::OkStatus();
}

absl::Status CudaQueue::DoGatherRows(const GatherRowsArgs& args) {
  RETURN_IF_ERROR(status_);
  ASSIGN_OR_RETURN(const GatherRowsLaunch launch, MapGatherRows(args));
  commands_.push_back({OpKind::kGatherRows, [launch](cudaStream_t stream) {
                         return LaunchGatherRows(launch.params, launch.unit_bytes, stream);
                       }});
  return absl::OkStatus();
}

absl::Status CudaQueue::DoMergeStates(const MergeStatesArgs& args) {
  RETURN_IF_ERROR(status_);
  ASSIGN_OR_RETURN(const MergeStatesParams params, MapMergeStates(args));
  commands_.push_back({OpKind::kMergeStates, [params](cudaStream_t stream) {
                         return LaunchMergeStates(params, stream);
                       }});
  return absl::OkStatus();
}

absl::Status CudaQueue::DoCorrectAttnOut(const CorrectAttnOutArgs& args) {
  RETURN_IF_ERROR(status_);
  ASSIGN_OR_RETURN(const CorrectAttnOutParams params, MapCorrectAttnOut(args));
  commands_.push_back({OpKind::kCorrectAttnOut, [params](cudaStream_t stream) {
                         return LaunchCorrectAttnOut(params, stream);
                       }});
  return absl::OkStatus();
}

absl::Status CudaQueue::DoQuantizeFp8(const QuantizeFp8Args& args) {
  RETURN_IF_ERROR(status_);
  ASSIGN_OR_RETURN(const QuantizeFp8Params params, MapQuantizeFp8(args));
  commands_.push_back({OpKind::kQuantizeFp8, [params](cudaStream_t stream) {
                         return LaunchQuantizeFp8(params, stream);
                       }});
  return absl::OkStatus();
}

}  // namespace weft::cuda
