// SPDX-License-Identifier: Apache-2.0
//
// JudgeGoldenCase: one function for each op that is built.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention_layer.h"
#include "core/checked_math.h"
#include "core/status_macros.h"
#include "testing/compare.h"
#include "testing/device_io.h"
#include "testing/golden/golden_args.h"
#include "testing/golden/golden_case.h"
#include "testing/golden/safetensors.h"
#include "testing/oracle.h"

namespace weft::testing {
namespace {

std::string_view SafeTensorsName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kI32:
      return "I32";
    case DType::kI64:
      return "I64";
    case DType::kF8E4M3:
      return "F8_E4M3";
    case DType::kF8E5M2:
      return "F8_E5M2";
    case DType::kU8:
      return "U8";
  }
  return "?";
}

template <typename T>
std::vector<T> Values(const SafeTensor& tensor) {
  std::vector<T> values(tensor.data.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

// A tensor of float64 or float32 values that stand for results of `dtype`.
absl::StatusOr<HostTensor> Reference(const SafeTensorsFile& file, std::string_view name,
                                     DType dtype, const std::vector<int64_t>& shape) {
  HostTensor result = {dtype, shape, {}};
  if (absl::StatusOr<SafeTensor> wide = file.Get(name, "F64", shape); wide.ok()) {
    result.values = Values<double>(*wide);
    return result;
  }
  ASSIGN_OR_RETURN(const SafeTensor narrow, file.Get(name, "F32", shape));
  for (float value : Values<float>(narrow)) result.values.push_back(value);
  return result;
}

// ---- Attention ---------------------------------------------------------------------------------

// The arrays of a "unified" case.
struct AttentionCase {
  AttentionSpec spec;
  KvCacheLayout layout;
  int64_t num_rows = 0;
  int64_t num_blocks = 0;
  SafeTensor query, cache, out;
  HostTensor reference, reference_lse;
  std::vector<int32_t> block_table, query_start, seq_lens;
  int64_t table_width = 0;
  Tolerance kernel_distance;  // of `out` from the reference

  int64_t num_requests() const { return static_cast<int64_t>(seq_lens.size()); }
  int64_t new_tokens(int64_t request) const {
    return query_start[request + 1] - query_start[request];
  }
};

absl::StatusOr<AttentionSpec> ReadSpec(const GoldenArgs& args, const SafeTensorsFile& file) {
  AttentionSpec spec;
  ASSIGN_OR_RETURN(spec.dtype, args.Dtype("dtype"));
  spec.kv_dtype = spec.dtype;
  ASSIGN_OR_RETURN(spec.num_heads, args.Integer("num_heads"));
  ASSIGN_OR_RETURN(spec.num_kv_heads, args.Integer("num_kv_heads"));
  ASSIGN_OR_RETURN(spec.head_size, args.Integer("head_size"));
  ASSIGN_OR_RETURN(const double scale, args.Number("scale"));
  spec.scale = static_cast<float>(scale);
  ASSIGN_OR_RETURN(const double softcap, args.Number("softcap"));
  spec.softcap = static_cast<float>(softcap);
  ASSIGN_OR_RETURN(spec.window, args.Integer("window"));
  ASSIGN_OR_RETURN(const bool alibi, args.Flag("alibi"));
  if (alibi) {
    ASSIGN_OR_RETURN(const SafeTensor slopes, file.Get("alibi_slopes", "F32", {spec.num_heads}));
    spec.alibi_slopes = Values<float>(slopes);
  }
  ASSIGN_OR_RETURN(const bool sinks, args.Flag("sinks"));
  if (sinks) {
    ASSIGN_OR_RETURN(const SafeTensor values, file.Get("sinks", "F32", {spec.num_heads}));
    spec.sinks = Values<float>(values);
  }
  return spec;
}

absl::Status CheckFeatures(const GoldenArgs& args) {
  if (!args.IsNull("kv_dtype")) return absl::UnimplementedError("fp8 KV cache: not built yet");
  if (!args.IsNull("output_scale")) return absl::UnimplementedError("fp8 output: not built yet");
  ASSIGN_OR_RETURN(const bool fp8_query, args.Flag("q_fp8"));
  if (fp8_query) return absl::UnimplementedError("fp8 query: not built yet");
  return absl::OkStatus();
}

double KernelDistance(const GoldenCase& golden, const char* field) {
  const auto found = golden.error.find(field);
  return found != golden.error.end() && found->is_number() ? found->get<double>() : 0.0;
}

absl::StatusOr<AttentionCase> ReadAttentionCase(const GoldenArgs& args, const GoldenCase& golden,
                                                const SafeTensorsFile& file) {
  AttentionCase c;
  ASSIGN_OR_RETURN(c.spec, ReadSpec(args, file));
  RETURN_IF_ERROR(c.spec.Validate());
  ASSIGN_OR_RETURN(const int64_t block_size, args.Integer("block_size"));
  ASSIGN_OR_RETURN(c.layout, KvCacheLayout::Nhd(c.spec.kv_dtype, block_size, c.spec.num_kv_heads,
                                                c.spec.head_size));
  const std::string_view dtype = SafeTensorsName(c.spec.dtype);
  ASSIGN_OR_RETURN(c.query, file.Get("q", dtype, {-1, c.spec.num_heads, c.spec.head_size}));
  c.num_rows = c.query.shape[0];
  ASSIGN_OR_RETURN(c.cache, file.Get("kv_cache", dtype,
                                     {-1, 2, block_size, c.spec.num_kv_heads, c.spec.head_size}));
  c.num_blocks = c.cache.shape[0];
  ASSIGN_OR_RETURN(c.out, file.Get("out", dtype, c.query.shape));
  ASSIGN_OR_RETURN(c.reference, Reference(file, "ref", c.spec.dtype, c.query.shape));
  ASSIGN_OR_RETURN(c.reference_lse,
                   Reference(file, "ref_lse", DType::kF32, {c.num_rows, c.spec.num_heads}));
  ASSIGN_OR_RETURN(const SafeTensor seq_lens, file.Get("seq_lens", "I32", {-1}));
  c.seq_lens = Values<int32_t>(seq_lens);
  ASSIGN_OR_RETURN(const SafeTensor starts,
                   file.Get("cu_seqlens_q", "I32", {c.num_requests() + 1}));
  c.query_start = Values<int32_t>(starts);
  ASSIGN_OR_RETURN(const SafeTensor table, file.Get("block_table", "I32", {c.num_requests(), -1}));
  c.block_table = Values<int32_t>(table);
  c.table_width = table.shape[1];
  c.kernel_distance.relative_frobenius = KernelDistance(golden, "rel_l2");
  c.kernel_distance.atol = KernelDistance(golden, "max_abs");

  if (c.query_start.front() != 0 || c.query_start.back() != c.num_rows) {
    return absl::DataLossError(absl::StrCat(file.name(), ": cu_seqlens_q runs from ",
                                            c.query_start.front(), " to ", c.query_start.back(),
                                            ", q has ", c.num_rows, " rows"));
  }
  return c;
}

bool HasContext(const AttentionCase& c, int64_t request) {
  return c.seq_lens[request] > c.new_tokens(request);
}

absl::StatusOr<AttentionMetadata> BuildMetadata(const AttentionCase& c, bool decodes) {
  RequestBatch batch;
  for (int64_t i = 0; i < c.num_requests(); ++i) {
    Request request;
    request.num_new_tokens = c.new_tokens(i);
    request.num_computed_tokens = c.seq_lens[i] - c.new_tokens(i);
    request.kind = decodes && request.num_new_tokens == 1 && HasContext(c, i)
                       ? RequestKind::kDecode
                       : RequestKind::kPrefill;
    request.block_ids =
        absl::MakeConstSpan(c.block_table)
            .subspan(static_cast<size_t>(i * c.table_width), static_cast<size_t>(c.table_width));
    batch.requests.push_back(request);
  }
  MetadataOptions options;
  options.fast = true;  // nothing is written: blocks may be shared
  return AttentionMetadataBuilder(c.layout, c.num_blocks).Build(batch, options);
}

// The largest |logit| of each (row, head), before softcap and ALiBi: what the LSE's error scales
// with.
std::vector<double> MaxAbsLogits(const AttentionCase& c, const AttentionMetadata& metadata) {
  const int64_t size = c.spec.head_size;
  std::vector<float> query(static_cast<size_t>(size));
  std::vector<double> result;
  for (int64_t i = 0; i < c.num_requests(); ++i) {
    for (int64_t row = c.query_start[i]; row < c.query_start[i + 1]; ++row) {
      const int64_t keys = metadata.context_lens()[i] + row - c.query_start[i] + 1;
      for (int64_t head = 0; head < c.spec.num_heads; ++head) {
        for (int64_t d = 0; d < size; ++d) {
          query[d] = LoadFloat(c.spec.dtype, c.query.data.data(),
                               (row * c.spec.num_heads + head) * size + d);
        }
        const auto fetch = [&](int64_t position, absl::Span<float> key, absl::Span<float> value) {
          const int64_t block = metadata.blocks(i)[position / c.layout.block_size()];
          const KvStrides& strides = c.layout.key_strides();
          const int64_t place = block * strides.block +
                                position % c.layout.block_size() * strides.token +
                                head / c.spec.group_size() * strides.head;
          for (int64_t d = 0; d < size; ++d) {
            key[d] = LoadFloat(c.spec.kv_dtype, c.cache.data.data(), place + d);
            value[d] = 0.0f;
          }
        };
        result.push_back(AttendRow(query, c.spec.effective_scale(), keys, fetch).max_abs_logit);
      }
    }
  }
  return result;
}

struct AttentionResult {
  HostTensor out;
  HostTensor lse;
};

absl::StatusOr<AttentionResult> RunAttention(Backend& backend, const AttentionLayer& layer,
                                             const AttentionCase& c,
                                             const AttentionMetadata& metadata) {
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  ASSIGN_OR_RETURN(std::shared_ptr<const Plan> plan, layer.MakePlan(metadata));
  StepLimits limits;
  limits.max_slots = static_cast<int64_t>(plan->slots().size());
  limits.max_blocks = static_cast<int64_t>(plan->blocks().size());
  limits.max_tiles = static_cast<int64_t>(plan->tiles().size());
  limits.max_decode_rows = static_cast<int64_t>(plan->decode_rows().size());
  limits.max_decode_splits = static_cast<int64_t>(plan->decode_splits().size());
  limits.workspace_bytes = plan->workspace_bytes();
  ASSIGN_OR_RETURN(std::unique_ptr<StepBuffers> step,
                   StepBuffers::Create(backend.shared_from_this(), limits));
  RETURN_IF_ERROR(step->Update(*queue, plan));

  const int64_t out_bytes = static_cast<int64_t>(c.query.data.size());
  const int64_t lse_bytes = c.num_rows * c.spec.num_heads * 4;
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> query, Upload(backend, *queue, c.query.data));
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> cache, Upload(backend, *queue, c.cache.data));
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> out, AllocatePoisoned(backend, *queue, out_bytes));
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> lse, AllocatePoisoned(backend, *queue, lse_bytes));

  const std::vector<int64_t> lse_shape = {c.num_rows, c.spec.num_heads};
  const DeviceId device = backend.device();
  AttentionIo io;
  ASSIGN_OR_RETURN(io.query,
                   TensorView::Contiguous(query->address(), c.spec.dtype, c.query.shape, device));
  ASSIGN_OR_RETURN(io.out,
                   TensorView::Contiguous(out->address(), c.spec.dtype, c.query.shape, device));
  ASSIGN_OR_RETURN(io.lse, TensorView::Contiguous(lse->address(), DType::kF32, lse_shape, device));
  ASSIGN_OR_RETURN(io.cache,
                   KvCacheView::OneAllocation(c.layout, cache->address(), c.num_blocks, device));
  RETURN_IF_ERROR(layer.Attend(*queue, *step, io));
  ASSIGN_OR_RETURN(const std::vector<uint8_t> out_data,
                   Download(*queue, out->address(), out_bytes));
  ASSIGN_OR_RETURN(const std::vector<uint8_t> lse_data,
                   Download(*queue, lse->address(), lse_bytes));
  return AttentionResult{DecodeTensor(c.spec.dtype, c.query.shape, out_data),
                         DecodeTensor(DType::kF32, lse_shape, lse_data)};
}

