// SPDX-License-Identifier: Apache-2.0
#include "testing/golden/attention_case.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/oracle.h"

namespace weft::testing {
namespace {

absl::StatusOr<std::vector<float>> OptionalPerHead(const GoldenArgs& args, const char* flag,
                                                   const SafeTensorsFile& file, const char* name,
                                                   int64_t num_heads) {
  ASSIGN_OR_RETURN(const bool given, args.Flag(flag));
  if (!given) return std::vector<float>();
  ASSIGN_OR_RETURN(const SafeTensor values, file.Get(name, "F32", {num_heads}));
  return Values<float>(values);
}

absl::Status ReadTypes(const GoldenArgs& args, const SafeTensorsFile& file, AttentionSpec& spec) {
  ASSIGN_OR_RETURN(spec.dtype, args.Dtype("dtype"));
  ASSIGN_OR_RETURN(spec.kv_dtype, args.CacheDtype("kv_dtype", spec.dtype));
  ASSIGN_OR_RETURN(spec.fp8_query, args.Flag("q_fp8"));
  if (IsFp8(spec.kv_dtype)) {
    ASSIGN_OR_RETURN(const SafeTensor k_scale, file.Get("k_scale", "F32", {1}));
    ASSIGN_OR_RETURN(const SafeTensor v_scale, file.Get("v_scale", "F32", {1}));
    spec.k_scales = Values<float>(k_scale);
    spec.v_scales = Values<float>(v_scale);
  }
  if (args.IsNull("output_scale")) return absl::OkStatus();
  ASSIGN_OR_RETURN(const SafeTensor out_scale, file.Get("output_scale", "F32", {1}));
  spec.out_dtype = DType::kF8E4M3;
  spec.out_scale = Values<float>(out_scale)[0];
  return absl::OkStatus();
}

absl::StatusOr<AttentionSpec> ReadSpec(const GoldenArgs& args, const SafeTensorsFile& file) {
  AttentionSpec spec;
  ASSIGN_OR_RETURN(spec.num_heads, args.Integer("num_heads"));
  ASSIGN_OR_RETURN(spec.num_kv_heads, args.Integer("num_kv_heads"));
  ASSIGN_OR_RETURN(spec.head_size, args.Integer("head_size"));
  ASSIGN_OR_RETURN(const double scale, args.Number("scale"));
  spec.scale = static_cast<float>(scale);
  ASSIGN_OR_RETURN(const double softcap, args.Number("softcap"));
  spec.softcap = static_cast<float>(softcap);
  ASSIGN_OR_RETURN(spec.window, args.Integer("window"));
  ASSIGN_OR_RETURN(spec.alibi_slopes,
                   OptionalPerHead(args, "alibi", file, "alibi_slopes", spec.num_heads));
  ASSIGN_OR_RETURN(spec.sinks, OptionalPerHead(args, "sinks", file, "sinks", spec.num_heads));
  RETURN_IF_ERROR(ReadTypes(args, file, spec));
  RETURN_IF_ERROR(spec.Validate());
  return spec;
}

// How far a float64 answer may be from the file's, which is rounded once to `dtype` where that has
// 16 bits; the scale of the logits is a float here and a double there.
Tolerance OneRounding(DType dtype) {
  const double step = dtype == DType::kF32 ? 2e-6 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-8;
  return {step, 2e-6, step * 1.001};
}

}  // namespace

absl::Status GoldenAttention::ReadCommon(const SafeTensorsFile& file, std::string_view starts) {
  const std::string_view query_type = SafeTensorsName(spec_.query_dtype());
  ASSIGN_OR_RETURN(query_, file.Get("q", query_type, {-1, spec_.num_heads, spec_.head_size}));
  ASSIGN_OR_RETURN(out_, file.Get("out", SafeTensorsName(spec_.output_dtype()), query_.shape));
  ASSIGN_OR_RETURN(reference_, ReadReference(file, "ref", spec_.dtype, query_.shape));
  ASSIGN_OR_RETURN(reference_lse_,
                   ReadReference(file, "ref_lse", DType::kF32, {num_rows(), spec_.num_heads}));
  ASSIGN_OR_RETURN(const SafeTensor seq_lens, file.Get("seq_lens", "I32", {-1}));
  seq_lens_ = Values<int32_t>(seq_lens);
  ASSIGN_OR_RETURN(const SafeTensor query_start, file.Get(starts, "I32", {num_requests() + 1}));
  query_start_ = Values<int32_t>(query_start);
  ASSIGN_OR_RETURN(const SafeTensor table, file.Get("block_table", "I32", {num_requests(), -1}));
  block_table_ = Values<int32_t>(table);
  table_width_ = table.shape[1];
  if (query_start_.front() != 0 || query_start_.back() != num_rows() ||
      !std::is_sorted(query_start_.begin(), query_start_.end()) || seq_lens_.empty()) {
    return absl::DataLossError(absl::StrCat(file.name(), ": ", starts, " runs from ",
                                            query_start_.front(), " to ", query_start_.back(),
                                            ", q has ", num_rows(), " rows"));
  }
  return absl::OkStatus();
}

absl::StatusOr<GoldenAttention> GoldenAttention::ReadUnified(const GoldenCase& golden,
                                                             const SafeTensorsFile& file) {
  const GoldenArgs args(golden);
  GoldenAttention c(golden);
  ASSIGN_OR_RETURN(c.spec_, ReadSpec(args, file));
  ASSIGN_OR_RETURN(const int64_t block_size, args.Integer("block_size"));
  ASSIGN_OR_RETURN(c.layout_, KvCacheLayout::Nhd(c.spec_.kv_dtype, block_size, c.spec_.num_kv_heads,
                                                 c.spec_.head_size));
  RETURN_IF_ERROR(c.ReadCommon(file, "cu_seqlens_q"));
  ASSIGN_OR_RETURN(c.key_cache_,
                   file.Get("kv_cache", SafeTensorsName(c.spec_.kv_dtype),
                            {-1, 2, block_size, c.spec_.num_kv_heads, c.spec_.head_size}));
  c.num_blocks_ = c.key_cache_.shape[0];
  return c;
}

absl::StatusOr<GoldenAttention> GoldenAttention::ReadChunked(const GoldenCase& golden,
                                                             const SafeTensorsFile& file) {
  const GoldenArgs args(golden);
  GoldenAttention c(golden);
  ASSIGN_OR_RETURN(c.spec_, ReadSpec(args, file));
  ASSIGN_OR_RETURN(const std::string entry, args.String("entry"));
  c.context_attention_ = entry == "context_attention_fwd";
  if (!c.context_attention_ && entry != "chunked_prefill_paged_decode") {
    return absl::DataLossError(
        absl::StrCat("case ", golden.name,
                     ": args.entry must be context_attention_fwd or chunked_prefill_paged_decode"));
  }
  const int64_t heads = c.spec_.num_kv_heads, size = c.spec_.head_size;
  ASSIGN_OR_RETURN(const int64_t block_size, args.Integer("block_size"));
  ASSIGN_OR_RETURN(const int64_t x, args.Integer("x"));
  ASSIGN_OR_RETURN(c.layout_, KvCacheLayout::SplitX(c.spec_.kv_dtype, block_size, heads, size, x));
  RETURN_IF_ERROR(c.ReadCommon(file, "query_start_loc"));
  const std::string_view rows = SafeTensorsName(c.spec_.dtype);
  ASSIGN_OR_RETURN(c.key_, file.Get("key", rows, {c.num_rows(), heads, size}));
  ASSIGN_OR_RETURN(c.value_, file.Get("value", rows, c.key_.shape));
  const std::string_view cache = SafeTensorsName(c.spec_.kv_dtype);
  ASSIGN_OR_RETURN(c.key_cache_,
                   file.Get("key_cache", cache, {-1, heads, size / x, block_size, x}));
  c.num_blocks_ = c.key_cache_.shape[0];
  ASSIGN_OR_RETURN(c.value_cache_,
                   file.Get("value_cache", cache, {c.num_blocks_, heads, size, block_size}));
  c.split_cache_ = true;
  return c;
}

void GoldenAttention::Fetch(int64_t request, int64_t kv_head, int64_t position,
                            absl::Span<float> key, absl::Span<float> value) const {
  const int64_t computed = seq_lens_[request] - new_tokens(request);
  const bool fresh = split_cache_ && (context_attention_ || new_tokens(request) > 1);
  if (fresh && position >= computed) {
    const int64_t row = query_start_[request] + position - computed;
    const int64_t first = (row * spec_.num_kv_heads + kv_head) * spec_.head_size;
    for (int64_t d = 0; d < spec_.head_size; ++d) {
      key[d] = LoadFloat(spec_.dtype, key_.data.data(), first + d);
      value[d] = LoadFloat(spec_.dtype, value_.data.data(), first + d);
    }
    return;
  }
  const int64_t block = block_table_[request * table_width_ + position / layout_.block_size()];
  const int64_t offset = position % layout_.block_size();
  const auto read = [&](const SafeTensor& tensor, const KvStrides& strides, int64_t first,
                        const std::vector<float>& scales, absl::Span<float> to) {
    first += block * strides.block + offset * strides.token + kv_head * strides.head;
    for (int64_t d = 0; d < spec_.head_size; ++d) {
      to[d] = LoadFloat(spec_.kv_dtype, tensor.data.data(), first + DimOffset(strides, d)) *
              (scales.empty() ? 1.0f : scales[0]);
    }
  };
  read(key_cache_, layout_.key_strides(), 0, spec_.k_scales, key);
  read(split_cache_ ? value_cache_ : key_cache_, layout_.value_strides(), layout_.value_offset(),
       spec_.v_scales, value);
}

GoldenAttention::Oracle GoldenAttention::RunOracle() const {
  Oracle oracle;
  oracle.out = {spec_.dtype, query_.shape, {}};
  oracle.lse = {DType::kF32, {num_rows(), spec_.num_heads}, {}};
  std::vector<float> query(static_cast<size_t>(spec_.head_size));
  for (int64_t i = 0; i < num_requests(); ++i) {
    for (int64_t row = query_start_[i]; row < query_start_[i + 1]; ++row) {
      const int64_t position = seq_lens_[i] - new_tokens(i) + row - query_start_[i];
      for (int64_t head = 0; head < spec_.num_heads; ++head) {
        for (int64_t d = 0; d < spec_.head_size; ++d) {
          query[d] = LoadFloat(spec_.query_dtype(), query_.data.data(),
                               (row * spec_.num_heads + head) * spec_.head_size + d);
        }
        OracleHead numbers = OracleHeadOf(spec_, head);
        numbers.k_scale = numbers.v_scale = 1.0;  // Fetch applies them where they belong
        const OracleResult result =
            AttendRow(query, numbers, position, seq_lens_[i],
                      [&](int64_t at, absl::Span<float> key, absl::Span<float> value) {
                        Fetch(i, head / spec_.group_size(), at, key, value);
                      });
        oracle.out.values.insert(oracle.out.values.end(), result.out.begin(), result.out.end());
        oracle.lse.values.push_back(result.lse);
        oracle.max_abs_logit.push_back(result.max_abs_logit);
      }
    }
  }
  return oracle;
}

absl::Status GoldenAttention::CheckReference(const Oracle& oracle,
                                             const CompareContext& context) const {
  CompareContext here = context;
  here.tensor = "the file's reference against the oracle, out";
  RETURN_IF_ERROR(CompareTensors(reference_, oracle.out, OneRounding(spec_.dtype), here));
  here.tensor = "the file's reference against the oracle, lse";
  const std::vector<double> tight(oracle.lse.values.size(), 1.0);
  return CompareLse(reference_lse_, oracle.lse, tight, here);
}

HostTensor GoldenAttention::Stored(HostTensor out) const {
  out.dtype = spec_.output_dtype();
  if (!IsFp8(out.dtype)) return out;
  const double largest = out.dtype == DType::kF8E4M3 ? kMaxF8E4M3 : kMaxF8E5M2;
  for (double& value : out.values) {
    value = std::clamp(value / spec_.out_scale, -largest, largest);
  }
  return out;
}

absl::Status GoldenAttention::Judge(const AttentionAnswer& answer, std::string_view note) const {
  std::vector<int32_t> request_of_row;
  for (int64_t i = 0; i < num_requests(); ++i) {
    request_of_row.insert(request_of_row.end(), static_cast<size_t>(new_tokens(i)),
                          static_cast<int32_t>(i));
  }
  CompareContext context;
  context.case_line = absl::StrCat("golden ", golden_->name, note);
  context.request_of_row = request_of_row;

  const Oracle oracle = RunOracle();
  RETURN_IF_ERROR(CheckReference(oracle, context));
  const Tolerance tolerance = ToleranceFor(spec_.output_dtype(), answer.weights, spec_.out_scale);
  context.tensor = "out against the float64 reference";
  RETURN_IF_ERROR(CompareTensors(answer.out, Stored(reference_), tolerance, context));
  context.tensor = "lse against the float64 reference";
  RETURN_IF_ERROR(CompareLse(answer.lse, reference_lse_, oracle.max_abs_logit, context));
  context.tensor = "out against the seed's kernel";
  return CompareTensors(answer.out, DecodeTensor(spec_.output_dtype(), out_.shape, out_.data),
                        WithKernelDistance(tolerance, *golden_, {"error"}), context);
}

}  // namespace weft::testing
