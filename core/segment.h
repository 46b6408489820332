// SPDX-License-Identifier: Apache-2.0
//
// Segment: the unit that attention works on. A decode is a segment of one row, a chunked prefill is
// a segment whose first position is its context length, the head and tail chunks of a PCP rank are
// two segments of one request.
#ifndef WEFT_CORE_SEGMENT_H_
#define WEFT_CORE_SEGMENT_H_

#include <cstdint>

namespace weft {

// Query rows [first_row, first_row + num_rows) of a rank's buffer hold the tokens at absolute
// positions [first_position, first_position + num_rows) of request `request`. A row at position p
// sees the keys at positions [0, p] (minus what a window hides). PCP padding rows belong to no
// segment: their output is 0.
struct Segment {
  int32_t request = 0;
  int64_t first_row = 0;
  int64_t num_rows = 0;
  int64_t first_position = 0;
};

inline bool operator==(const Segment& a, const Segment& b) {
  return a.request == b.request && a.first_row == b.first_row && a.num_rows == b.num_rows &&
         a.first_position == b.first_position;
}

}  // namespace weft

#endif  // WEFT_CORE_SEGMENT_H_
