// SPDX-License-Identifier: Apache-2.0
//
// Ranks as threads, for tests: each with its communicator, its queue and its device.
#ifndef WEFT_COLLECTIVES_GROUP_FOR_TEST_H_
#define WEFT_COLLECTIVES_GROUP_FOR_TEST_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "collectives/communicator.h"
#include "collectives/fake_device_for_test.h"
#include "collectives/in_process.h"

namespace weft::testing {

struct TestRank {
  int64_t rank = 0;
  std::unique_ptr<Communicator> communicator;
  std::shared_ptr<FakeDevice> device;
  std::unique_ptr<FakeQueue> queue;
};

class TestGroup {
 public:
  // One device for all ranks, or one each: two backend objects of the same DeviceId.
  TestGroup(int64_t world_size, bool one_device) : ranks_(world_size) {
    auto communicators = CreateInProcessGroup(world_size);
    auto shared = std::make_shared<FakeDevice>();
    for (int64_t rank = 0; rank < world_size; ++rank) {
      ranks_[rank].rank = rank;
      ranks_[rank].communicator = std::move(communicators[rank]);
      ranks_[rank].device = one_device ? shared : std::make_shared<FakeDevice>();
      ranks_[rank].queue = std::make_unique<FakeQueue>(*ranks_[rank].device);
    }
  }

  TestRank& operator[](int64_t rank) { return ranks_[rank]; }
  int64_t size() const { return static_cast<int64_t>(ranks_.size()); }

  // Runs `body` on every rank at once, and returns when all have ended.
  void Run(const std::function<void(TestRank&)>& body) {
    std::vector<std::thread> threads;
    for (TestRank& rank : ranks_) threads.emplace_back([&body, &rank] { body(rank); });
    for (std::thread& thread : threads) thread.join();
  }

 private:
  std::vector<TestRank> ranks_;
};

}  // namespace weft::testing

#endif  // WEFT_COLLECTIVES_GROUP_FOR_TEST_H_
