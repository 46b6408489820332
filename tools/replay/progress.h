// SPDX-License-Identifier: Apache-2.0
//
// A progress bar on stderr, if that is a terminal.
#ifndef WEFT_TOOLS_REPLAY_PROGRESS_H_
#define WEFT_TOOLS_REPLAY_PROGRESS_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace weft::replay {

class ProgressBar {
 public:
  ProgressBar();
  // Wipes the bar.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Draws at most ten times a second.
  void Update(int64_t done, int64_t total);

 private:
  bool is_terminal_;
  absl::Time start_;
  absl::Time last_drawn_ = absl::InfinitePast();
  size_t drawn_width_ = 0;
};

// "[######..............]  30%  12 s left": 20 cells; the time left is guessed from `elapsed`.
std::string ProgressLine(int64_t done, int64_t total, absl::Duration elapsed);

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_PROGRESS_H_
