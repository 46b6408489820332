// SPDX-License-Identifier: Apache-2.0
#include "core/registry.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/status_macros.h"

namespace weft {
namespace {

constexpr BackendKind kKinds[] = {BackendKind::kCuda, BackendKind::kVulkan,
                                  BackendKind::kReference};

absl::Status NotLinked(BackendKind kind) {
  return absl::UnavailableError(
      absl::StrCat(Name(kind), ": not linked into this program (it depends on no //",
                   kind == BackendKind::kReference ? "testing/reference" : Name(kind), ":auto)"));
}

}  // namespace

Registry& Registry::Default() {
  static Registry* const registry = new Registry;
  return *registry;
}

absl::Status Registry::Register(std::unique_ptr<BackendFactory> factory) {
  absl::MutexLock lock(&mutex_);
  for (const auto& other : factories_) {
    if (other->kind() == factory->kind()) {
      return absl::AlreadyExistsError(
          absl::StrCat("backend ", Name(factory->kind()), " is registered already"));
    }
  }
  factories_.push_back(std::move(factory));
  return absl::OkStatus();
}

BackendFactory* Registry::Find(BackendKind kind) const {
  absl::MutexLock lock(&mutex_);
  for (const auto& factory : factories_) {
    if (factory->kind() == kind) return factory.get();
  }
  return nullptr;
}

std::vector<BackendListing> Registry::List() const {
  std::vector<BackendListing> listings;
  for (const BackendKind kind : kKinds) {
    BackendListing listing;
    listing.kind = kind;
    if (BackendFactory* factory = Find(kind); factory == nullptr) {
      listing.status = NotLinked(kind);
    } else if (absl::StatusOr<std::vector<DeviceInfo>> devices = factory->Enumerate();
               devices.ok()) {
      listing.devices = *std::move(devices);
    } else {
      listing.status = std::move(devices).status();
    }
    listings.push_back(std::move(listing));
  }
  return listings;
}

absl::StatusOr<std::shared_ptr<Backend>> Registry::Create(std::string_view device) const {
  const std::pair<std::string_view, std::string_view> parts =
      absl::StrSplit(device, absl::MaxSplits(':', 1));
  const auto [kind_name, which] = parts;
  for (const BackendKind kind : kKinds) {
    if (kind_name != Name(kind)) continue;
    BackendFactory* factory = Find(kind);
    if (factory == nullptr) return NotLinked(kind);
    ASSIGN_OR_RETURN(const std::vector<DeviceInfo> devices, factory->Enumerate());
    int64_t ordinal = -1;
    const bool by_ordinal = absl::SimpleAtoi(which, &ordinal);
    std::vector<std::string> names;
    for (const DeviceInfo& info : devices) {
      const bool chosen = which.empty() ? true
                          : by_ordinal  ? info.id.ordinal == ordinal
                                        : absl::StrContainsIgnoreCase(info.name, which);
      if (chosen) return factory->Create(info.id.ordinal);
      names.push_back(absl::StrCat(ToString(info.id), " (", info.name, ")"));
    }
    return absl::NotFoundError(absl::StrCat("no device '", absl::CHexEscape(device), "'; there is ",
                                            names.empty() ? "none" : absl::StrJoin(names, ", ")));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no such backend: '", absl::CHexEscape(device), "' (cuda, vulkan, reference)"));
}

}  // namespace weft
