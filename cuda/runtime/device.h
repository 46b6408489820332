// SPDX-License-Identifier: Apache-2.0
//
// CUDA devices: which there are, and which of them a thread's calls go to.
#ifndef WEFT_CUDA_RUNTIME_DEVICE_H_
#define WEFT_CUDA_RUNTIME_DEVICE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {

// The devices that weft has kernels for (compute capability 8.0 or later), ordinals as CUDA counts
// them. Makes no context, so a device may still refuse when it is created. UNAVAILABLE says why
// there is none: no driver, one too old, no device, or only devices too old.
absl::StatusOr<std::vector<DeviceInfo>> EnumerateDevices();

// Makes `ordinal` the current device of this thread while it lives, and then the former one: a
// caller with a device of its own must not find another one after a call of ours.
class ScopedDevice {
 public:
  explicit ScopedDevice(int32_t ordinal);
  ~ScopedDevice();
  ScopedDevice(const ScopedDevice&) = delete;
  ScopedDevice& operator=(const ScopedDevice&) = delete;

  // Why the device could not be made current. UNAVAILABLE or INTERNAL.
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
  int previous_ = -1;  // -1: nothing to restore
};

// While it lives, this thread may wait and allocate although another thread (or this one, on
// another stream) has a capture under way in the global mode, which forbids that to everybody: our
// waits and allocations are on no captured stream, so nothing of that capture depends on them.
class ScopedRelaxedCapture {
 public:
  ScopedRelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~ScopedRelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ScopedRelaxedCapture(const ScopedRelaxedCapture&) = delete;
  ScopedRelaxedCapture& operator=(const ScopedRelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_RUNTIME_DEVICE_H_
