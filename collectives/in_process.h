// SPDX-License-Identifier: Apache-2.0
//
// A group of ranks that are threads of one process: the semantic reference for every other
// Communicator, and what tests and `weft replay` run on.
//
//   auto group = CreateInProcessGroup(4);
//   // in thread r
//   RETURN_IF_ERROR(group[r]->AllGather(*queue, send, receive, deadline));
//
// Ranks may use one device or several. Where all queues of a call belong to one backend object,
// each rank copies from its peers' memory on its own queue; otherwise, and for sums, data goes
// through the host.
//
// After an error a peer's device may still be reading the memory that this rank gave to the call.
// The failing call waits for that to end before it returns, for at most ten seconds beyond its
// deadline; only a device that hangs longer than this can read memory that its owner has freed.
#ifndef WEFT_COLLECTIVES_IN_PROCESS_H_
#define WEFT_COLLECTIVES_IN_PROCESS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "collectives/communicator.h"

namespace weft {

// The communicators of ranks 0, 1, ..., one for each thread. They share their state and may be
// destroyed in any order. Empty if world_size < 1.
std::vector<std::unique_ptr<Communicator>> CreateInProcessGroup(int64_t world_size);

}  // namespace weft

#endif  // WEFT_COLLECTIVES_IN_PROCESS_H_
