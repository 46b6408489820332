// SPDX-License-Identifier: Apache-2.0
//
// OutputDigest: one number for all output bytes of a run, request after request, so that two runs
// that batch or split their work in other ways can be compared.
#ifndef WEFT_TOOLS_REPLAY_DIGEST_H_
#define WEFT_TOOLS_REPLAY_DIGEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace weft::replay {

class OutputDigest {
 public:
  explicit OutputDigest(int64_t num_requests);

  // The next output bytes of `request`; a request's rows come in order of position. How they are
  // cut into calls does not matter as long as each holds whole 8-byte words.
  void Add(int64_t request, absl::Span<const uint8_t> bytes);

  // 16 hexadecimal digits.
  std::string ToString() const;

 private:
  std::vector<uint64_t> states_;
};

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_DIGEST_H_
