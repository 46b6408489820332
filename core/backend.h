// SPDX-License-Identifier: Apache-2.0
//
// Backend: one device. Made by Registry::Create; shared by queues, buffers and layers, which keep
// it alive. Thread-safe.
#ifndef WEFT_CORE_BACKEND_H_
#define WEFT_CORE_BACKEND_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/address_map.h"
#include "core/attention_spec.h"
#include "core/device.h"
#include "core/kv_cache.h"
#include "core/prepared_attention.h"
#include "core/queue.h"

namespace weft {

struct DeviceInfo {
  DeviceId id;
  std::string name;    // "llvmpipe (LLVM 15.0.6, 256 bits)"
  std::string driver;  // name and version
  bool is_software = false;
  int64_t memory_bytes = 0;
  int64_t max_allocation_bytes = 0;
  // More that matters, in the order to print: {"subgroup size", "8"}.
  std::vector<std::pair<std::string, std::string>> limits;
};

// Device memory that weft owns. Frees it when destroyed; no work in flight may use it then.
class Buffer {
 public:
  virtual ~Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  uint64_t address() const { return address_; }
  int64_t size_bytes() const { return size_bytes_; }
  DeviceId device() const { return device_; }

 protected:
  Buffer(uint64_t address, int64_t size_bytes, DeviceId device)
      : address_(address), size_bytes_(size_bytes), device_(device) {}

 private:
  uint64_t address_;
  int64_t size_bytes_;
  DeviceId device_;
};

class Backend : public std::enable_shared_from_this<Backend> {
 public:
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  const DeviceInfo& info() const { return info_; }
  DeviceId device() const { return info_.id; }

  // OK, or UNIMPLEMENTED with the first unmet requirement in words. A spec that is wrong on every
  // device is INVALID_ARGUMENT (ValidateForLayout).
  virtual absl::Status Supports(const AttentionSpec& spec, const KvCacheLayout& layout) const = 0;

  // Uninitialised memory, address a multiple of 256. INVALID_ARGUMENT: bytes < 1.
  // RESOURCE_EXHAUSTED states limit and need.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) = 0;

  // Lets operations name [address, address + bytes) as long as the result lives, although weft did
  // not allocate it: memory that the caller mapped for this device, or the addresses before a
  // sparse pool of which only some blocks exist. The caller answers for every byte that a valid
  // index reaches; copies to and from the host stay with allocations. INVALID_ARGUMENT: bytes < 1,
  // or an end past the address space.
  absl::StatusOr<std::unique_ptr<Buffer>> ImportRange(uint64_t address, int64_t bytes);

  // A queue for one thread. Any number may be alive; the device may run them in turn.
  virtual absl::StatusOr<std::unique_ptr<Queue>> CreateQueue() = 0;

  // Slow: compiles the kernels of a layer, or finds them in the cache. The errors of Supports.
  virtual absl::StatusOr<std::shared_ptr<const PreparedAttention>> Prepare(
      const AttentionSpec& spec, const KvCacheLayout& layout) = 0;

  const AddressMap& allocations() const { return allocations_; }

 protected:
  explicit Backend(DeviceInfo info) : info_(std::move(info)) {}
  AddressMap& mutable_allocations() { return allocations_; }
  DeviceInfo& mutable_info() { return info_; }

 private:
  DeviceInfo info_;
  AddressMap allocations_;
};

}  // namespace weft

#endif  // WEFT_CORE_BACKEND_H_
