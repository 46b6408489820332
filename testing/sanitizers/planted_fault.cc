// SPDX-License-Identifier: Apache-2.0
//
// planted_fault NAME: does what a sanitizer must die of. NAME "none" does nothing wrong. Some
// faults are calls of weft's own code that break its rules, so that the library is seen to be
// instrumented and not this file alone.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "core/attention_metadata.h"
#include "core/kv_cache.h"
#include "core/pcp_partition.h"

namespace {

// What the optimiser cannot see through.
volatile int64_t one = 1;

// ---- AddressSanitizer ---------------------------------------------------------------------------

void HeapOverflow() {
  const std::unique_ptr<int32_t[]> memory(new int32_t[4]);
  memory[3 + one] = 1;
}

void UseAfterFree() {
  volatile int32_t* const memory = new int32_t[4];
  delete[] memory;
  one = memory[0];
}

void StackUseAfterReturn() {
  int32_t* volatile outside = nullptr;
  const auto leave = [&outside]() __attribute__((noinline)) {
    volatile int32_t local = 1;
    outside = const_cast<int32_t*>(&local);
  };
  leave();
  *outside = 2;
}

void Leak() {
  int32_t* volatile memory = new int32_t[1000];
  memory[0] = 1;
  memory = nullptr;
}

// Block ids are promised to reach further than they do.
void CoreReadsPastTheBlockIds() {
  const std::vector<int32_t> ids = {0, 1};
  weft::Request request;
  request.num_new_tokens = 16 * 3;
  request.block_ids = absl::MakeConstSpan(ids.data(), ids.size() + one);
  weft::RequestBatch batch;
  batch.requests.push_back(request);
  const auto layout = *weft::KvCacheLayout::Nhd(weft::DType::kF16, 16, 1, 32);
  (void)weft::AttentionMetadataBuilder(layout, 100).Build(batch);
}

// ---- UndefinedBehaviorSanitizer -----------------------------------------------------------------

void SignedOverflow() { one = std::numeric_limits<int64_t>::max() + one; }

void ShiftTooFar() { one = int64_t{1} << (63 + one); }

void IndexOutOfBounds() {
  int32_t array[4] = {};
  one = array[3 + one];
}

void MisalignedRead() {
  alignas(8) char bytes[16] = {};
  one = *reinterpret_cast<const int64_t*>(bytes + one);
}

// A world size that Build would have refused.
void CoreOverflows() {
  (void)weft::PcpPartition::SafeCapacity(1, 1, 1, std::numeric_limits<int64_t>::min() + 1 - one);
}

// ---- ThreadSanitizer ----------------------------------------------------------------------------

void DataRace() {
  int64_t counter = 0;
  std::thread other([&] { counter += one; });
  counter += one;
  other.join();
}

void LockOrder() {
  std::mutex a, b;
  const auto lock = [](std::mutex& first, std::mutex& second) {
    const std::lock_guard<std::mutex> outer(first);
    const std::lock_guard<std::mutex> inner(second);
  };
  std::thread(lock, std::ref(a), std::ref(b)).join();
  std::thread(lock, std::ref(b), std::ref(a)).join();
}

// A value that one thread assigns while another one reads it.
void CoreValueShared() {
  weft::PcpPartition shared = *weft::PcpPartition::Build({}, 1);
  std::thread other([&] { shared = *weft::PcpPartition::Build({}, 2); });
  (void)shared.fingerprint();
  other.join();
}

struct Fault {
  const char* name;
  void (*plant)();
};

constexpr Fault kFaults[] = {{"none", [] {}},
                             {"heap_overflow", HeapOverflow},
                             {"use_after_free", UseAfterFree},
                             {"stack_use_after_return", StackUseAfterReturn},
                             {"leak", Leak},
                             {"core_reads_past_the_block_ids", CoreReadsPastTheBlockIds},
                             {"signed_overflow", SignedOverflow},
                             {"shift_too_far", ShiftTooFar},
                             {"index_out_of_bounds", IndexOutOfBounds},
                             {"misaligned_read", MisalignedRead},
                             {"core_overflows", CoreOverflows},
                             {"data_race", DataRace},
                             {"lock_order", LockOrder},
                             {"core_value_shared", CoreValueShared}};

}  // namespace

int main(int argc, char** argv) {
  for (const Fault& fault : kFaults) {
    if (argc != 2 || std::string_view(argv[1]) != fault.name) continue;
    fault.plant();
    std::puts("survived");
    return 0;
  }
  std::puts("no such fault");
  return 0;
}
