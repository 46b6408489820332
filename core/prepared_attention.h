// SPDX-License-Identifier: Apache-2.0
//
// PreparedAttention: a backend's kernels for one (spec, layout), compiled and ready. Made by
// Backend::Prepare, owned by an AttentionLayer; after that nothing is compiled any more.
#ifndef WEFT_CORE_PREPARED_ATTENTION_H_
#define WEFT_CORE_PREPARED_ATTENTION_H_

#include <string>

#include "core/attention_spec.h"
#include "core/device.h"
#include "core/kv_cache.h"
#include "core/plan.h"

namespace weft {

// Immutable and thread-safe.
class PreparedAttention {
 public:
  virtual ~PreparedAttention() = default;
  PreparedAttention(const PreparedAttention&) = delete;
  PreparedAttention& operator=(const PreparedAttention&) = delete;

  const AttentionSpec& spec() const { return spec_; }
  const KvCacheLayout& layout() const { return layout_; }
  DeviceId device() const { return device_; }
  const PlanConfig& plan_config() const { return plan_config_; }

  // The kernels chosen, and why.
  virtual std::string Explain() const = 0;

 protected:
  PreparedAttention(const AttentionSpec& spec, const KvCacheLayout& layout, DeviceId device,
                    const PlanConfig& config)
      : spec_(spec), layout_(layout), device_(device), plan_config_(config) {}

 private:
  AttentionSpec spec_;
  KvCacheLayout layout_;
  DeviceId device_;
  PlanConfig plan_config_;
};

}  // namespace weft

#endif  // WEFT_CORE_PREPARED_ATTENTION_H_