absl::Status JudgeAttentionOnce(Backend& backend, const GoldenCase& golden,
                                const AttentionLayer& layer, const AttentionCase& c, bool decodes) {
  ASSIGN_OR_RETURN(const AttentionMetadata metadata, BuildMetadata(c, decodes));
  ASSIGN_OR_RETURN(const AttentionResult result, RunAttention(backend, layer, c, metadata));
  std::vector<int32_t> request_of_row;
  for (int64_t i = 0; i < c.num_requests(); ++i) {
    request_of_row.insert(request_of_row.end(), static_cast<size_t>(c.new_tokens(i)),
                          static_cast<int32_t>(i));
  }
  CompareContext context;
  context.case_line =
      absl::StrCat("golden ", golden.name, decodes ? "" : ", all requests as prefills");
  context.request_of_row = request_of_row;

  context.tensor = "out against the float64 reference";
  const Tolerance tolerance = ToleranceFor(c.spec.dtype);
  RETURN_IF_ERROR(CompareTensors(result.out, c.reference, tolerance, context));
  context.tensor = "lse against the float64 reference";
  RETURN_IF_ERROR(CompareLse(result.lse, c.reference_lse, MaxAbsLogits(c, metadata), context));
  context.tensor = "out against the seed's kernel";
  Tolerance kernel = tolerance;
  kernel.relative_frobenius += c.kernel_distance.relative_frobenius;
  kernel.atol += c.kernel_distance.atol;
  return CompareTensors(result.out, DecodeTensor(c.spec.dtype, c.out.shape, c.out.data), kernel,
                        context);
}

