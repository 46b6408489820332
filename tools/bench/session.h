// SPDX-License-Identifier: Apache-2.0
//
// Session: what all cases of a run share.
#ifndef WEFT_TOOLS_BENCH_SESSION_H_
#define WEFT_TOOLS_BENCH_SESSION_H_

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/dtype.h"
#include "core/queue.h"
#include "tools/bench/cases.h"
#include "tools/bench/device_tools.h"
#include "tools/bench/noise.h"

namespace weft::bench {

class Session {
 public:
  // Different numbers for what is multiplied: a query that equals a key would make a weight of 1.
  enum NoiseSeed : uint64_t { kQuery = 1, kCache = 2, kOther = 3 };

  static absl::StatusOr<std::unique_ptr<Session>> Create(std::shared_ptr<Backend> backend,
                                                         Preset preset);

  Backend& backend() const { return *backend_; }
  const std::shared_ptr<Backend>& shared_backend() const { return backend_; }
  Queue& queue() const { return *queue_; }
  DeviceTools& tools() const { return *tools_; }
  const Preset& preset() const { return preset_; }

  // Made when first asked for; lives as long as the session.
  const Noise& noise(DType dtype, NoiseSeed seed);

  // New memory that holds `noise`, or NaN in every float type. Submitted and done.
  absl::StatusOr<std::unique_ptr<Buffer>> NoiseBuffer(const Noise& noise, int64_t bytes);
  absl::StatusOr<std::unique_ptr<Buffer>> PoisonedBuffer(int64_t bytes);
  absl::StatusOr<std::unique_ptr<Buffer>> Upload(absl::Span<const uint8_t> bytes);
  absl::Status Finish();

 private:
  Session(std::shared_ptr<Backend> backend, Preset preset)
      : backend_(std::move(backend)), preset_(std::move(preset)) {}

  std::shared_ptr<Backend> backend_;
  Preset preset_;
  std::unique_ptr<Queue> queue_;
  std::unique_ptr<DeviceTools> tools_;
  std::map<std::pair<DType, NoiseSeed>, Noise> noise_;
};

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_SESSION_H_
