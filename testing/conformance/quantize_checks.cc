// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/quantize_checks.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/attention_layer.h"
#include "core/status_macros.h"
#include "core/step_buffers.h"
#include "testing/compare.h"
#include "testing/conformance/case_line.h"
#include "testing/conformance/quantized_row.h"
#include "testing/conformance/random.h"
#include "testing/conformance/state_data.h"
#include "testing/conformance/strided_image.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

std::vector<float> HeadScales(const QuantizeCase& c) {
  std::vector<float> scales;
  for (int64_t head = 0; head < c.heads && c.head_scales; ++head) {
    scales.push_back(0.07f + 0.41f * static_cast<float>(head));
  }
  return scales;
}

float ScaleOfElement(const QuantizeCase& c, const std::vector<float>& head_scales, int64_t i) {
  const float scale = static_cast<float>(c.scale);
  return c.head_scales ? scale * head_scales[i / c.head_size % c.heads] : scale;
}

// About the middle of two codes, times the scale: its quotient is a tie, or a step of f32 beside.
float NearTie(const QuantizeCase& c, int64_t i, float scale) {
  const auto code =
      static_cast<uint8_t>(i % 0x7b);  // finite ones of both types, and one above each
  const auto above = static_cast<uint8_t>(code + 1);
  const float middle = (LoadFloat(c.to, &code, 0) + LoadFloat(c.to, &above, 0)) / 2.0f;
  const float value = middle * scale;
  const float steps[] = {value, std::nextafter(value, 0.0f), std::nextafter(value, 1e30f)};
  const float picked = steps[i / 0x7b % 3];
  return i % 2 == 0 ? picked : -picked;
}

std::vector<uint8_t> Source(const QuantizeCase& c) {
  const int64_t count = c.rows * c.heads * c.head_size;
  const std::vector<float> head_scales = HeadScales(c);
  RandomStream random({c.seed, 0xf8});
  std::vector<uint8_t> bytes(static_cast<size_t>(count * SizeOf(c.dtype)));
  for (int64_t i = 0; i < count; ++i) {
    if (c.data == QuantizeData::kRandom) {
      const int exponent = static_cast<int>(random.Below(28)) - 16;
      StoreFloat(c.dtype, bytes.data(), i, std::ldexp(random.Symmetric(), exponent));
    } else if (c.data == QuantizeData::kTies) {
      StoreFloat(c.dtype, bytes.data(), i, NearTie(c, i, ScaleOfElement(c, head_scales, i)));
    } else if (c.dtype == DType::kF32) {  // the values of f16, and what lies between two of them
      const float value = F16ToF32(static_cast<uint16_t>(i));
      const float beside = std::nextafter(value, i % 3 == 0 ? 0.0f : 1e30f);
      StoreFloat(c.dtype, bytes.data(), i, i % 3 == 2 ? value : beside);
    } else {
      const auto bits = static_cast<uint16_t>(i);
      std::memcpy(&bytes[static_cast<size_t>(2 * i)], &bits, 2);
    }
  }
  return bytes;
}

StridedImage Image(const QuantizeCase& c, DType dtype, int64_t gap) {
  const int64_t head_stride = c.head_size + (c.io == IoKind::kStrided ? gap : 0);
  const int64_t row_stride = c.heads * head_stride + (c.io == IoKind::kStrided ? gap : 0);
  return StridedImage(dtype, {c.rows, c.heads, c.head_size}, {row_stride, head_stride, 1},
                      c.io == IoKind::kOffset ? SizeOf(dtype) : 0, c.place);
}

// The codes of +NaN and -NaN are one.
uint8_t WithoutNanSign(DType dtype, uint8_t code) {
  float value = LoadFloat(dtype, &code, 0);
  return std::isnan(value) ? code | 0x80 : code;
}

absl::Status Compare(const QuantizeCase& c, const std::vector<uint8_t>& source,
                     const std::vector<uint8_t>& codes) {
  const std::vector<float> head_scales = HeadScales(c);
  for (size_t i = 0; i < codes.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    const int64_t head = at / c.head_size % c.heads;
    const float value = LoadFloat(c.dtype, source.data(), at);
    const float scale = ScaleOfElement(c, head_scales, at);
    const uint8_t expected = QuantizedCode(c.to, value, scale);
    if (WithoutNanSign(c.to, codes[i]) == WithoutNanSign(c.to, expected)) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "destination[", at / (c.heads * c.head_size), ", ", head, ", ", at % c.head_size,
        "]: ", value, " / ", scale, " has code 0x", absl::Hex(codes[i]), ", must have 0x",
        absl::Hex(expected), "\n  case: ", c.ToString()));
  }
  return absl::OkStatus();
}

