// SPDX-License-Identifier: Apache-2.0
#include "cuda/test_reservation.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {
namespace {

// The version of the driver interface that has virtual memory management.
constexpr unsigned kVersion = 12000;

template <typename Function>
absl::Status Find(const char* name, Function* function) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  if (cudaGetDriverEntryPointByVersion(name, &found, kVersion, cudaEnableDefault, &result) !=
          cudaSuccess ||
      result != cudaDriverEntryPointSuccess || found == nullptr) {
    return absl::UnimplementedError(absl::StrCat("the driver has no ", name));
  }
  *function = reinterpret_cast<Function>(found);
  return absl::OkStatus();
}

absl::Status ToStatus(CUresult result, std::string_view what) {
  if (result == CUDA_SUCCESS) return absl::OkStatus();
  const std::string message = absl::StrCat(what, ": CUresult ", static_cast<int>(result));
  return result == CUDA_ERROR_NOT_SUPPORTED ? absl::UnimplementedError(message)
                                            : absl::InternalError(message);
}

}  // namespace

absl::StatusOr<std::unique_ptr<TestReservation>> TestReservation::Create(int device, int64_t empty,
                                                                         int64_t bytes) {
  Driver driver = {};
  RETURN_IF_ERROR(Find("cuMemAddressReserve", &driver.reserve));
  RETURN_IF_ERROR(Find("cuMemAddressFree", &driver.free));
  RETURN_IF_ERROR(Find("cuMemCreate", &driver.create));
  RETURN_IF_ERROR(Find("cuMemRelease", &driver.release));
  RETURN_IF_ERROR(Find("cuMemMap", &driver.map));
  RETURN_IF_ERROR(Find("cuMemUnmap", &driver.unmap));
  RETURN_IF_ERROR(Find("cuMemSetAccess", &driver.set_access));
  RETURN_IF_ERROR(Find("cuMemGetAllocationGranularity", &driver.granularity));
  std::unique_ptr<TestReservation> reservation(new TestReservation(driver));
  RETURN_IF_ERROR(
      reservation->Init(device, static_cast<size_t>(empty), static_cast<size_t>(bytes)));
  return reservation;
}

absl::Status TestReservation::Init(int device, size_t empty, size_t bytes) {
  CUmemAllocationProp properties = {};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = device;
  size_t unit = 0;
  RETURN_IF_ERROR(ToStatus(
      driver_.granularity(&unit, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM), "granularity"));
  if (empty % unit != 0)
    return absl::InvalidArgumentError(absl::StrCat(empty, ": not a multiple of ", unit));
  empty_ = empty;
  const size_t size = (bytes + unit - 1) / unit * unit;
  RETURN_IF_ERROR(ToStatus(driver_.reserve(&address_, empty + size, 0, 0, 0), "reserving"));
  reserved_ = empty + size;
  RETURN_IF_ERROR(ToStatus(driver_.create(&memory_, size, &properties, 0), "allocating"));
  RETURN_IF_ERROR(ToStatus(driver_.map(address_ + empty_, size, 0, memory_, 0), "mapping"));
  mapped_ = size;
  CUmemAccessDesc access = {};
  access.location = properties.location;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  return ToStatus(driver_.set_access(address_ + empty_, size, &access, 1), "giving access");
}

TestReservation::~TestReservation() {
  if (mapped_ > 0) driver_.unmap(address_ + empty_, mapped_);
  if (memory_ != 0) driver_.release(memory_);
  if (reserved_ > 0) driver_.free(address_, reserved_);
}

}  // namespace weft::cuda
