// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/device_tools.h"

#include <map>
#include <utility>

#include "absl/base/no_destructor.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/status_macros.h"

namespace weft::bench {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(10);

// The sum of the operations' own times: gaps between them do not count.
class QueueReplay final : public Replay {
 public:
  QueueReplay(Queue& queue, int64_t calls, DeviceTools::RecordCall record)
      : queue_(queue), calls_(calls), record_(std::move(record)) {}

  absl::StatusOr<double> Run() override {
    queue_.TakeOpTimes();
    for (int64_t call = 0; call < calls_; ++call) RETURN_IF_ERROR(record_(queue_, call));
    RETURN_IF_ERROR(queue_.Submit());
    RETURN_IF_ERROR(queue_.Wait(absl::Now() + kPatience));
    absl::Duration sum;
    for (const OpTime& time : queue_.TakeOpTimes()) sum += time.time;
    if (sum == absl::ZeroDuration()) {
      return absl::UnimplementedError("the queue of this device does not measure its operations");
    }
    return absl::ToDoubleSeconds(sum);
  }

 private:
  Queue& queue_;
  int64_t calls_;
  DeviceTools::RecordCall record_;
};

class QueueTools final : public DeviceTools {
 public:
  explicit QueueTools(std::unique_ptr<Queue> queue) : queue_(std::move(queue)) {
    queue_->SetProfiling(true);
  }

  std::string_view method() const override { return "timestamps of the queue, sum of operations"; }

  absl::StatusOr<std::unique_ptr<Replay>> Record(int64_t calls, RecordCall record) override {
    auto replay = std::make_unique<QueueReplay>(*queue_, calls, std::move(record));
    // What is refused is refused here, and what is lazy is done.
    RETURN_IF_ERROR(replay->Run().status());
    return replay;
  }

 private:
  std::unique_ptr<Queue> queue_;
};

std::map<BackendKind, DeviceToolsFactory>& Factories() {
  static absl::NoDestructor<std::map<BackendKind, DeviceToolsFactory>> factories;
  return *factories;
}

}  // namespace

absl::StatusOr<double> Replay::HostSeconds() const {
  return absl::UnimplementedError("calls are started one by one on this backend");
}

absl::Status DeviceTools::PagedRead(const KvCacheView&, const TensorView&) {
  return absl::UnimplementedError("no kernel that only reads pages on this backend");
}

absl::Status DeviceTools::StreamCopy(Queue& queue, uint64_t to, uint64_t from, int64_t bytes) {
  return queue.Copy(to, from, bytes);
}

absl::Status DeviceTools::Matmul(const TensorView&, const TensorView&, const TensorView&) {
  return absl::UnimplementedError("no matmul on this backend");
}

absl::StatusOr<int64_t> DeviceTools::CountKernels(RecordCall) {
  return absl::UnimplementedError("kernels are not counted on this backend");
}

absl::StatusOr<double> DeviceTools::LaunchSeconds(int64_t) {
  return absl::UnimplementedError("launches are not timed on this backend");
}

bool RegisterDeviceTools(BackendKind kind, DeviceToolsFactory factory) {
  return Factories().emplace(kind, std::move(factory)).second;
}

absl::StatusOr<std::unique_ptr<DeviceTools>> MakeDeviceTools(std::shared_ptr<Backend> backend) {
  const auto found = Factories().find(backend->device().kind);
  if (found != Factories().end()) return found->second(std::move(backend));
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend->CreateQueue());
  return std::make_unique<QueueTools>(std::move(queue));
}

}  // namespace weft::bench