// ---- Codes through a cache ---------------------------------------------------------------------

constexpr int64_t kTokens = 4;
constexpr int64_t kDims = 64;  // kTokens * kDims codes

// One prefill of four tokens, each of which sees itself alone, over one KV head. Query head h is
// one in dimension h: its logit is dimension h of the key.
absl::Status CheckCodes(Backend& backend, DType dtype) {
  AttentionSpec spec;
  spec.num_heads = kDims;
  spec.num_kv_heads = 1;
  spec.head_size = kDims;
  spec.kv_dtype = dtype;
  spec.out_dtype = DType::kF32;
  spec.scale = 1.0f;
  spec.window = 1;
  ASSIGN_OR_RETURN(const KvCacheLayout layout, KvCacheLayout::Nhd(dtype, 16, 1, kDims));
  ASSIGN_OR_RETURN(const AttentionLayer layer,
                   AttentionLayer::Create(backend.shared_from_this(), spec, layout));
  const std::vector<int32_t> blocks = {0};
  RequestBatch batch;
  batch.requests = {{RequestKind::kPrefill, kTokens, 0, blocks}};
  ASSIGN_OR_RETURN(const AttentionMetadata metadata,
                   AttentionMetadataBuilder(layout, 1).Build(batch));
  ASSIGN_OR_RETURN(const std::shared_ptr<const Plan> plan, layer.MakePlan(metadata));
  ASSIGN_OR_RETURN(const StepLimits limits,
                   StepLimits::For(spec, layout, 1, kTokens, 1, kTokens, 1));
  ASSIGN_OR_RETURN(const std::unique_ptr<StepBuffers> step,
                   StepBuffers::Create(backend.shared_from_this(), limits));
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  RETURN_IF_ERROR(step->Update(*queue, plan));

  std::vector<uint8_t> values(kTokens * kDims), keys;
  std::iota(values.begin(), values.end(), 0);
  for (uint8_t code : values) {  // a NaN or an infinity would be in every dot product
    keys.push_back(std::isfinite(LoadFloat(dtype, &code, 0)) ? code : 0);
  }
  StridedImage query(DType::kF16, {kTokens, kDims, kDims}, {kDims * kDims, kDims, 1});
  std::vector<uint8_t> one_hot(static_cast<size_t>(query.row_bytes()));
  for (int64_t h = 0; h < kDims; ++h) {
    StoreFloat(DType::kF16, one_hot.data(), h * kDims + h, 1.0f);
  }
  for (int64_t t = 0; t < kTokens; ++t) query.SetRow(t, one_hot);
  StridedImage key(dtype, {kTokens, 1, kDims}, {kDims, kDims, 1});
  StridedImage value(dtype, {kTokens, 1, kDims}, {kDims, kDims, 1});
  SetRows(key, keys);
  SetRows(value, values);
  StridedImage out(DType::kF32, {kTokens, kDims, kDims}, {kDims * kDims, kDims, 1});
  StridedImage lse(DType::kF32, {kTokens, kDims}, {kDims, 1});
  AttentionIo io;
  ASSIGN_OR_RETURN(io.query, query.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(io.key, key.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(io.value, value.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(io.out, out.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(io.lse, lse.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(const std::unique_ptr<Buffer> cache,
                   AllocatePoisoned(backend, *queue, layout.bytes_per_block()));
  ASSIGN_OR_RETURN(io.cache,
                   KvCacheView::OneAllocation(layout, cache->address(), 1, backend.device()));
  RETURN_IF_ERROR(layer.Forward(*queue, *step, io));
  RETURN_IF_ERROR(out.FromDevice(*queue));
  RETURN_IF_ERROR(lse.FromDevice(*queue));
  for (int64_t code = 0; code < kTokens * kDims; ++code) {
    const int64_t row = code / kDims, d = code % kDims;
    const float as_value = LoadFloat(dtype, values.data(), code);
    const float as_key = LoadFloat(dtype, keys.data(), code);
    const float got_value = LoadFloat(DType::kF32, out.Row(row).data(), d);  // of head 0
    const float got_key = LoadFloat(DType::kF32, lse.Row(row).data(), d);
    const bool same = std::isnan(as_value) ? std::isnan(got_value) : got_value == as_value;
    if (same && got_key == as_key) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(Name(dtype), " code 0x", absl::Hex(code), ": the value ", as_value,
                     " is read as ", got_value, ", the key ", as_key, " as ", got_key));
  }
  return absl::OkStatus();
}

}  // namespace

std::string QuantizeCase::ToString() const {
  std::string line = absl::StrCat("quantize dtype=", Name(dtype), " to=", Name(to), " rows=", rows,
                                  " heads=", heads, " d=", head_size, " seed=", seed);
  if (scale != 1.0) absl::StrAppend(&line, " scale=", scale);
  if (head_scales) absl::StrAppend(&line, " scales=head");
  if (data == QuantizeData::kAll) absl::StrAppend(&line, " data=all");
  if (data == QuantizeData::kTies) absl::StrAppend(&line, " data=ties");
  if (io == IoKind::kStrided) absl::StrAppend(&line, " io=strided");
  if (io == IoKind::kOffset) absl::StrAppend(&line, " io=offset");
  if (place != Place::kDevice) {
    absl::StrAppend(&line, " place=", PlaceWords()[static_cast<size_t>(place)]);
  }
  return line;
}

absl::StatusOr<QuantizeCase> QuantizeCase::Parse(std::string_view line) {
  CaseLineReader reader(line, "quantize");
  QuantizeCase c;
  reader.Read("dtype", &c.dtype);
  reader.Read("to", &c.to);
  reader.Read("rows", 0, &c.rows);
  reader.Read("heads", 1, &c.heads);
  reader.Read("d", 1, &c.head_size);
  reader.Read("seed", &c.seed);
  std::string scale;
  reader.Read("scale", &scale);
  if (!scale.empty() && !absl::SimpleAtod(scale, &c.scale)) reader.Fail("scale", "a number");
  int head_scales = 0, data = 0, io = 0, place = 0;
  reader.ReadWord("scales", {"none", "head"}, &head_scales);
  reader.ReadWord("data", {"random", "all", "ties"}, &data);
  reader.ReadWord("io", {"dense", "strided", "offset"}, &io);
  reader.ReadWord("place", PlaceWords(), &place);
  c.head_scales = head_scales == 1;
  c.data = static_cast<QuantizeData>(data);
  c.io = static_cast<IoKind>(io);
  c.place = static_cast<Place>(place);
  if (!IsFloat(c.dtype)) reader.Fail("dtype", "f32, f16 or bf16");
  if (!IsFp8(c.to)) reader.Fail("to", "f8e4m3 or f8e5m2");
  RETURN_IF_ERROR(reader.Finish());
  return c;
}

absl::Status CheckQuantize(Backend& backend, const QuantizeCase& c) {
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  const std::vector<uint8_t> bytes = Source(c);
  StridedImage source = Image(c, c.dtype, 3), destination = Image(c, c.to, 5);
  SetRows(source, bytes);
  QuantizeFp8Args args;
  args.scale = static_cast<float>(c.scale);
  std::unique_ptr<PlacedMemory> scale_memory;
  ASSIGN_OR_RETURN(args.head_scales,
                   UploadFloats(backend, *queue, HeadScales(c), c.place, scale_memory));
  ASSIGN_OR_RETURN(args.source, source.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(args.destination, destination.ToDevice(backend, *queue));
  RETURN_IF_ERROR(queue->QuantizeFp8(args));
  RETURN_IF_ERROR(destination.FromDevice(*queue));
  RETURN_IF_ERROR(Compare(c, bytes, destination.Dense()));
  const absl::Status untouched = destination.CheckPoison("destination", c.rows);
  if (untouched.ok()) return untouched;
  return absl::FailedPreconditionError(
      absl::StrCat(untouched.message(), "\n  case: ", c.ToString()));
}

absl::Status CheckAllCodes(Backend& backend) {
  RETURN_IF_ERROR(CheckCodes(backend, DType::kF8E4M3));
  return CheckCodes(backend, DType::kF8E5M2);
}

}  // namespace weft::testing
