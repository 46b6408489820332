// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/command_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace weft::vulkan {
namespace {

constexpr int64_t kParameterChunk = int64_t{64} << 10;
constexpr int64_t kStagingChunk = int64_t{8} << 20;
constexpr int64_t kKeepStaging = int64_t{64} << 20;

constexpr VkPipelineStageFlags2 kWorkStages =
    VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_2_ALL_TRANSFER_BIT;

Access Reads(uint64_t address, int64_t bytes) {
  return {{address, address + static_cast<uint64_t>(bytes)}, false};
}
Access Writes(uint64_t address, int64_t bytes) {
  return {{address, address + static_cast<uint64_t>(bytes)}, true};
}

}  // namespace

CommandStream::CommandStream(Device& device, const AddressMap& allocations,
                             const StreamOptions& options)
    : device_(device),
      allocations_(allocations),
      options_(options),
      faults_(options.faults != nullptr ? *options.faults : own_faults_),
      parameters_(device, MemoryKind::kParameters, kParameterChunk, 16 * kParameterChunk),
      upload_(device, MemoryKind::kUpload, kStagingChunk, kKeepStaging),
      readback_(device, MemoryKind::kReadback, kStagingChunk, kKeepStaging),
      times_(kMaxOpKinds) {}

absl::StatusOr<std::unique_ptr<CommandStream>> CommandStream::Create(Device& device,
                                                                     const AddressMap& allocations,
                                                                     const StreamOptions& options) {
  auto stream = absl::WrapUnique(new CommandStream(device, allocations, options));
  RETURN_IF_ERROR(stream->Init());
  return stream;
}

absl::Status CommandStream::Init() {
  const DeviceApi& api = device_.api();
  VkCommandPoolCreateInfo pool = {};
  pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  pool.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  pool.queueFamilyIndex = device_.queue_family();
  RETURN_IF_ERROR(ToStatus(api.CreateCommandPool(device_.handle(), &pool, nullptr, &pool_),
                           "vkCreateCommandPool"));
  VkSemaphoreTypeCreateInfo type = {};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo semaphore = {};
  semaphore.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  semaphore.pNext = &type;
  return ToStatus(api.CreateSemaphore(device_.handle(), &semaphore, nullptr, &timeline_),
                  "vkCreateSemaphore");
}

CommandStream::~CommandStream() {
  const DeviceApi& api = device_.api();
  if (timeline_ != VK_NULL_HANDLE && submitted_serial_ > 0) {
    VkSemaphoreWaitInfo wait = {};
    wait.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
    wait.semaphoreCount = 1;
    wait.pSemaphores = &timeline_;
    wait.pValues = &submitted_serial_;
    // On a lost device this returns at once, and there is nobody left to tell.
    static_cast<void>(api.WaitSemaphores(device_.handle(), &wait, UINT64_MAX));
  }
  api.DestroySemaphore(device_.handle(), timeline_, nullptr);
  api.DestroyCommandPool(device_.handle(), pool_, nullptr);
}

absl::Status CommandStream::status() const { return status_.ok() ? device_.status() : status_; }

absl::Status CommandStream::Fail(absl::Status status) {
  if (status_.ok()) status_ = device_.Note(std::move(status));
  return status_;
}

// ---- Batches

absl::StatusOr<VkCommandBuffer> CommandStream::TakeCommandBuffer() {
  if (!free_commands_.empty()) {
    VkCommandBuffer commands = free_commands_.back();
    free_commands_.pop_back();
    return commands;
  }
  VkCommandBufferAllocateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  info.commandPool = pool_;
  info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  info.commandBufferCount = 1;
  VkCommandBuffer commands = VK_NULL_HANDLE;
  RETURN_IF_ERROR(ToStatus(device_.api().AllocateCommandBuffers(device_.handle(), &info, &commands),
                           "vkAllocateCommandBuffers"));
  return commands;
}

absl::Status CommandStream::OpenBatch() {
  Batch batch;
  ASSIGN_OR_RETURN(batch.commands, TakeCommandBuffer());
  VkCommandBufferBeginInfo begin = {};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  RETURN_IF_ERROR(
      ToStatus(device_.api().BeginCommandBuffer(batch.commands, &begin), "vkBeginCommandBuffer"));
  if (profiling_ && device_.limits().timestamp_bits > 0) {
    if (free_times_.empty()) {
      ASSIGN_OR_RETURN(batch.times, TimestampPool::Create(device_));
    } else {
      batch.times = std::move(free_times_.back());
      free_times_.pop_back();
    }
    batch.times->Reset(batch.commands);
  }
  batch.serial = ++last_serial_;
  open_ = std::move(batch);
  RecordBarrier(VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT, kWorkStages,
                VK_ACCESS_2_MEMORY_READ_BIT | VK_ACCESS_2_MEMORY_WRITE_BIT);
  tracker_.Barrier();
  checker_.Clear();
  return absl::OkStatus();
}

