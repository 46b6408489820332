// SPDX-License-Identifier: Apache-2.0
//
// A range of device addresses of which only the end is memory, for tests.
#ifndef WEFT_CUDA_TEST_RESERVATION_H_
#define WEFT_CUDA_TEST_RESERVATION_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cuda.h"

namespace weft::cuda {

class TestReservation {
 public:
  // `empty` addresses that fault, and behind them `bytes` of memory of the device. The device's
  // context must be current. UNIMPLEMENTED: the device has no virtual memory management;
  // INVALID_ARGUMENT: `empty` is not a multiple of its granularity (2 MiB).
  static absl::StatusOr<std::unique_ptr<TestReservation>> Create(int device, int64_t empty,
                                                                 int64_t bytes);
  ~TestReservation();

  // Of the first address that faults.
  uint64_t address() const { return static_cast<uint64_t>(address_); }

 private:
  // Entry points of the driver, which a program does not link.
  struct Driver {
    decltype(&cuMemAddressReserve) reserve;
    decltype(&cuMemAddressFree) free;
    decltype(&cuMemCreate) create;
    decltype(&cuMemRelease) release;
    decltype(&cuMemMap) map;
    decltype(&cuMemUnmap) unmap;
    decltype(&cuMemSetAccess) set_access;
    decltype(&cuMemGetAllocationGranularity) granularity;
  };

  explicit TestReservation(const Driver& driver) : driver_(driver) {}
  absl::Status Init(int device, size_t empty, size_t bytes);

  Driver driver_;
  CUdeviceptr address_ = 0;
  size_t empty_ = 0;
  size_t mapped_ = 0;  // bytes
  size_t reserved_ = 0;
  CUmemGenericAllocationHandle memory_ = 0;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_TEST_RESERVATION_H_
