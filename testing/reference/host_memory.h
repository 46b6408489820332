// SPDX-License-Identifier: Apache-2.0
//
// Addresses of the reference backend are host pointers.
#ifndef WEFT_TESTING_REFERENCE_HOST_MEMORY_H_
#define WEFT_TESTING_REFERENCE_HOST_MEMORY_H_

#include <cstdint>

namespace weft {

// `address` plus `byte_offset`, as a pointer.
template <typename T>
T* HostPointer(uint64_t address, int64_t byte_offset = 0) {
  return reinterpret_cast<T*>(address + static_cast<uint64_t>(byte_offset));
}

}  // namespace weft

#endif  // WEFT_TESTING_REFERENCE_HOST_MEMORY_H_
