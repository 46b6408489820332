// SPDX-License-Identifier: Apache-2.0
//
// StepWork: one step as all ranks see it, decided on the host before any of them begins.
#ifndef WEFT_TOOLS_REPLAY_STEP_WORK_H_
#define WEFT_TOOLS_REPLAY_STEP_WORK_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "core/attention_metadata.h"
#include "core/pcp_partition.h"
#include "core/request_batch.h"
#include "tools/replay/scheduler.h"

namespace weft::replay {

// One (row, head) of one layer, to be held against the oracle.
struct Sample {
  int64_t layer = 0;
  int64_t entry = 0;     // in Step::entries
  int64_t position = 0;  // absolute
  int64_t head = 0;
  int64_t row = 0;        // in the step's order
  int64_t rank = 0;       // who is asked for it
  int64_t local_row = 0;  // in that rank's buffer
};

// What the device answered: [head_size] of the dtype, and the LSE.
struct SampleAnswer {
  std::vector<uint8_t> out;
  float lse = 0;
};

struct StepWork {
  Step step;
  RequestBatch batch;
  AttentionMetadata metadata;             // under DCP that of rank 0
  std::optional<PcpPartition> partition;  // none on one rank
  std::vector<Sample> samples;            // empty unless the step is checked

  const PcpPartition* partition_or_null() const { return partition ? &*partition : nullptr; }
};

// Where the rows of `rank` come from: [rows of the rank] places in the step's order, -1 at padding.
std::vector<int64_t> SourceRows(const StepWork& work, int64_t rank);

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_STEP_WORK_H_