absl::Status JudgeAttention(Backend& backend, const GoldenCase& golden) {
  const GoldenArgs args(golden);
  RETURN_IF_ERROR(CheckFeatures(args));
  ASSIGN_OR_RETURN(const SafeTensorsFile file, SafeTensorsFile::Read(golden.path));
  ASSIGN_OR_RETURN(const AttentionCase c, ReadAttentionCase(args, golden, file));
  ASSIGN_OR_RETURN(const AttentionLayer layer,
                   AttentionLayer::Create(backend.shared_from_this(), c.spec, c.layout));
  RETURN_IF_ERROR(JudgeAttentionOnce(backend, golden, layer, c, /*decodes=*/true));
  for (int64_t i = 0; i < c.num_requests(); ++i) {
    if (c.new_tokens(i) == 1 && HasContext(c, i)) {
      return JudgeAttentionOnce(backend, golden, layer, c, /*decodes=*/false);
    }
  }
  return absl::OkStatus();
}

// ---- Cache writes ------------------------------------------------------------------------------

// The arrays of a "reshape" case. A cache is [num_blocks, block_size, num_kv_heads, head_size].
struct ReshapeCase {
  KvCacheLayout layout;
  int64_t num_blocks = 0;
  int64_t bytes_per_slot = 0;
  SafeTensor key, value, slots;
  SafeTensor key_cache, value_cache;  // the reference
};

