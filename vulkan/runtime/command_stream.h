// SPDX-License-Identifier: Apache-2.0
//
// CommandStream: in-order work of one thread on a Device. Knows dispatches, copies and fills, puts
// the barriers that they need, submits, waits. The operations come from above (vulkan_queue.h).
//
// Recorded work stands in *batches*, each a command buffer with its own value of the stream's
// timeline semaphore. A batch begins with a full barrier, so the hazards of a batch are its own
// matter, also towards what other streams submitted in between.
#ifndef WEFT_VULKAN_RUNTIME_COMMAND_STREAM_H_
#define WEFT_VULKAN_RUNTIME_COMMAND_STREAM_H_

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/address_map.h"
#include "vulkan/runtime/device.h"
#include "vulkan/runtime/device_hooks.h"
#include "vulkan/runtime/hazard_tracker.h"
#include "vulkan/runtime/host_arena.h"
#include "vulkan/runtime/recorder.h"
#include "vulkan/runtime/timestamps.h"

namespace weft::vulkan {

struct StreamOptions {
  // Keeps a log of each batch and holds its barriers against HazardChecker at Submit; an operation
  // that makes a pipeline is FAILED_PRECONDITION. Slow.
  bool verify_hazards = false;
  // A batch is closed before an operation once it has as many dispatches, so that no single
  // submission runs into a desktop's watchdog of about 2 s. Counts dispatches, not time.
  int64_t max_dispatches_per_batch = 512;
  // Faults that a test plants; shared with it, and outlives the stream.
  StreamFaults* faults = nullptr;
};

// Not thread-safe. After a device error every call returns that error.
class CommandStream final : public Recorder {
 public:
  // `device` and `allocations` must outlive it.
  static absl::StatusOr<std::unique_ptr<CommandStream>> Create(Device& device,
                                                               const AddressMap& allocations,
                                                               const StreamOptions& options);
  // Waits for what was submitted; what was not is dropped.
  ~CommandStream() override;

  // Runs `record`, whose calls of the functions below make up one operation: it is measured as
  // `kind`, in [0, kMaxOpKinds), and never cut in two by a batch's end.
  absl::Status Operation(int kind, absl::FunctionRef<absl::Status()> record);

  // Recorder.
  Device& device() override { return device_; }
  absl::Status Dispatch(const Kernel& kernel, absl::Span<const uint8_t> params,
                        std::array<uint32_t, 3> groups, absl::Span<const Access> accesses) override;

  // Ranges lie in one live allocation each.
  absl::Status CopyFromHost(uint64_t destination, absl::Span<const uint8_t> source);
  absl::Status CopyToHost(absl::Span<uint8_t> destination, uint64_t source);
  absl::Status Copy(uint64_t destination, uint64_t source, int64_t bytes);
  absl::Status Fill(uint64_t destination, int64_t bytes, uint32_t pattern);

  absl::Status Submit();
  absl::Status Wait(absl::Time deadline);

  // The sums since the last call, [kMaxOpKinds].
  void SetProfiling(bool on) { profiling_ = on; }
  std::vector<TimestampPool::Sum> TakeTimes();

  StreamFaults& faults_for_test() { return faults_; }
  int64_t num_dispatches() const { return num_dispatches_; }
  int64_t num_barriers() const { return num_barriers_; }

 private:
  struct Batch {
    VkCommandBuffer commands = VK_NULL_HANDLE;
    uint64_t serial = 0;  // the semaphore's value when it is done
    int64_t num_dispatches = 0;
    bool reads_back = false;
    std::unique_ptr<TimestampPool> times;
  };
  struct Download {
    uint64_t serial = 0;
    HostArena::Slice slice;
    uint8_t* destination = nullptr;
  };
  struct Place {
    VkBuffer buffer = VK_NULL_HANDLE;
    VkDeviceSize offset = 0;
  };

  CommandStream(Device& device, const AddressMap& allocations, const StreamOptions& options);
  absl::Status Init();

  absl::Status OpenBatch();
  absl::Status CloseBatch();
  absl::StatusOr<VkCommandBuffer> TakeCommandBuffer();
  // Finds the VkBuffer behind an address.
  absl::StatusOr<Place> Find(uint64_t address, int64_t bytes) const;
  // The barrier that an operation needs, if it does.
  void Guard(const char* name, absl::Span<const Access> accesses);
  void RecordBarrier(VkPipelineStageFlags2 source, VkPipelineStageFlags2 destination,
                     VkAccessFlags2 destination_access);
  void CopyRegion(const Place& source, const Place& destination, int64_t bytes);
  absl::StatusOr<std::vector<HostArena::Slice>> TakeSlices(HostArena& arena, int64_t bytes);

  absl::Status status() const;
  absl::Status Fail(absl::Status status);
  absl::StatusOr<uint64_t> CompletedSerial();
  absl::Status Reap(uint64_t completed);
  void FinishDownloads(uint64_t completed);

  Device& device_;
  const AddressMap& allocations_;
  const StreamOptions options_;
  StreamFaults own_faults_;
  StreamFaults& faults_;
  absl::Status status_;

  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkSemaphore timeline_ = VK_NULL_HANDLE;
  std::vector<VkCommandBuffer> free_commands_;
  uint64_t last_serial_ = 0;       // of the newest batch
  uint64_t submitted_serial_ = 0;  // of the newest batch submitted
  std::optional<Batch> open_;
  std::vector<Batch> closed_;
  std::deque<Batch> in_flight_;

  HostArena parameters_;
  HostArena upload_;
  HostArena readback_;
  std::deque<Download> downloads_;

  HazardTracker tracker_;
  HazardChecker checker_;

  bool profiling_ = false;
  std::vector<TimestampPool::Sum> times_;
  std::vector<std::unique_ptr<TimestampPool>> free_times_;
  int64_t num_dispatches_ = 0;
  int64_t num_barriers_ = 0;
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_COMMAND_STREAM_H_
