// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer's entry; WEFT_FUZZ_PROPERTY names one of properties.h.
#include <cstddef>
#include <cstdint>

#include "testing/fuzz/properties.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weft::fuzz::WEFT_FUZZ_PROPERTY({data, size});
  return 0;
}
