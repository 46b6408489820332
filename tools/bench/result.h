// SPDX-License-Identifier: Apache-2.0
//
// What a run found, before anybody formats it.
#ifndef WEFT_TOOLS_BENCH_RESULT_H_
#define WEFT_TOOLS_BENCH_RESULT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/backend.h"

namespace weft::bench {

enum class Verdict : uint8_t {
  kOk,
  kFailed,       // wrong, or an error
  kUnsupported,  // the backend says that it cannot
  kNotMeasured,  // what would be measured is not to be had here
};

// One line of the table. Variants of a case are rows of their own: "prefill/1x8k.cold" beside
// "prefill/1x8k" (warm), "decode/b1_8k.read" (the paged read of the same pages).
struct Row {
  std::string name;
  Verdict verdict = Verdict::kOk;
  std::string note;  // why not; or what the figure stands for
  double seconds = 0.0;
  double fastest = 0.0;
  double slowest = 0.0;
  double bytes = 0.0;          // 0: not a matter of bytes
  double flops = 0.0;          // 0: likewise
  double floor_seconds = 0.0;  // 0: none known
  int64_t calls = 0;           // in a replay
  int64_t replays = 0;

  // Measured bytes and operations in a second; 0 where there are none.
  double bytes_per_second() const { return seconds > 0 ? bytes / seconds : 0.0; }
  double flops_per_second() const { return seconds > 0 ? flops / seconds : 0.0; }
  // 1: the floor is reached. 0: no floor.
  double share() const { return seconds > 0 ? floor_seconds / seconds : 0.0; }
};

// What the device does at best, measured in the same run; 0: not measured. In a second.
struct Ceilings {
  double copy_bytes = 0.0;  // read and written
  double matmul_flops_cold = 0.0;
  double matmul_flops_warm = 0.0;
};

struct Results {
  DeviceInfo device;
  std::string commit;
  std::string preset;
  std::string method;  // of timing
  bool checked = true;
  Ceilings ceilings;
  std::vector<Row> rows;
};

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_RESULT_H_
