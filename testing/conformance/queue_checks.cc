// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/queue_checks.h"

#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/status_macros.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

std::vector<uint8_t> Ramp(int64_t bytes, int factor) {
  std::vector<uint8_t> ramp(static_cast<size_t>(bytes));
  for (size_t i = 0; i < ramp.size(); ++i) {
    ramp[i] = static_cast<uint8_t>(i * static_cast<size_t>(factor) + i / 251);
  }
  return ramp;
}

absl::Status Same(std::string_view what, const std::vector<uint8_t>& actual,
                  const std::vector<uint8_t>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (i < actual.size() && actual[i] == expected[i]) continue;
    return absl::FailedPreconditionError(absl::StrCat(what, ": byte ", i, " differs"));
  }
  return absl::OkStatus();
}

// Odd sizes at odd places, to the device, on it and back.
absl::Status CheckCopies(Backend& backend) {
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  constexpr int64_t kBytes = 5000;
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> a, AllocatePoisoned(backend, *queue, kBytes));
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> b, AllocatePoisoned(backend, *queue, kBytes));
  std::vector<uint8_t> expected_a = PoisonBytes(kBytes);
  std::vector<uint8_t> expected_b = PoisonBytes(kBytes);
  for (const auto& [at, size] :
       {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {17, 1023}, {2048, 1024}, {4999, 1}}) {
    const std::vector<uint8_t> data = Ramp(size, 3);
    RETURN_IF_ERROR(queue->CopyFromHost(a->address() + static_cast<uint64_t>(at), data));
    std::memcpy(&expected_a[at], data.data(), data.size());
    const int64_t to = (at + 13) % (kBytes - size + 1);
    RETURN_IF_ERROR(queue->Copy(b->address() + static_cast<uint64_t>(to),
                                a->address() + static_cast<uint64_t>(at), size));
    std::memcpy(&expected_b[to], data.data(), data.size());
  }
  ASSIGN_OR_RETURN(const std::vector<uint8_t> got_a, Download(*queue, a->address(), kBytes));
  ASSIGN_OR_RETURN(const std::vector<uint8_t> got_b, Download(*queue, b->address(), kBytes));
  RETURN_IF_ERROR(Same("copy from the host", got_a, expected_a));
  RETURN_IF_ERROR(Same("copy on the device", got_b, expected_b));
  ASSIGN_OR_RETURN(const std::vector<uint8_t> part, Download(*queue, a->address() + 19, 1001));
  return Same("copy of a part", part,
              std::vector<uint8_t>(expected_a.begin() + 19, expected_a.begin() + 1020));
}

// Each operation sees those before it: copies and fills chase each other over the same bytes.
absl::Status CheckOrder(Backend& backend) {
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  constexpr int64_t kBytes = 1 << 16;
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> a, AllocatePoisoned(backend, *queue, kBytes));
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> b, AllocatePoisoned(backend, *queue, kBytes));
  for (uint32_t round = 1; round <= 20; ++round) {
    RETURN_IF_ERROR(queue->Fill(a->address(), kBytes, round));
    RETURN_IF_ERROR(queue->Copy(b->address(), a->address(), kBytes));
    RETURN_IF_ERROR(queue->Fill(a->address(), kBytes, 0));
    RETURN_IF_ERROR(queue->Copy(a->address(), b->address(), kBytes / 2));
    if (round == 10) RETURN_IF_ERROR(queue->Submit());
  }
  std::vector<uint8_t> expected(kBytes);
  for (int64_t i = 0; i < kBytes / 2; i += 4) expected[i] = 20;
  ASSIGN_OR_RETURN(const std::vector<uint8_t> actual, Download(*queue, a->address(), kBytes));
  return Same("a chain of fills and copies", actual, expected);
}

// What is recorded and not submitted has not happened; a source is taken over at once.
absl::Status CheckSubmit(Backend& backend) {
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> other, backend.CreateQueue());
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> memory, AllocatePoisoned(backend, *queue, 64));
  RETURN_IF_ERROR(Finish(*queue));
  std::vector<uint8_t> data = Ramp(64, 5);
  const std::vector<uint8_t> copy = data;
  RETURN_IF_ERROR(queue->CopyFromHost(memory->address(), data));
  data.assign(64, 0xee);
  ASSIGN_OR_RETURN(const std::vector<uint8_t> before, Download(*other, memory->address(), 64));
  RETURN_IF_ERROR(Same("before Submit", before, PoisonBytes(64)));
  RETURN_IF_ERROR(Finish(*queue));
  ASSIGN_OR_RETURN(const std::vector<uint8_t> after, Download(*other, memory->address(), 64));
  RETURN_IF_ERROR(Same("after Submit", after, copy));
  // Nothing recorded, and a deadline in the past with nothing to wait for.
  RETURN_IF_ERROR(queue->Submit());
  RETURN_IF_ERROR(queue->Wait(absl::Now() - absl::Seconds(1)));
  RETURN_IF_ERROR(queue->CopyFromHost(memory->address(), {}));
  return queue->Wait(absl::InfiniteFuture());
}

absl::Status CheckProfiling(Backend& backend) {
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> memory, backend.Allocate(1 << 20));
  const auto fills = [&](int count) -> absl::StatusOr<std::vector<OpTime>> {
    for (int i = 0; i < count; ++i) RETURN_IF_ERROR(queue->Fill(memory->address(), 1 << 20, 7));
    RETURN_IF_ERROR(Finish(*queue));
    return queue->TakeOpTimes();
  };
  queue->SetProfiling(true);
  ASSIGN_OR_RETURN(const std::vector<OpTime> on, fills(3));
  const auto fill = static_cast<size_t>(OpKind::kFill);
  if (on.size() != kNumOpKinds || on[fill].calls != 3 || on[fill].time <= absl::ZeroDuration() ||
      on[static_cast<size_t>(OpKind::kAttention)].calls != 0) {
    return absl::FailedPreconditionError("three fills were not measured as such");
  }
  queue->SetProfiling(false);
  ASSIGN_OR_RETURN(const std::vector<OpTime> off, fills(2));
  if (off.size() == kNumOpKinds && off[fill].calls == 0) return absl::OkStatus();
  return absl::FailedPreconditionError("fills were measured, or measured twice, without profiling");
}

}  // namespace

const std::vector<QueueCheck>& QueueChecks() {
  static const auto* const checks = new std::vector<QueueCheck>{{"copies", CheckCopies},
                                                                {"order", CheckOrder},
                                                                {"submit", CheckSubmit},
                                                                {"profiling", CheckProfiling}};
  return *checks;
}

}  // namespace weft::testing
