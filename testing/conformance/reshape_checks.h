// SPDX-License-Identifier: Apache-2.0
//
// ReshapeAndCache: bit-exact, quantised or not, and nothing but the slots is written.
//
//   reshape dtype=bf16 heads=2 d=64 block=16 blocks=7 rows=20 skip=2 extra=3 seed=1 cache=f8e4m3
#ifndef WEFT_TESTING_CONFORMANCE_RESHAPE_CHECKS_H_
#define WEFT_TESTING_CONFORMANCE_RESHAPE_CHECKS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/dtype.h"
#include "testing/conformance/attention_case.h"

namespace weft::testing {

struct ReshapeCase {
  DType dtype = DType::kBF16;  // of key and value
  int64_t heads = 2;
  int64_t head_size = 64;
  int64_t block_size = 16;
  int64_t blocks = 4;
  int64_t rows = 20;  // slots, the skipped ones too; at most blocks * block_size
  int64_t skip = 0;   // of them -1
  int64_t bad = 0;    // of them outside the cache: must not be written
  int64_t extra = 0;  // rows of key and value past the slots
  int64_t segments = 1;
  int64_t offset = 0;  // elements by which key and value stand off an aligned address
  KvKind cache = KvKind::kSame;
  ScaleKind scales = ScaleKind::kNone;  // of an fp8 cache; kTensor: the same for each head
  bool strided = false;
  LayoutKind layout = LayoutKind::kNhd;
  int64_t bias = 0;  // see CacheOptions
  Place place = Place::kDevice;
  uint64_t seed = 1;

  DType cache_dtype() const;
  std::string ToString() const;
  static absl::StatusOr<ReshapeCase> Parse(std::string_view line);
};

absl::Status CheckReshape(Backend& backend, const ReshapeCase& c);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_RESHAPE_CHECKS_H_
