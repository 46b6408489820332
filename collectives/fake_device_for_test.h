// SPDX-License-Identifier: Apache-2.0
//
// A device in host memory for tests of communicators. Its queues do nothing before Wait, so that a
// copy that is not submitted and waited for shows; they can be slow, hang or fail.
#ifndef WEFT_COLLECTIVES_FAKE_DEVICE_FOR_TEST_H_
#define WEFT_COLLECTIVES_FAKE_DEVICE_FOR_TEST_H_

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/address_map.h"
#include "core/dtype.h"
#include "core/queue.h"
#include "core/tensor_view.h"

namespace weft::testing {

// Thread-safe. Memory lives as long as the device.
class FakeDevice {
 public:
  explicit FakeDevice(DeviceId id = {}) : id_(id) {}

  DeviceId id() const { return id_; }
  const AddressMap& allocations() const { return allocations_; }

  // Filled with 0xee.
  uint64_t Allocate(int64_t bytes) {
    auto memory = std::make_unique<uint64_t[]>(bytes / 8 + 1);
    std::memset(memory.get(), 0xee, bytes);
    const auto address = reinterpret_cast<uint64_t>(memory.get());
    CHECK_OK(allocations_.Add({address, bytes, nullptr}));
    absl::MutexLock lock(&mutex_);
    memory_.push_back(std::move(memory));
    return address;
  }

  TensorView View(uint64_t address, DType dtype, std::vector<int64_t> extents) const {
    auto view = TensorView::Contiguous(address, dtype, extents, id_);
    CHECK_OK(view.status());
    return *view;
  }

  // A contiguous view of new memory.
  TensorView NewView(DType dtype, std::vector<int64_t> extents) {
    int64_t bytes = SizeOf(dtype);
    for (int64_t extent : extents) bytes *= extent;
    return View(Allocate(bytes + 1), dtype, std::move(extents));
  }

  static uint8_t* Bytes(const TensorView& view) {
    return reinterpret_cast<uint8_t*>(view.address());
  }

 private:
  const DeviceId id_;
  AddressMap allocations_;
  absl::Mutex mutex_;
  std::list<std::unique_ptr<uint64_t[]>> memory_;
};

class FakeQueue : public Queue {
 public:
  explicit FakeQueue(const FakeDevice& device) : Queue(device.id(), &device.allocations()) {}

  // Each Wait that has work takes this long first.
  absl::Duration delay = absl::ZeroDuration();
  // While true, Wait reaches its deadline and the work stays undone. May be set by any thread.
  std::atomic<bool> hangs = false;
  // What Submit answers, and goes on answering, after so many that succeed.
  absl::Status failure;
  int64_t submits_before_failure = 0;

  absl::Status Submit() override {
    if (!failure.ok() && submits_before_failure-- <= 0) return failure;
    for (auto& work : recorded_) submitted_.push_back(std::move(work));
    recorded_.clear();
    return absl::OkStatus();
  }

  absl::Status Wait(absl::Time deadline) override {
    if (submitted_.empty()) return absl::OkStatus();
    while (hangs) {
      if (absl::Now() >= deadline) return absl::DeadlineExceededError("the fake device hangs");
      absl::SleepFor(absl::Milliseconds(1));
    }
    absl::SleepFor(delay);
    for (auto& work : submitted_) work();
    submitted_.clear();
    return absl::OkStatus();
  }

  void SetProfiling(bool) override {}
  std::vector<OpTime> TakeOpTimes() override { return std::vector<OpTime>(kNumOpKinds); }

 protected:
  absl::Status DoCopyFromHost(uint64_t destination, absl::Span<const uint8_t> source) override {
    recorded_.push_back([destination, data = std::vector<uint8_t>(source.begin(), source.end())] {
      std::memcpy(reinterpret_cast<void*>(destination), data.data(), data.size());
    });
    return absl::OkStatus();
  }
  absl::Status DoCopyToHost(absl::Span<uint8_t> destination, uint64_t source) override {
    recorded_.push_back([destination, source] {
      std::memcpy(destination.data(), reinterpret_cast<void*>(source), destination.size());
    });
    return absl::OkStatus();
  }
  absl::Status DoCopy(uint64_t destination, uint64_t source, int64_t bytes) override {
    recorded_.push_back([destination, source, bytes] {
      std::memcpy(reinterpret_cast<void*>(destination), reinterpret_cast<void*>(source), bytes);
    });
    return absl::OkStatus();
  }
  absl::Status DoFill(uint64_t, int64_t, uint32_t) override { return Unimplemented(); }
  absl::Status DoReshapeAndCache(const ReshapeAndCacheArgs&) override { return Unimplemented(); }
  absl::Status DoAttention(const AttentionArgs&) override { return Unimplemented(); }
  absl::Status DoGatherRows(const GatherRowsArgs&) override { return Unimplemented(); }
  absl::Status DoMergeStates(const MergeStatesArgs&) override { return Unimplemented(); }
  absl::Status DoCorrectAttnOut(const CorrectAttnOutArgs&) override { return Unimplemented(); }
  absl::Status DoQuantizeFp8(const QuantizeFp8Args&) override { return Unimplemented(); }

 private:
  static absl::Status Unimplemented() {
    return absl::UnimplementedError("the fake device only copies");
  }

  std::vector<std::function<void()>> recorded_;
  std::vector<std::function<void()>> submitted_;
};

}  // namespace weft::testing

#endif  // WEFT_COLLECTIVES_FAKE_DEVICE_FOR_TEST_H_
