// SPDX-License-Identifier: Apache-2.0
//
// PreparedAttention: a backend's kernels for one (spec, layout), compiled and ready. Made by
// Backend::Prepare, owned by an AttentionLayer; after that nothing is compiled any more.
#ifndef WEFT_CORE_PREPARED_ATTENTION_H_
#define WEFT_CORE_PREPARED_ATTENTION_H_

#include <string>

#include "core/address_map.h"
#include "core/attention_spec.h"
#include "core/device.h"
#include "core/dtype.h"
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
  // Of the backend that made it: only queues of that very object can run it, since two backend
  // objects of one device share neither kernels nor addresses.
  const AddressMap& allocations() const { return *allocations_; }

  // What the softmax's weights are rounded to before they are multiplied with values: f32, or a
  // 16-bit type where tensor cores multiply. An output is as good as this type, or its own,
  // allows.
  virtual DType weight_dtype() const { return DType::kF32; }

  // The kernels chosen, and why.
  virtual std::string Explain() const = 0;

 protected:
  // `allocations` must outlive it.
  PreparedAttention(const AttentionSpec& spec, const KvCacheLayout& layout, DeviceId device,
                    const PlanConfig& config, const AddressMap* allocations)
      : spec_(spec),
        layout_(layout),
        device_(device),
        plan_config_(config),
        allocations_(allocations) {}

 private:
  AttentionSpec spec_;
  KvCacheLayout layout_;
  DeviceId device_;
  PlanConfig plan_config_;
  const AddressMap* allocations_;
};

}  // namespace weft

#endif  // WEFT_CORE_PREPARED_ATTENTION_H_
