// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/device.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/device.h"
#include "core/status_macros.h"
#include "cuda/runtime/status.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {
namespace {

constexpr int kMinMajor = 8;

// CUDA counts versions as 1000 * major + 10 * minor.
std::string VersionName(int version) {
  return absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

// cudaGetDeviceCount answers "driver version is insufficient" where there is no driver at all,
// which sends people looking for an update.
absl::Status CheckDriver(int* driver) {
  RETURN_IF_ERROR(ToStatus(cudaDriverGetVersion(driver), "asking for the driver's version"));
  if (*driver == 0) return absl::UnavailableError("no CUDA driver: libcuda.so.1 was not found");
  // Within a major version an older driver serves a newer runtime.
  if (*driver / 1000 < CUDART_VERSION / 1000) {
    return absl::UnavailableError(absl::StrCat("CUDA driver too old: it serves CUDA ",
                                               VersionName(*driver), ", this program needs ",
                                               VersionName(CUDART_VERSION)));
  }
  return absl::OkStatus();
}

DeviceInfo Describe(int ordinal, const cudaDeviceProp& properties, int driver) {
  DeviceInfo info;
  info.id = {BackendKind::kCuda, ordinal};
  info.name = properties.name;
  info.driver =
      absl::StrCat("CUDA ", VersionName(driver), ", runtime ", VersionName(CUDART_VERSION));
  info.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  info.max_allocation_bytes = info.memory_bytes;
  info.limits = {
      {"compute capability", absl::StrCat(properties.major, ".", properties.minor)},
      {"multiprocessors", absl::StrCat(properties.multiProcessorCount)},
      {"shared memory of a block", absl::StrCat(properties.sharedMemPerBlockOptin)},
      {"L2 cache", absl::StrCat(properties.l2CacheSize)},
      {"subgroup size", absl::StrCat(properties.warpSize)},
  };
  return info;
}

}  // namespace

absl::StatusOr<std::vector<DeviceInfo>> EnumerateDevices() {
  int driver = 0;
  RETURN_IF_ERROR(CheckDriver(&driver));
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    cudaGetLastError();
    return absl::UnavailableError("no CUDA device: the driver is there, but shows none");
  }
  if (error != cudaSuccess) {
    // Whatever breaks here (a driver that does not fit its kernel module, say) leaves no device.
    return absl::UnavailableError(ToStatus(error, "counting devices").message());
  }

  std::vector<DeviceInfo> devices;
  std::vector<std::string> refused;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    cudaDeviceProp properties;
    RETURN_IF_ERROR(ToStatus(cudaGetDeviceProperties(&properties, ordinal),
                             absl::StrCat("asking for the properties of device ", ordinal)));
    if (properties.major >= kMinMajor) {
      devices.push_back(Describe(ordinal, properties, driver));
    } else {
      refused.push_back(absl::StrCat(properties.name, " has compute capability ", properties.major,
                                     ".", properties.minor));
    }
  }
  if (devices.empty()) {
    return absl::UnavailableError(absl::StrCat("no CUDA device of compute capability ", kMinMajor,
                                               ".0 or later: ", absl::StrJoin(refused, ", ")));
  }
  return devices;
}

ScopedDevice::ScopedDevice(int32_t ordinal) {
  int current = 0;
  status_ = ToStatus(cudaGetDevice(&current), "asking for the current device");
  if (!status_.ok()) return;
  // Even when it is current already: the first call makes its context.
  status_ = ToStatus(cudaSetDevice(ordinal), absl::StrCat("choosing device ", ordinal));
  if (status_.ok() && current != ordinal) previous_ = current;
}

ScopedDevice::~ScopedDevice() {
  if (previous_ >= 0) cudaSetDevice(previous_);
}

}  // namespace weft::cuda
