// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/step_work.h"

#include <numeric>

namespace weft::replay {

std::vector<int64_t> SourceRows(const StepWork& work, int64_t rank) {
  std::vector<int64_t> sources;
  if (!work.partition) {
    sources.resize(work.metadata.num_actual_tokens());
    std::iota(sources.begin(), sources.end(), 0);
    return sources;
  }
  sources.reserve(work.partition->local_total());
  for (const PcpRow& row : work.partition->Rows(rank)) {
    sources.push_back(row.is_padding ? -1 : row.source);
  }
  return sources;
}

}  // namespace weft::replay