absl::Status CommandStream::CloseBatch() {
  if (open_->reads_back) {
    // A semaphore makes writes available, not visible to the host.
    RecordBarrier(kWorkStages, VK_PIPELINE_STAGE_2_HOST_BIT, VK_ACCESS_2_HOST_READ_BIT);
  }
  RETURN_IF_ERROR(
      Fail(ToStatus(device_.api().EndCommandBuffer(open_->commands), "vkEndCommandBuffer")));
  if (options_.verify_hazards) RETURN_IF_ERROR(Fail(checker_.Check()));
  closed_.push_back(*std::move(open_));
  open_.reset();
  return absl::OkStatus();
}

absl::Status CommandStream::Operation(int kind, absl::FunctionRef<absl::Status()> record) {
  RETURN_IF_ERROR(status());
  if (open_.has_value()) {
    const bool full = open_->num_dispatches >= options_.max_dispatches_per_batch ||
                      (open_->times != nullptr && open_->times->full()) ||
                      (open_->times == nullptr && profiling_ && device_.limits().timestamp_bits);
    if (full) RETURN_IF_ERROR(CloseBatch());
  }
  if (!open_.has_value()) RETURN_IF_ERROR(OpenBatch());
  TimestampPool* times = profiling_ ? open_->times.get() : nullptr;
  const int64_t pipelines = ThreadPipelineCount();
  if (times != nullptr) times->Begin(open_->commands, kind);
  absl::Status status = record();
  if (times != nullptr) times->End(open_->commands);
  RETURN_IF_ERROR(status);
  if (options_.verify_hazards && ThreadPipelineCount() != pipelines) {
    return absl::FailedPreconditionError(absl::StrCat("operation of kind ", kind, " made ",
                                                      ThreadPipelineCount() - pipelines,
                                                      " pipelines; all are to be made by Prepare"));
  }
  return absl::OkStatus();
}

void CommandStream::RecordBarrier(VkPipelineStageFlags2 source, VkPipelineStageFlags2 destination,
                                  VkAccessFlags2 destination_access) {
  VkMemoryBarrier2 barrier = {};
  barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER_2;
  barrier.srcStageMask = source;
  barrier.srcAccessMask = VK_ACCESS_2_MEMORY_WRITE_BIT;
  barrier.dstStageMask = destination;
  barrier.dstAccessMask = destination_access;
  VkDependencyInfo dependency = {};
  dependency.sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO;
  dependency.memoryBarrierCount = 1;
  dependency.pMemoryBarriers = &barrier;
  device_.api().CmdPipelineBarrier2(open_->commands, &dependency);
}

void CommandStream::Guard(const char* name, absl::Span<const Access> accesses) {
  if (tracker_.NeedsBarrier(accesses)) {
    const bool left_out = faults_.barriers_needed++ == faults_.suppressed_barrier;
    if (!faults_.suppress_barriers && !left_out) {
      RecordBarrier(kWorkStages, kWorkStages,
                    VK_ACCESS_2_MEMORY_READ_BIT | VK_ACCESS_2_MEMORY_WRITE_BIT);
      ++num_barriers_;
      if (options_.verify_hazards) checker_.Barrier();
    }
    tracker_.Barrier();
  }
  tracker_.Record(accesses);
  if (options_.verify_hazards) checker_.Operation(name, accesses);
}

// ---- What operations are made of

absl::Status CommandStream::Dispatch(const Kernel& kernel, absl::Span<const uint8_t> params,
                                     std::array<uint32_t, 3> groups,
                                     absl::Span<const Access> accesses) {
  const int64_t bytes = static_cast<int64_t>(params.size());
  if (bytes < 1 || bytes > kMaxParameterBytes) {
    return absl::InvalidArgumentError(absl::StrCat("kernel ", kernel.name(), ": ", bytes,
                                                   " bytes of parameters, allowed are 1 to ",
                                                   kMaxParameterBytes));
  }
  for (int axis = 0; axis < 3; ++axis) {
    const uint32_t limit = device_.limits().max_group_count[axis];
    if (groups[axis] >= 1 && groups[axis] <= limit) continue;
    return absl::InvalidArgumentError(absl::StrCat("kernel ", kernel.name(), ": ", groups[axis],
                                                   " groups on axis ", axis, ", allowed are 1 to ",
                                                   limit));
  }
  ASSIGN_OR_RETURN(HostArena::Slice slice, parameters_.Take(bytes, open_->serial));
  std::memcpy(slice.data(), params.data(), params.size());
  const uint64_t address = slice.address();
  Guard(kernel.name(), accesses);
  const DeviceApi& api = device_.api();
  api.CmdBindPipeline(open_->commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel.pipeline());
  api.CmdPushConstants(open_->commands, device_.kernels().layout(), VK_SHADER_STAGE_COMPUTE_BIT, 0,
                       sizeof(address), &address);
  if (DispatchHook* hook = device_.dispatch_hook(); hook != nullptr) {
    RETURN_IF_ERROR(hook->BeforeDispatch(open_->commands, device_.kernels().layout(), kernel,
                                         accesses, allocations_));
  }
  api.CmdDispatch(open_->commands, groups[0], groups[1], groups[2]);
  ++open_->num_dispatches;
  ++num_dispatches_;
  return absl::OkStatus();
}

