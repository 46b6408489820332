// SPDX-License-Identifier: Apache-2.0
//
// Workload: one case on one device: its inputs in as many sets as it takes to leave the caches
// behind, one call over a set, and whether what the calls wrote is right.
#ifndef WEFT_TOOLS_BENCH_WORKLOAD_H_
#define WEFT_TOOLS_BENCH_WORKLOAD_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/kv_cache.h"
#include "core/queue.h"
#include "core/tensor_view.h"
#include "tools/bench/cases.h"
#include "tools/bench/session.h"

namespace weft::bench {

// Of one call.
struct Work {
  double bytes = 0;  // that must be read and written
  double flops = 0;
};

class Workload {
 public:
  virtual ~Workload() = default;
  virtual int64_t num_sets() const = 0;
  virtual Work work() const = 0;
  // Records one call over set `set`.
  virtual absl::Status Record(Queue& queue, int64_t set) = 0;
  // Runs every set once and judges samples. FAILED_PRECONDITION names the worst element. Called
  // once, before anything is timed.
  virtual absl::Status Check() = 0;
  // The pages that set `set` reads; null if it has none.
  virtual const KvCacheView* cache() const { return nullptr; }
  virtual TensorView pages(int64_t /*set*/) const { return {}; }
};

// The errors of Backend::Supports and Allocate. `session` must outlive the workload.
absl::StatusOr<std::unique_ptr<Workload>> MakeWorkload(Session& session, const Case& c);

// Sets of `bytes` each that together are at least the preset's rotation; at most 512.
int64_t SetsFor(const Session& session, int64_t bytes);

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_WORKLOAD_H_
