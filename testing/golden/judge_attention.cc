// SPDX-License-Identifier: Apache-2.0
//
// Attention over a paged cache, by the functions that bear the seeds' names.
#include <algorithm>
#include <memory>

#include "core/ops/chunked_prefill_paged_decode.h"
#include "core/ops/context_attention.h"
#include "core/ops/paged_decode.h"
#include "core/ops/unified_attention.h"
#include "core/status_macros.h"
#include "testing/device_io.h"
#include "testing/golden/attention_case.h"
#include "testing/golden/golden_data.h"
#include "testing/golden/judges.h"

namespace weft::testing {
namespace {

// The tensors of a case on a device, and its results.
struct DeviceCase {
  std::unique_ptr<Queue> queue;
  DeviceTensor query, key_cache, value_cache, key, value, out, lse;
  KvCacheView cache;
  DType weights = DType::kF32;  // PreparedAttention::weight_dtype()
};

absl::StatusOr<DeviceCase> UploadCase(Backend& backend, const GoldenAttention& c) {
  DeviceCase d;
  ASSIGN_OR_RETURN(d.queue, backend.CreateQueue());
  const AttentionSpec& spec = c.spec();
  ASSIGN_OR_RETURN(const auto prepared, backend.Prepare(spec, c.layout()));
  d.weights = prepared->weight_dtype();
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
  answer.weights = d.weights;
  ASSIGN_OR_RETURN(answer.out, DownloadTensor(*d.queue, d.out));
  ASSIGN_OR_RETURN(answer.lse, DownloadTensor(*d.queue, d.lse));
  return answer;
}

StepArrays ArraysOf(const GoldenAttention& c) {
  StepArrays arrays;
  arrays.query_start_loc = c.query_start();
  arrays.seq_lens = c.seq_lens();
  arrays.block_table = c.block_table();
  arrays.block_table_width = c.table_width();
  return arrays;
}

OpLimits LimitsOf(const GoldenAttention& c) {
  OpLimits limits;
  limits.max_rows = limits.max_decode_rows = c.num_rows();
  limits.max_requests = c.num_requests();
  limits.max_seq_len = *std::max_element(c.seq_lens().begin(), c.seq_lens().end());
  return limits;
}

absl::Status JudgeUnifiedOnce(Backend& backend, const GoldenAttention& c,
                              UnifiedAttentionMode mode) {
  ASSIGN_OR_RETURN(const DeviceCase d, UploadCase(backend, c));
  ASSIGN_OR_RETURN(const auto attention,
                   UnifiedAttention::Create(backend.shared_from_this(), c.spec(), c.layout(),
                                            LimitsOf(c), mode));
  const UnifiedAttentionIo io = {d.query.view, d.out.view, d.lse.view, d.cache};
  RETURN_IF_ERROR(attention->Run(*d.queue, ArraysOf(c), io));
  ASSIGN_OR_RETURN(const AttentionAnswer answer, DownloadAnswer(d));
  return c.Judge(answer, mode == UnifiedAttentionMode::k2D ? ", all requests as prefills" : "");
}

ContextAttentionIo IoOf(const DeviceCase& d) {
  return {d.query.view, d.key.view, d.value.view, d.out.view, d.lse.view, d.cache};
}

// The seed's one call for both.
absl::Status RunChunked(Backend& backend, const GoldenAttention& c, const DeviceCase& d) {
  ASSIGN_OR_RETURN(const auto attention,
                   ChunkedPrefillPagedDecode::Create(backend.shared_from_this(), c.spec(),
                                                     c.layout(), LimitsOf(c)));
  RETURN_IF_ERROR(attention->Run(*d.queue, ArraysOf(c), IoOf(d)));
  return Finish(*d.queue);
}

// Its two halves, each under its own name.
absl::Status RunHalves(Backend& backend, const GoldenAttention& c, const DeviceCase& d) {
  ContextAttentionOptions options;
  if (!c.context_attention()) options.rows = RowScope::kPrefills;
  ASSIGN_OR_RETURN(const auto context,
                   ContextAttention::Create(backend.shared_from_this(), c.spec(), c.layout(),
                                            LimitsOf(c), options));
  RETURN_IF_ERROR(context->Run(*d.queue, ArraysOf(c), IoOf(d)));
  if (c.context_attention()) return Finish(*d.queue);
  PagedDecodeOptions decode_options;
  decode_options.filter_by_query_len = true;
  decode_options.split = false;
  ASSIGN_OR_RETURN(const auto decode, PagedDecode::Create(backend.shared_from_this(), c.spec(),
                                                          c.layout(), LimitsOf(c), decode_options));
  const PagedDecodeIo io = {d.query.view, d.out.view, d.lse.view, d.cache};
  RETURN_IF_ERROR(decode->Run(*d.queue, ArraysOf(c), io));
  return Finish(*d.queue);
}

}  // namespace

absl::Status JudgeUnified(Backend& backend, const GoldenCase& golden) {
  ASSIGN_OR_RETURN(const SafeTensorsFile file, SafeTensorsFile::Read(golden.path));
  ASSIGN_OR_RETURN(const GoldenAttention c, GoldenAttention::ReadUnified(golden, file));
  RETURN_IF_ERROR(JudgeUnifiedOnce(backend, c, UnifiedAttentionMode::kAuto));
  for (int64_t i = 0; i < c.num_requests(); ++i) {
    if (c.new_tokens(i) == 1) return JudgeUnifiedOnce(backend, c, UnifiedAttentionMode::k2D);
  }
  return absl::OkStatus();
}

absl::Status JudgeChunked(Backend& backend, const GoldenCase& golden) {
  ASSIGN_OR_RETURN(const SafeTensorsFile file, SafeTensorsFile::Read(golden.path));
  ASSIGN_OR_RETURN(const GoldenAttention c, GoldenAttention::ReadChunked(golden, file));
  if (!c.context_attention()) {
    ASSIGN_OR_RETURN(const DeviceCase d, UploadCase(backend, c));
    RETURN_IF_ERROR(RunChunked(backend, c, d));
    ASSIGN_OR_RETURN(const AttentionAnswer answer, DownloadAnswer(d));
    RETURN_IF_ERROR(c.Judge(answer, ""));
  }
  ASSIGN_OR_RETURN(const DeviceCase d, UploadCase(backend, c));
  RETURN_IF_ERROR(RunHalves(backend, c, d));
  ASSIGN_OR_RETURN(const AttentionAnswer answer, DownloadAnswer(d));
  return c.Judge(answer, ", context attention and paged decode apart");
}

}  // namespace weft::testing
