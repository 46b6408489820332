// SPDX-License-Identifier: Apache-2.0
//
// DeviceTools: what a bench wants of a device beyond weft's own interface: the time of many calls
// without the host between them, and the ceilings that no operation of weft's shows. A backend's
// own tools register themselves (//cuda/bench:auto does); every other is timed by its queue.
//
//   ASSIGN_OR_RETURN(auto tools, MakeDeviceTools(backend));
//   ASSIGN_OR_RETURN(auto replay, tools->Record(8, [&](Queue& queue, int64_t call) { ... }));
//   ASSIGN_OR_RETURN(double seconds, replay->Run());
#ifndef WEFT_TOOLS_BENCH_DEVICE_TOOLS_H_
#define WEFT_TOOLS_BENCH_DEVICE_TOOLS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/device.h"
#include "core/kv_cache.h"
#include "core/queue.h"
#include "core/tensor_view.h"

namespace weft::bench {

// Calls that can be run again and again. Not thread-safe; must not outlive its tools.
class Replay {
 public:
  virtual ~Replay() = default;
  // Runs all calls once, blocks until they are done, and returns the seconds that the device took.
  virtual absl::StatusOr<double> Run() = 0;
  // What the last Run took of the host to start it, in seconds. UNIMPLEMENTED: calls are started
  // one by one.
  virtual absl::StatusOr<double> HostSeconds() const;
};

// Of one thread.
class DeviceTools {
 public:
  // Records call number `call` into `queue`; it neither submits nor waits. What it names must live
  // as long as the replay.
  using RecordCall = std::function<absl::Status(Queue& queue, int64_t call)>;

  virtual ~DeviceTools() = default;

  // How Run measures, for the report: "CUDA graph, events".
  virtual std::string_view method() const = 0;
  // What the backend's own DeviceInfo does not say of the driver; empty: nothing.
  virtual std::string driver() const { return ""; }

  // `calls` calls in a row. The errors of `record`.
  virtual absl::StatusOr<std::unique_ptr<Replay>> Record(int64_t calls, RecordCall record) = 0;

  // Of use inside a RecordCall only. Reads every byte of the keys and values of `blocks` (i32 [n])
  // and does nothing else: what no attention over these pages can beat. UNIMPLEMENTED: no such
  // kernel here.
  virtual absl::Status PagedRead(const KvCacheView& cache, const TensorView& blocks);

  // Of use inside a RecordCall only. Copies `bytes`, a multiple of 16, as fast as the device can:
  // Queue::Copy, where nothing is known to be faster.
  virtual absl::Status StreamCopy(Queue& queue, uint64_t to, uint64_t from, int64_t bytes);

  // Of use inside a RecordCall only. c = a * b, bf16 [n, n] each, row-major, sums in f32, by the
  // vendor's library. UNIMPLEMENTED or UNAVAILABLE: there is none.
  virtual absl::Status Matmul(const TensorView& a, const TensorView& b, const TensorView& c);

  // Kernels that `record` starts. UNIMPLEMENTED: they cannot be counted here.
  virtual absl::StatusOr<int64_t> CountKernels(RecordCall record);

  // Seconds of the host to start one kernel that does nothing, the mean of `launches` in a row: the
  // driver's part of every kernel. Waits for them. UNIMPLEMENTED: there is no such thing here.
  virtual absl::StatusOr<double> LaunchSeconds(int64_t launches);
};

using DeviceToolsFactory =
    std::function<absl::StatusOr<std::unique_ptr<DeviceTools>>(std::shared_ptr<Backend>)>;

// For the time of the process; called before main. The first of a kind stays.
bool RegisterDeviceTools(BackendKind kind, DeviceToolsFactory factory);

// The registered tools of the backend's kind, or those that time with the queue's profiling.
absl::StatusOr<std::unique_ptr<DeviceTools>> MakeDeviceTools(std::shared_ptr<Backend> backend);

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_DEVICE_TOOLS_H_
