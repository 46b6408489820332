// SPDX-License-Identifier: Apache-2.0
//
// The ranks of the cp tests: threads, each with device memory of its own.
#ifndef WEFT_COLLECTIVES_CP_RANKS_FOR_TEST_H_
#define WEFT_COLLECTIVES_CP_RANKS_FOR_TEST_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "collectives/communicator.h"
#include "collectives/ranks_for_test.h"
#include "core/ops/case_for_test.h"

namespace weft::testing {

// Runs `body` on each rank of a new group of `world` at once, and returns when all have ended. The
// ranks' memory is of one backend object.
inline void RunRanks(int64_t world, const std::function<void(DeviceMemory&, Communicator&)>& body) {
  const std::shared_ptr<Backend> backend = OpenBackend();
  OnEachRank(world, [&](Communicator& communicator) {
    DeviceMemory memory(backend);
    body(memory, communicator);
  });
}

}  // namespace weft::testing

#endif  // WEFT_COLLECTIVES_CP_RANKS_FOR_TEST_H_
