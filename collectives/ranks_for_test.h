// SPDX-License-Identifier: Apache-2.0
//
// An in-process group whose ranks are threads, for tests.
#ifndef WEFT_COLLECTIVES_RANKS_FOR_TEST_H_
#define WEFT_COLLECTIVES_RANKS_FOR_TEST_H_

#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "collectives/communicator.h"
#include "collectives/in_process.h"

namespace weft::testing {

// Runs `body` on each rank of a new group of `world` at once, and returns when all have ended.
inline void OnEachRank(int64_t world, const std::function<void(Communicator&)>& body) {
  auto group = CreateInProcessGroup(world);
  std::vector<std::thread> threads;
  for (auto& communicator : group)
    threads.emplace_back([&body, end = communicator.get()] { body(*end); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace weft::testing

#endif  // WEFT_COLLECTIVES_RANKS_FOR_TEST_H_
