// SPDX-License-Identifier: Apache-2.0
//
// Registry: which backends a program has, and the devices of each. A program picks its backends by
// its deps: //vulkan:auto and //cuda:auto register themselves, or call
// RegisterVulkanBackend(registry) explicitly.
#ifndef WEFT_CORE_REGISTRY_H_
#define WEFT_CORE_REGISTRY_H_

#include <memory>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "core/backend.h"

namespace weft {

// Thread-safe. Must not fail to be constructed where there is no driver: that is for Enumerate to
// say.
class BackendFactory {
 public:
  virtual ~BackendFactory() = default;
  virtual BackendKind kind() const = 0;
  // The devices there are; UNAVAILABLE says why there is none (no driver, no loader, too old).
  virtual absl::StatusOr<std::vector<DeviceInfo>> Enumerate() = 0;
  // `ordinal` is one of Enumerate's.
  virtual absl::StatusOr<std::shared_ptr<Backend>> Create(int32_t ordinal) = 0;
};

struct BackendListing {
  BackendKind kind = BackendKind::kReference;
  absl::Status status;  // why there are no devices
  std::vector<DeviceInfo> devices;
};

// Thread-safe.
class Registry {
 public:
  // The one that //vulkan:auto and //cuda:auto fill. Never destroyed.
  static Registry& Default();

  // ALREADY_EXISTS if the kind is registered.
  absl::Status Register(std::unique_ptr<BackendFactory> factory);

  // One entry for each kind that weft knows, in the order of preference cuda, vulkan, reference; a
  // kind that is not linked into the program says so in its status.
  std::vector<BackendListing> List() const;

  // "vulkan" (its first device), "vulkan:1" (by ordinal), "vulkan:llvmpipe" (the first whose name
  // contains that, case ignored). INVALID_ARGUMENT: no such kind of backend. UNAVAILABLE: a known
  // kind that is absent here, and why. NOT_FOUND: the backend has no such device; names those it
  // has.
  absl::StatusOr<std::shared_ptr<Backend>> Create(std::string_view device) const;

 private:
  BackendFactory* Find(BackendKind kind) const;

  mutable absl::Mutex mutex_;
  std::vector<std::unique_ptr<BackendFactory>> factories_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace weft

#endif  // WEFT_CORE_REGISTRY_H_
