// SPDX-License-Identifier: Apache-2.0
//
// Attention over a paged cache.
#include <memory>
#include <utility>
#include <vector>

#include "core/attention_layer.h"
#include "core/status_macros.h"
#include "core/step_buffers.h"
#include "testing/golden/attention_case.h"
#include "testing/golden/golden_data.h"
#include "testing/golden/judges.h"

namespace weft::testing {
namespace {

StepLimits LimitsOf(const Plan& plan) {
  StepLimits limits;
  limits.max_slots = static_cast<int64_t>(plan.slots().size());
  limits.max_blocks = static_cast<int64_t>(plan.blocks().size());
  limits.max_tiles = static_cast<int64_t>(plan.tiles().size());
  limits.max_decode_rows = static_cast<int64_t>(plan.decode_rows().size());
  limits.max_decode_splits = static_cast<int64_t>(plan.decode_splits().size());
  limits.workspace_bytes = plan.workspace_bytes();
  return limits;
}

// The tensors of a case on a device, and its results.
struct DeviceCase {
  std::unique_ptr<Queue> queue;
  DeviceTensor query, key_cache, value_cache, key, value, out, lse;
  KvCacheView cache;
};

absl::StatusOr<DeviceCase> UploadCase(Backend& backend, const GoldenAttention& c) {
  DeviceCase d;
  ASSIGN_OR_RETURN(d.queue, backend.CreateQueue());
  const AttentionSpec& spec = c.spec();
  const auto upload = [&](const SafeTensor& tensor, DType dtype) {
    return UploadTensor(backend, *d.queue, dtype, tensor.shape, tensor.data);
  };
  ASSIGN_OR_RETURN(d.query, upload(c.query(), spec.query_dtype()));
  ASSIGN_OR_RETURN(d.key_cache, upload(c.key_cache(), spec.kv_dtype));
  ASSIGN_OR_RETURN(d.out, NewTensor(backend, *d.queue, spec.output_dtype(), c.query().shape));
  ASSIGN_OR_RETURN(d.lse,
                   NewTensor(backend, *d.queue, DType::kF32, {c.num_rows(), spec.num_heads}));
  if (!c.split_cache()) {
    ASSIGN_OR_RETURN(d.cache, KvCacheView::OneAllocation(c.layout(), d.key_cache.view.address(),
                                                         c.num_blocks(), backend.device()));
    return d;
  }
  ASSIGN_OR_RETURN(d.value_cache, upload(c.value_cache(), spec.kv_dtype));
  ASSIGN_OR_RETURN(d.key, upload(c.key(), spec.dtype));
  ASSIGN_OR_RETURN(d.value, upload(c.value(), spec.dtype));
  const KvSegment segment = {d.key_cache.view.address(), d.value_cache.view.address(),
                             c.num_blocks()};
  ASSIGN_OR_RETURN(d.cache, KvCacheView::Create(c.layout(), backend.device(), {segment}));
  return d;
}

absl::StatusOr<AttentionAnswer> DownloadAnswer(const DeviceCase& d) {
  AttentionAnswer answer;
  ASSIGN_OR_RETURN(answer.out, DownloadTensor(*d.queue, d.out));
  ASSIGN_OR_RETURN(answer.lse, DownloadTensor(*d.queue, d.lse));
  return answer;
}

// One layer over one cache, and the tables of one plan.
struct PlannedLayer {
  AttentionLayer layer;
  std::unique_ptr<StepBuffers> step;
};

absl::StatusOr<PlannedLayer> PlanLayer(Backend& backend, Queue& queue, const AttentionSpec& spec,
                                       const KvCacheLayout& layout,
                                       const AttentionMetadata& metadata,
                                       const PlanOptions& options) {
  ASSIGN_OR_RETURN(AttentionLayer layer,
                   AttentionLayer::Create(backend.shared_from_this(), spec, layout));
  ASSIGN_OR_RETURN(std::shared_ptr<const Plan> plan, layer.MakePlan(metadata, options));
  ASSIGN_OR_RETURN(std::unique_ptr<StepBuffers> step,
                   StepBuffers::Create(backend.shared_from_this(), LimitsOf(*plan)));
  RETURN_IF_ERROR(step->Update(queue, std::move(plan)));
  return PlannedLayer{std::move(layer), std::move(step)};
}

absl::Status JudgeUnifiedOnce(Backend& backend, const GoldenAttention& c, bool decodes) {
  ASSIGN_OR_RETURN(const AttentionMetadata metadata, c.Metadata([&](int64_t i) {
    return decodes && c.new_tokens(i) == 1 && c.has_context(i);
  }));
  ASSIGN_OR_RETURN(const DeviceCase d, UploadCase(backend, c));
  ASSIGN_OR_RETURN(const PlannedLayer planned,
                   PlanLayer(backend, *d.queue, c.spec(), c.layout(), metadata, {}));
  AttentionIo io;
  io.query = d.query.view;
  io.out = d.out.view;
  io.lse = d.lse.view;
  io.cache = d.cache;
  RETURN_IF_ERROR(planned.layer.Attend(*d.queue, *planned.step, io));
  ASSIGN_OR_RETURN(const AttentionAnswer answer, DownloadAnswer(d));
  return c.Judge(answer, decodes ? "" : ", all requests as prefills");
}

// A partial state of the prefill rows: over the context in the cache, or over the new rows.
struct Partial {
  PlannedLayer planned;
  DeviceTensor out, lse;
};

absl::StatusOr<Partial> AttendPartially(Backend& backend, const GoldenAttention& c,
                                        const DeviceCase& d, const AttentionMetadata& metadata,
                                        KeyScope keys) {
  AttentionSpec spec = c.spec();
  spec.out_dtype = DType::kF32;
  spec.out_scale = 1.0f;
  KvCacheLayout layout = c.layout();
  AttentionIo io;
  io.cache = d.cache;
  if (keys == KeyScope::kNew) {
    const int64_t heads = spec.num_kv_heads, size = spec.head_size;
    spec.kv_dtype = spec.dtype;
    spec.k_scales.clear();
    spec.v_scales.clear();
    ASSIGN_OR_RETURN(layout, KvCacheLayout::Rows(spec.dtype, heads, size, heads * size, size,
                                                 heads * size, size));
    const KvSegment rows = {d.key.view.address(), d.value.view.address(), c.num_rows()};
    ASSIGN_OR_RETURN(io.cache, KvCacheView::Create(layout, backend.device(), {rows}));
  }
  PlanOptions options;
  options.keys = keys;
  options.rows = RowScope::kPrefills;
  ASSIGN_OR_RETURN(PlannedLayer planned,
                   PlanLayer(backend, *d.queue, spec, layout, metadata, options));
  Partial partial = {std::move(planned), {}, {}};
  ASSIGN_OR_RETURN(partial.out, NewTensor(backend, *d.queue, DType::kF32, c.query().shape));
  ASSIGN_OR_RETURN(partial.lse,
                   NewTensor(backend, *d.queue, DType::kF32, {c.num_rows(), c.spec().num_heads}));
  io.query = d.query.view;
  io.out = partial.out.view;
  io.lse = partial.lse.view;
  RETURN_IF_ERROR(partial.planned.layer.Attend(*d.queue, *partial.planned.step, io));
  return partial;
}

}  // namespace

absl::Status JudgeUnified(Backend& backend, const GoldenCase& golden) {
  ASSIGN_OR_RETURN(const SafeTensorsFile file, SafeTensorsFile::Read(golden.path));
  ASSIGN_OR_RETURN(const GoldenAttention c, GoldenAttention::ReadUnified(golden, file));
  RETURN_IF_ERROR(JudgeUnifiedOnce(backend, c, /*decodes=*/true));
  for (int64_t i = 0; i < c.num_requests(); ++i) {
    if (c.new_tokens(i) == 1 && c.has_context(i)) {
      return JudgeUnifiedOnce(backend, c, /*decodes=*/false);
    }
  }
  return absl::OkStatus();
}

absl::Status JudgeChunked(Backend& backend, const GoldenCase& golden) {
  ASSIGN_OR_RETURN(const SafeTensorsFile file, SafeTensorsFile::Read(golden.path));
  ASSIGN_OR_RETURN(const GoldenAttention c, GoldenAttention::ReadChunked(golden, file));
  // The seed tells decodes from prefills by their length.
  ASSIGN_OR_RETURN(const AttentionMetadata metadata,
                   c.Metadata([&](int64_t i) { return c.chunked_decode(i); }));
  ASSIGN_OR_RETURN(const DeviceCase d, UploadCase(backend, c));
  ASSIGN_OR_RETURN(const Partial context,
                   AttendPartially(backend, c, d, metadata, KeyScope::kContext));
  ASSIGN_OR_RETURN(const Partial fresh, AttendPartially(backend, c, d, metadata, KeyScope::kNew));
  ASSIGN_OR_RETURN(
      const DeviceTensor sinks,
      UploadTensor(backend, *d.queue, DType::kF32, {static_cast<int64_t>(c.spec().sinks.size())},
                   absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(c.spec().sinks.data()),
                                       c.spec().sinks.size() * sizeof(float))));
  MergeStatesArgs merge;
  merge.a = context.out.view;
  merge.a_lse = context.lse.view;
  merge.b = fresh.out.view;
  merge.b_lse = fresh.lse.view;
  merge.out = d.out.view;
  merge.lse = d.lse.view;
  if (!c.spec().sinks.empty()) merge.sinks = sinks.view;
  merge.out_scale = c.spec().out_scale;
  RETURN_IF_ERROR(d.queue->MergeStates(merge));
  // The decodes' rows come after the merge, which has filled them with nothing of worth.
  PlanOptions options;
  options.rows = RowScope::kDecodes;
  ASSIGN_OR_RETURN(const PlannedLayer decodes,
                   PlanLayer(backend, *d.queue, c.spec(), c.layout(), metadata, options));
  AttentionIo io;
  io.query = d.query.view;
  io.out = d.out.view;
  io.lse = d.lse.view;
  io.cache = d.cache;
  RETURN_IF_ERROR(decodes.layer.Attend(*d.queue, *decodes.step, io));
  ASSIGN_OR_RETURN(const AttentionAnswer answer, DownloadAnswer(d));
  return c.Judge(answer, "");
}

}  // namespace weft::testing
