// SPDX-License-Identifier: Apache-2.0
#include "testing/reference/reference_backend.h"

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/backend.h"
#include "core/checked_math.h"
#include "core/status_macros.h"
#include "testing/reference/reference_queue.h"

namespace weft {
namespace {

constexpr int64_t kAlignment = 256;
constexpr int64_t kMaxHeadSize = 256;
constexpr int64_t kTileTokens = 16;

Precision PrecisionOf(DeviceId device) {
  return device.ordinal == 0 ? Precision::kFloat32 : Precision::kFloat64;
}

int64_t PhysicalMemoryBytes() {
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<int64_t>(sysconf(_SC_PAGESIZE));
}

DeviceInfo InfoOf(int32_t ordinal) {
  DeviceInfo info;
  info.id = {BackendKind::kReference, ordinal};
  info.name = ordinal == 0 ? "reference (float32)" : "reference (float64)";
  info.driver = "host processor, one thread";
  info.is_software = true;
  info.memory_bytes = PhysicalMemoryBytes();
  info.max_allocation_bytes = info.memory_bytes;
  info.limits = {{"accumulation", ordinal == 0 ? "float32" : "float64"},
                 {"head size", absl::StrCat("1 to ", kMaxHeadSize)}};
  return info;
}

class ReferencePrepared : public PreparedAttention {
 public:
  ReferencePrepared(const AttentionSpec& spec, const KvCacheLayout& layout, DeviceId device,
                    const AddressMap* allocations)
      : PreparedAttention(spec, layout, device, PlanConfig{kTileTokens}, allocations) {}

  std::string Explain() const override {
    return absl::StrCat("plain loops on the host, ", Name(PrecisionOf(device())),
                        " accumulation, one state for each granule of ", kGranule, " keys");
  }
};

// Keeps the backend alive: the address map is a part of it.
class ReferenceBuffer : public Buffer {
 public:
  ReferenceBuffer(void* memory, int64_t bytes, std::shared_ptr<Backend> backend, AddressMap* map)
      : Buffer(reinterpret_cast<uint64_t>(memory), bytes, backend->device()),
        memory_(memory),
        backend_(std::move(backend)),
        map_(map) {}

  ~ReferenceBuffer() override {
    map_->Remove(address()).IgnoreError();
    std::free(memory_);
  }

 private:
  void* memory_;
  std::shared_ptr<Backend> backend_;
  AddressMap* map_;
};

class ReferenceBackend : public Backend {
 public:
  explicit ReferenceBackend(int32_t ordinal) : Backend(InfoOf(ordinal)) {}

  absl::Status Supports(const AttentionSpec& spec, const KvCacheLayout& layout) const override;
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override;

  absl::StatusOr<std::unique_ptr<Queue>> CreateQueue() override {
    return CreateReferenceQueue(shared_from_this(), PrecisionOf(device()));
  }

  absl::StatusOr<std::shared_ptr<const PreparedAttention>> Prepare(
      const AttentionSpec& spec, const KvCacheLayout& layout) override {
    RETURN_IF_ERROR(Supports(spec, layout));
    return std::make_shared<const ReferencePrepared>(spec, layout, device(), &allocations());
  }
};

absl::Status NotBuilt(std::string_view feature) {
  return absl::UnimplementedError(absl::StrCat(feature, ": not built yet on reference"));
}

absl::Status ReferenceBackend::Supports(const AttentionSpec& spec,
                                        const KvCacheLayout& layout) const {
  RETURN_IF_ERROR(ValidateForLayout(spec, layout));
  if (spec.dtype != spec.kv_dtype && !IsFp8(spec.kv_dtype)) {
    return NotBuilt(
        absl::StrCat("query dtype ", Name(spec.dtype), " with cache dtype ", Name(spec.kv_dtype)));
  }
  if (spec.head_size > kMaxHeadSize) {
    return NotBuilt(absl::StrCat("head size ", spec.head_size, " (at most ", kMaxHeadSize, ")"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Buffer>> ReferenceBackend::Allocate(int64_t bytes) {
  if (bytes < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("Allocate: ", bytes, " bytes asked for; at least 1"));
  }
  if (bytes > info().max_allocation_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("Allocate: ", bytes,
                                                     " bytes asked for; the limit of ", info().name,
                                                     " is ", info().max_allocation_bytes));
  }
  void* memory = std::aligned_alloc(kAlignment, CeilDiv(bytes, kAlignment) * kAlignment);
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("Allocate: the host has no ", bytes,
                                                     " bytes left; ", allocations().total_bytes(),
                                                     " are in use by ", info().name));
  }
  absl::Status added =
      mutable_allocations().Add({reinterpret_cast<uint64_t>(memory), bytes, nullptr});
  if (!added.ok()) {
    std::free(memory);
    return added;
  }
  return std::make_unique<ReferenceBuffer>(memory, bytes, shared_from_this(),
                                           &mutable_allocations());
}

class ReferenceFactory : public BackendFactory {
 public:
  BackendKind kind() const override { return BackendKind::kReference; }

  absl::StatusOr<std::vector<DeviceInfo>> Enumerate() override {
    return std::vector<DeviceInfo>{InfoOf(0), InfoOf(1)};
  }

  absl::StatusOr<std::shared_ptr<Backend>> Create(int32_t ordinal) override {
    if (ordinal < 0 || ordinal > 1) {
      return absl::NotFoundError(
          absl::StrCat("reference: no device ", ordinal, "; there are 0 and 1"));
    }
    return std::make_shared<ReferenceBackend>(ordinal);
  }
};

}  // namespace

absl::Status RegisterReferenceBackend(Registry& registry) {
  return registry.Register(std::make_unique<ReferenceFactory>());
}

}  // namespace weft
