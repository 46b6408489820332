// SPDX-License-Identifier: Apache-2.0
//
// Reads .safetensors: 8 bytes of little-endian header length, a JSON header, raw little-endian
// data. Nothing of a file is believed before it is checked.
#ifndef WEFT_TESTING_GOLDEN_SAFETENSORS_H_
#define WEFT_TESTING_GOLDEN_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace weft::testing {

struct SafeTensor {
  std::string dtype;  // as in the file: "F32", "BF16", "I64", ...
  std::vector<int64_t> shape;
  absl::Span<const uint8_t> data;  // row-major; belongs to the file
};

// Immutable; movable, not copyable, since the tensors point into it.
class SafeTensorsFile {
 public:
  // NOT_FOUND: cannot be opened. DATA_LOSS: anything wrong with the contents. Both name the file
  // and what.
  static absl::StatusOr<SafeTensorsFile> Read(const std::string& path);

  // The same for bytes in memory; `name` stands for the file in messages.
  static absl::StatusOr<SafeTensorsFile> Parse(std::string name, std::vector<uint8_t> bytes);

  SafeTensorsFile(SafeTensorsFile&&) = default;
  SafeTensorsFile& operator=(SafeTensorsFile&&) = default;
  SafeTensorsFile(const SafeTensorsFile&) = delete;
  SafeTensorsFile& operator=(const SafeTensorsFile&) = delete;

  const std::string& name() const { return name_; }
  bool Has(std::string_view tensor) const { return tensors_.find(tensor) != tensors_.end(); }

  // The tensor, if it has this dtype and shape (-1: any extent). DATA_LOSS names the file, the
  // tensor and both shapes otherwise.
  absl::StatusOr<SafeTensor> Get(std::string_view tensor, std::string_view dtype,
                                 absl::Span<const int64_t> shape) const;

 private:
  SafeTensorsFile() = default;

  std::string name_;
  std::vector<uint8_t> bytes_;
  std::map<std::string, SafeTensor, std::less<>> tensors_;
};

// All bytes of a file; NOT_FOUND names it.
absl::StatusOr<std::vector<uint8_t>> ReadFile(const std::string& path);

}  // namespace weft::testing

#endif  // WEFT_TESTING_GOLDEN_SAFETENSORS_H_
