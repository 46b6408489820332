// SPDX-License-Identifier: Apache-2.0
//
// QuantizeFp8, to the bit, and fp8 codes on their way through a cache.
//
//   quantize dtype=f16 to=f8e4m3 rows=64 heads=8 d=128 data=all
#ifndef WEFT_TESTING_CONFORMANCE_QUANTIZE_CHECKS_H_
#define WEFT_TESTING_CONFORMANCE_QUANTIZE_CHECKS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/dtype.h"
#include "testing/conformance/attention_case.h"

namespace weft::testing {

enum class QuantizeData : int {
  kRandom,
  kAll,   // one element after the other has all bit patterns of 16 bits
  kTies,  // f32 whose quotients lie in the middle of two codes, or a step of f32 beside
};

struct QuantizeCase {
  DType dtype = DType::kF16;
  DType to = DType::kF8E4M3;
  int64_t rows = 5;
  int64_t heads = 3;
  int64_t head_size = 33;
  double scale = 1.0;
  bool head_scales = false;
  QuantizeData data = QuantizeData::kRandom;
  IoKind io = IoKind::kDense;
  Place place = Place::kDevice;
  uint64_t seed = 1;

  std::string ToString() const;
  static absl::StatusOr<QuantizeCase> Parse(std::string_view line);
};

// The sign of a NaN is not looked at.
absl::Status CheckQuantize(Backend& backend, const QuantizeCase& c);

// All 256 codes of both types, copied into a cache by ReshapeAndCache and read by Attention: as
// values they come out as they are, as keys they are the LSE.
absl::Status CheckAllCodes(Backend& backend);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_QUANTIZE_CHECKS_H_