absl::StatusOr<CommandStream::Place> CommandStream::Find(uint64_t address, int64_t bytes) const {
  const auto allocation = allocations_.Find(address, bytes);
  if (!allocation.has_value() || allocation->owner == nullptr) {
    return absl::OutOfRangeError(
        absl::StrCat("no allocation holds ", bytes, " bytes at 0x", absl::Hex(address)));
  }
  const auto* binding = static_cast<const BufferBinding*>(allocation->owner);
  return Place{binding->buffer, address - binding->address};
}

void CommandStream::CopyRegion(const Place& source, const Place& destination, int64_t bytes) {
  VkBufferCopy region = {};
  region.srcOffset = source.offset;
  region.dstOffset = destination.offset;
  region.size = static_cast<VkDeviceSize>(bytes);
  device_.api().CmdCopyBuffer(open_->commands, source.buffer, destination.buffer, 1, &region);
}

absl::StatusOr<std::vector<HostArena::Slice>> CommandStream::TakeSlices(HostArena& arena,
                                                                        int64_t bytes) {
  std::vector<HostArena::Slice> slices;
  while (bytes > 0) {
    const int64_t piece = std::min(bytes, arena.chunk_bytes());
    ASSIGN_OR_RETURN(HostArena::Slice slice, arena.Take(piece, open_->serial));
    slices.push_back(slice);
    bytes -= piece;
  }
  return slices;
}

absl::Status CommandStream::CopyFromHost(uint64_t destination, absl::Span<const uint8_t> source) {
  const int64_t bytes = static_cast<int64_t>(source.size());
  ASSIGN_OR_RETURN(Place place, Find(destination, bytes));
  ASSIGN_OR_RETURN(std::vector<HostArena::Slice> slices, TakeSlices(upload_, bytes));
  Guard("copy from host", {Writes(destination, bytes)});
  for (const HostArena::Slice& slice : slices) {
    std::memcpy(slice.data(), source.data(), static_cast<size_t>(slice.bytes));
    const BufferBinding& staging = slice.memory->binding();
    CopyRegion({staging.buffer, slice.address() - staging.address}, place, slice.bytes);
    source.remove_prefix(static_cast<size_t>(slice.bytes));
    place.offset += static_cast<VkDeviceSize>(slice.bytes);
  }
  return absl::OkStatus();
}

absl::Status CommandStream::CopyToHost(absl::Span<uint8_t> destination, uint64_t source) {
  const int64_t bytes = static_cast<int64_t>(destination.size());
  ASSIGN_OR_RETURN(Place place, Find(source, bytes));
  ASSIGN_OR_RETURN(std::vector<HostArena::Slice> slices, TakeSlices(readback_, bytes));
  Guard("copy to host", {Reads(source, bytes)});
  uint8_t* out = destination.data();
  for (const HostArena::Slice& slice : slices) {
    const BufferBinding& staging = slice.memory->binding();
    CopyRegion(place, {staging.buffer, slice.address() - staging.address}, slice.bytes);
    downloads_.push_back({open_->serial, slice, out});
    out += slice.bytes;
    place.offset += static_cast<VkDeviceSize>(slice.bytes);
  }
  open_->reads_back = true;
  return absl::OkStatus();
}

absl::Status CommandStream::Copy(uint64_t destination, uint64_t source, int64_t bytes) {
  ASSIGN_OR_RETURN(Place from, Find(source, bytes));
  ASSIGN_OR_RETURN(Place to, Find(destination, bytes));
  Guard("copy", {Reads(source, bytes), Writes(destination, bytes)});
  CopyRegion(from, to, bytes);
  return absl::OkStatus();
}

