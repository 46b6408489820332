// SPDX-License-Identifier: Apache-2.0
//
// RestoreHiddenStates: the last station of a step with PCP. Every rank gives its local rows, and
// every rank gets the rows of all of the step's tokens, in the step's order, padding gone.
#ifndef WEFT_COLLECTIVES_RESTORE_HIDDEN_STATES_H_
#define WEFT_COLLECTIVES_RESTORE_HIDDEN_STATES_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "core/queue.h"
#include "core/tensor_view.h"

namespace weft {

// hidden         [local_total, ...], contiguous, any dtype: this rank's rows
// restore_index  i64 [num_tokens]: PcpPartition::CompactRestoreIndex, on the device
// gathered       [padded_total, ...]: scratch, overwritten
// out            [num_tokens, ...]
//
// Submits the queue and blocks in the AllGather, with its errors; then records one GatherRows: out
// is complete when the queue has been submitted and waited for.
absl::Status RestoreHiddenStates(Queue& queue, Communicator& communicator, const TensorView& hidden,
                                 const TensorView& restore_index, const TensorView& gathered,
                                 const TensorView& out, absl::Time deadline);

}  // namespace weft

#endif  // WEFT_COLLECTIVES_RESTORE_HIDDEN_STATES_H_
