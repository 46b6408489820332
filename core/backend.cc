// SPDX-License-Identifier: Apache-2.0
#include "core/backend.h"

#include "core/status_macros.h"

namespace weft {
namespace {

// Keeps the backend alive: the address map is a part of it.
class ImportedRange : public Buffer {
 public:
  ImportedRange(uint64_t address, int64_t bytes, std::shared_ptr<Backend> backend, AddressMap* map)
      : Buffer(address, bytes, backend->device()), backend_(std::move(backend)), map_(map) {}
  ~ImportedRange() override { map_->RemoveImported(address(), size_bytes()); }

 private:
  std::shared_ptr<Backend> backend_;
  AddressMap* map_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Buffer>> Backend::ImportRange(uint64_t address, int64_t bytes) {
  RETURN_IF_ERROR(allocations_.AddImported(address, bytes));
  return std::make_unique<ImportedRange>(address, bytes, shared_from_this(), &allocations_);
}

}  // namespace weft