absl::Status CommandStream::Fill(uint64_t destination, int64_t bytes, uint32_t pattern) {
  ASSIGN_OR_RETURN(Place place, Find(destination, bytes));
  Guard("fill", {Writes(destination, bytes)});
  device_.api().CmdFillBuffer(open_->commands, place.buffer, place.offset,
                              static_cast<VkDeviceSize>(bytes), pattern);
  return absl::OkStatus();
}

// ---- Submission

absl::Status CommandStream::Submit() {
  RETURN_IF_ERROR(status());
  if (open_.has_value()) RETURN_IF_ERROR(CloseBatch());
  if (closed_.empty()) return absl::OkStatus();
  if (faults_.lose_device_at_submit) {
    return Fail(ToStatus(VK_ERROR_DEVICE_LOST, "vkQueueSubmit2 (planted fault)"));
  }

  const size_t n = closed_.size();
  std::vector<VkCommandBufferSubmitInfo> commands(n);
  std::vector<VkSemaphoreSubmitInfo> signals(n);
  std::vector<VkSubmitInfo2> submits(n);
  for (size_t i = 0; i < n; ++i) {
    commands[i].sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO;
    commands[i].commandBuffer = closed_[i].commands;
    signals[i].sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO;
    signals[i].semaphore = timeline_;
    signals[i].value = closed_[i].serial;
    signals[i].stageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT;
    submits[i].sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2;
    submits[i].commandBufferInfoCount = 1;
    submits[i].pCommandBufferInfos = &commands[i];
    submits[i].signalSemaphoreInfoCount = 1;
    submits[i].pSignalSemaphoreInfos = &signals[i];
  }
  RETURN_IF_ERROR(Fail(device_.Submit(submits)));
  submitted_serial_ = closed_.back().serial;
  std::move(closed_.begin(), closed_.end(), std::back_inserter(in_flight_));
  closed_.clear();
  // Whoever submits for long without waiting must not pile up command buffers and staging memory.
  ASSIGN_OR_RETURN(uint64_t completed, CompletedSerial());
  return Reap(completed);
}

absl::Status CommandStream::Wait(absl::Time deadline) {
  RETURN_IF_ERROR(status());
  if (submitted_serial_ == 0) return absl::OkStatus();
  const absl::Duration left = deadline - absl::Now();
  VkSemaphoreWaitInfo wait = {};
  wait.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  wait.semaphoreCount = 1;
  wait.pSemaphores = &timeline_;
  wait.pValues = &submitted_serial_;
  const uint64_t timeout =
      left >= absl::Hours(24 * 365)
          ? UINT64_MAX
          : static_cast<uint64_t>(std::max<int64_t>(0, absl::ToInt64Nanoseconds(left)));
  const VkResult result = device_.api().WaitSemaphores(device_.handle(), &wait, timeout);
  if (result == VK_TIMEOUT) {
    return absl::DeadlineExceededError(
        absl::StrCat("Vulkan queue: work was not done at the deadline (", in_flight_.size(),
                     " batches in flight)"));
  }
  RETURN_IF_ERROR(Fail(ToStatus(result, "vkWaitSemaphores")));
  FinishDownloads(submitted_serial_);
  return Reap(submitted_serial_);
}

absl::StatusOr<uint64_t> CommandStream::CompletedSerial() {
  uint64_t value = 0;
  RETURN_IF_ERROR(
      Fail(ToStatus(device_.api().GetSemaphoreCounterValue(device_.handle(), timeline_, &value),
                    "vkGetSemaphoreCounterValue")));
  return value;
}

void CommandStream::FinishDownloads(uint64_t completed) {
  while (!downloads_.empty() && downloads_.front().serial <= completed) {
    const Download& download = downloads_.front();
    std::memcpy(download.destination, download.slice.data(),
                static_cast<size_t>(download.slice.bytes));
    downloads_.pop_front();
  }
  readback_.Recycle(completed);
}

absl::Status CommandStream::Reap(uint64_t completed) {
  while (!in_flight_.empty() && in_flight_.front().serial <= completed) {
    Batch& batch = in_flight_.front();
    if (batch.times != nullptr) {
      RETURN_IF_ERROR(Fail(batch.times->Read(absl::MakeSpan(times_))));
      free_times_.push_back(std::move(batch.times));
    }
    free_commands_.push_back(batch.commands);
    in_flight_.pop_front();
  }
  parameters_.Recycle(completed);
  upload_.Recycle(completed);
  return absl::OkStatus();
}

std::vector<TimestampPool::Sum> CommandStream::TakeTimes() {
  std::vector<TimestampPool::Sum> taken(kMaxOpKinds);
  std::swap(taken, times_);
  return taken;
}

}  // namespace weft::vulkan
