// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace weft::replay {

ProgressBar::ProgressBar() : is_terminal_(isatty(STDERR_FILENO) != 0), start_(absl::Now()) {}

ProgressBar::~ProgressBar() {
  if (drawn_width_ > 0) absl::FPrintF(stderr, "\r%*s\r", static_cast<int>(drawn_width_), "");
}

void ProgressBar::Update(int64_t done, int64_t total) {
  const absl::Time now = absl::Now();
  if (!is_terminal_ || now - last_drawn_ < absl::Milliseconds(100)) return;
  last_drawn_ = now;
  const std::string line = ProgressLine(done, total, now - start_);
  absl::FPrintF(stderr, "\r%-*s", static_cast<int>(drawn_width_), line);
  std::fflush(stderr);
  drawn_width_ = std::max(drawn_width_, line.size());
}

std::string ProgressLine(int64_t done, int64_t total, absl::Duration elapsed) {
  constexpr int64_t kCells = 20;
  done = std::clamp<int64_t>(done, 0, total);
  const double part = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 0;
  const auto full = static_cast<int64_t>(part * kCells);
  std::string line = absl::StrFormat("[%s%s] %3d%%", std::string(full, '#'),
                                     std::string(kCells - full, '.'), static_cast<int>(part * 100));
  if (done > 0) {
    const double left = absl::ToDoubleSeconds(elapsed) * (1 - part) / part;
    line += absl::StrFormat("  %.0f s left", left);
  }
  return line;
}

}  // namespace weft::replay