absl::StatusOr<ReshapeCase> ReadReshapeCase(const GoldenArgs& args, const SafeTensorsFile& file) {
  ReshapeCase c;
  ASSIGN_OR_RETURN(const DType dtype, args.Dtype("dtype"));
  ASSIGN_OR_RETURN(const int64_t heads, args.Integer("num_kv_heads"));
  ASSIGN_OR_RETURN(const int64_t head_size, args.Integer("head_size"));
  ASSIGN_OR_RETURN(const int64_t block_size, args.Integer("block_size"));
  const std::optional<int64_t> token = CheckedMul(heads, head_size);
  const std::optional<int64_t> block = token ? CheckedMul(*token, block_size) : std::nullopt;
  if (!block) return absl::OutOfRangeError("the size of a block does not fit 63 bits");
  const KvStrides strides = {*block, *token, head_size};
  ASSIGN_OR_RETURN(c.layout, KvCacheLayout::Strided(dtype, block_size, heads, head_size, strides,
                                                    strides, 0, 0));
  c.bytes_per_slot = *token * SizeOf(dtype);
  const std::string_view name = SafeTensorsName(dtype);
  ASSIGN_OR_RETURN(c.key, file.Get("key", name, {-1, heads, head_size}));
  ASSIGN_OR_RETURN(c.value, file.Get("value", name, c.key.shape));
  ASSIGN_OR_RETURN(c.slots, file.Get("slot_mapping", "I64", {-1}));
  ASSIGN_OR_RETURN(c.key_cache,
                   file.Get("ref_key_cache", name, {-1, block_size, heads, head_size}));
  ASSIGN_OR_RETURN(c.value_cache, file.Get("ref_value_cache", name, c.key_cache.shape));
  c.num_blocks = c.key_cache.shape[0];
  return c;
}

