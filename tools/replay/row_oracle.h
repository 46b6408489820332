// SPDX-License-Identifier: Apache-2.0
//
// Attention of one row and head in float64 with all that a layer of a preset may have: window,
// softcap, sink. testing/oracle.h is the same without them.
#ifndef WEFT_TOOLS_REPLAY_ROW_ORACLE_H_
#define WEFT_TOOLS_REPLAY_ROW_ORACLE_H_

#include <cstdint>

#include "absl/types/span.h"
#include "core/attention_spec.h"
#include "testing/oracle.h"

namespace weft::replay {

// The row at `position`, of query head `head`; `fetch` gives the key and value at a position in [0,
// position], as the cache holds them. The result's LSE is without the sink, its output with it.
testing::OracleResult AttendVisible(const AttentionSpec& spec, int64_t head, int64_t position,
                                    absl::Span<const float> query, testing::FetchKeyValue fetch);

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_ROW_ORACLE_H_
