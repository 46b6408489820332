// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/placed_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/device_io.h"

namespace weft::testing {

bool AddressesAreHostPointers(const Backend& backend) {
  return backend.device().kind == BackendKind::kReference || backend.info().is_software;
}

const std::vector<std::string_view>& PlaceWords() {
  static const auto* const words = new std::vector<std::string_view>{"device", "before", "behind"};
  return *words;
}

// Told by a payload: a backend may answer any code itself, and that is never a reason to skip.
constexpr std::string_view kDoesNotApply = "weft.conformance/does_not_apply";

absl::Status DoesNotApply(std::string_view why) {
  absl::Status status = absl::AbortedError(why);
  status.SetPayload(kDoesNotApply, absl::Cord());
  return status;
}

bool IsDoesNotApply(const absl::Status& status) {
  return status.GetPayload(kDoesNotApply).has_value();
}

absl::StatusOr<std::unique_ptr<PlacedMemory>> PlacedMemory::Create(Backend& backend, Queue& queue,
                                                                   absl::Span<const uint8_t> bytes,
                                                                   Place place,
                                                                   int64_t guard_bytes) {
  std::unique_ptr<PlacedMemory> memory(new PlacedMemory);
  memory->bytes_ = static_cast<int64_t>(bytes.size());
  if (place == Place::kDevice) {
    ASSIGN_OR_RETURN(memory->buffer_, Upload(backend, queue, bytes));
    memory->address_ = memory->buffer_->address();
    return memory;
  }
  if (!AddressesAreHostPointers(backend)) {
    return DoesNotApply(
        absl::StrCat("guard pages: addresses of ", backend.info().name, " are no host pointers"));
  }
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto whole_pages = [page](size_t size) { return (size + page - 1) / page * page; };
  const size_t inside = whole_pages(std::max<size_t>(bytes.size(), 1));
  const size_t guard = whole_pages(static_cast<size_t>(guard_bytes));
  memory->mapped_bytes_ = inside + 2 * guard;
  void* const mapping = mmap(nullptr, memory->mapped_bytes_, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("mmap: ", std::strerror(errno)));
  }
  memory->mapping_ = mapping;
  auto* const first = static_cast<uint8_t*>(mapping) + guard;
  if (mprotect(first, inside, PROT_READ | PROT_WRITE) != 0) {
    return absl::InternalError(absl::StrCat("mprotect: ", std::strerror(errno)));
  }
  uint8_t* const data = place == Place::kBehindGuard ? first : first + inside - bytes.size();
  if (!bytes.empty()) std::memcpy(data, bytes.data(), bytes.size());
  memory->address_ = reinterpret_cast<uint64_t>(data);
  ASSIGN_OR_RETURN(memory->buffer_, backend.ImportRange(reinterpret_cast<uint64_t>(first),
                                                        static_cast<int64_t>(inside)));
  return memory;
}

PlacedMemory::~PlacedMemory() {
  buffer_.reset();
  if (mapping_ != nullptr) munmap(mapping_, mapped_bytes_);
}

absl::StatusOr<std::vector<uint8_t>> PlacedMemory::Read(Queue& queue) const {
  if (mapping_ == nullptr) return Download(queue, address_, bytes_);
  RETURN_IF_ERROR(Finish(queue));
  const auto* const data = reinterpret_cast<const uint8_t*>(address_);
  return std::vector<uint8_t>(data, data + bytes_);
}

}  // namespace weft::testing