// A cache before the call: the reference, with every bit turned over in the slots that the call
// must write. So each of these must be written, and no other may be.
std::vector<uint8_t> Before(const SafeTensor& reference, const std::vector<int64_t>& slots,
                            int64_t bytes_per_slot) {
  std::vector<uint8_t> before(reference.data.begin(), reference.data.end());
  for (int64_t slot : slots) {
    if (slot < 0 || (slot + 1) * bytes_per_slot > static_cast<int64_t>(before.size())) continue;
    for (int64_t i = slot * bytes_per_slot; i < (slot + 1) * bytes_per_slot; ++i) {
      before[i] = static_cast<uint8_t>(~reference.data[i]);
    }
  }
  return before;
}

absl::Status JudgeReshape(Backend& backend, const GoldenCase& golden) {
  const GoldenArgs args(golden);
  if (!args.IsNull("kv_dtype")) return absl::UnimplementedError("fp8 KV cache: not built yet");
  ASSIGN_OR_RETURN(const std::string layout, args.String("layout"));
  if (layout != "nhd") {
    return absl::UnimplementedError(absl::StrCat("cache layout ", layout, ": not built yet"));
  }
  ASSIGN_OR_RETURN(const SafeTensorsFile file, SafeTensorsFile::Read(golden.path));
  ASSIGN_OR_RETURN(const ReshapeCase c, ReadReshapeCase(args, file));
  const std::vector<int64_t> slots = Values<int64_t>(c.slots);

  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  ASSIGN_OR_RETURN(auto key, Upload(backend, *queue, c.key.data));
  ASSIGN_OR_RETURN(auto value, Upload(backend, *queue, c.value.data));
  ASSIGN_OR_RETURN(auto slot_buffer, Upload(backend, *queue, c.slots.data));
  ASSIGN_OR_RETURN(auto key_cache,
                   Upload(backend, *queue, Before(c.key_cache, slots, c.bytes_per_slot)));
  ASSIGN_OR_RETURN(auto value_cache,
                   Upload(backend, *queue, Before(c.value_cache, slots, c.bytes_per_slot)));

  const DeviceId device = backend.device();
  const DType dtype = c.layout.dtype();
  ReshapeAndCacheArgs call;
  ASSIGN_OR_RETURN(call.key, TensorView::Contiguous(key->address(), dtype, c.key.shape, device));
  ASSIGN_OR_RETURN(call.value,
                   TensorView::Contiguous(value->address(), dtype, c.value.shape, device));
  ASSIGN_OR_RETURN(call.slots, TensorView::Contiguous(slot_buffer->address(), DType::kI64,
                                                      c.slots.shape, device));
  const KvSegment segment = {key_cache->address(), value_cache->address(), c.num_blocks};
  ASSIGN_OR_RETURN(call.cache, KvCacheView::Create(c.layout, device, {segment}));
  RETURN_IF_ERROR(queue->ReshapeAndCache(call));

  CompareContext context;
  context.case_line = absl::StrCat("golden ", golden.name);
  for (const auto& [name, buffer, reference] :
       {std::tuple("key cache", key_cache.get(), &c.key_cache),
        std::tuple("value cache", value_cache.get(), &c.value_cache)}) {
    ASSIGN_OR_RETURN(
        const std::vector<uint8_t> data,
        Download(*queue, buffer->address(), static_cast<int64_t>(reference->data.size())));
    context.tensor = name;
    RETURN_IF_ERROR(CompareBits(dtype, reference->shape, data, reference->data, context));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status JudgeGoldenCase(Backend& backend, const GoldenCase& golden) {
  if (golden.op == "unified") return JudgeAttention(backend, golden);
  if (golden.op == "reshape") return JudgeReshape(backend, golden);
  return absl::UnimplementedError(absl::StrCat("op ", golden.op, ": not built yet"));
}

}  // namespace weft::testing
