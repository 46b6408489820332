// SPDX-License-Identifier: Apache-2.0
#include "collectives/restore_hidden_states.h"

#include "core/status_macros.h"

namespace weft {

absl::Status RestoreHiddenStates(Queue& queue, Communicator& communicator, const TensorView& hidden,
                                 const TensorView& restore_index, const TensorView& gathered,
                                 const TensorView& out, absl::Time deadline) {
  RETURN_IF_ERROR(communicator.AllGather(queue, hidden, gathered, deadline));
  GatherRowsArgs args;
  args.source = gathered;
  args.index = restore_index;
  args.destination = out;
  return queue.GatherRows(args);
}

}  // namespace weft
