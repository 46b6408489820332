// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/session.h"

#include <algorithm>
#include <utility>

#include "core/checked_math.h"
#include "core/status_macros.h"
#include "testing/device_io.h"

namespace weft::bench {

absl::StatusOr<std::unique_ptr<Session>> Session::Create(std::shared_ptr<Backend> backend,
                                                         Preset preset) {
  auto session = std::unique_ptr<Session>(new Session(std::move(backend), std::move(preset)));
  ASSIGN_OR_RETURN(session->queue_, session->backend_->CreateQueue());
  ASSIGN_OR_RETURN(session->tools_, MakeDeviceTools(session->backend_));
  return session;
}

const Noise& Session::noise(DType dtype, NoiseSeed seed) {
  const auto key = std::pair(dtype, seed);
  const auto found = noise_.find(key);
  if (found != noise_.end()) return found->second;
  return noise_.emplace(key, Noise(dtype, preset_.noise_bytes, seed)).first->second;
}

absl::Status Session::Finish() { return testing::Finish(*queue_); }

absl::StatusOr<std::unique_ptr<Buffer>> Session::NoiseBuffer(const Noise& noise, int64_t bytes) {
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend_->Allocate(bytes));
  RETURN_IF_ERROR(noise.Fill(*queue_, buffer->address(), bytes));
  RETURN_IF_ERROR(Finish());
  return buffer;
}

absl::StatusOr<std::unique_ptr<Buffer>> Session::PoisonedBuffer(int64_t bytes) {
  const int64_t words = std::max<int64_t>(CeilDiv(bytes, 4), 1);
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend_->Allocate(4 * words));
  RETURN_IF_ERROR(queue_->Fill(buffer->address(), 4 * words, testing::kPoison));
  RETURN_IF_ERROR(Finish());
  return buffer;
}

absl::StatusOr<std::unique_ptr<Buffer>> Session::Upload(absl::Span<const uint8_t> bytes) {
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, testing::Upload(*backend_, *queue_, bytes));
  RETURN_IF_ERROR(Finish());
  return buffer;
}

}  // namespace weft::bench
