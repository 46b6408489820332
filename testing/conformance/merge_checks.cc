// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/merge_checks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/compare.h"
#include "testing/conformance/case_line.h"
#include "testing/conformance/quantized_row.h"
#include "testing/conformance/random.h"
#include "testing/conformance/state_data.h"
#include "testing/conformance/strided_image.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kFp8Scale = 0.003f;

// Two states without gaps, and what the call leaves.
struct States {
  std::vector<uint8_t> a, b;
  std::vector<float> a_lse, b_lse;
};
struct Merged {
  std::vector<uint8_t> out;
  std::vector<float> lse;  // empty if none was wanted
};

// What the rows of CheckMerge hold.
void FillState(const MergeCase& c, RandomStream& random, States& states) {
  states.a = StateValues(c.dtype, c.rows, c.heads, c.head_size, /*nan=*/true, random);
  states.b = StateValues(c.dtype, c.rows, c.heads, c.head_size, /*nan=*/false, random);
  const int64_t row_values = c.heads * c.head_size;
  for (int64_t row = 0; row < c.rows; ++row) {
    const int64_t kind = row % 8;
    for (int64_t head = 0; head < c.heads; ++head) {
      float a = 4.0f * random.Symmetric(), b = 4.0f * random.Symmetric();
      if (kind == 1 || kind == 3) a = head % 2 == 0 ? -kInfinity : kInfinity;
      if (kind == 2 || kind == 3) b = -kInfinity;
      if (kind == 4) a = b + 200.0f;
      if (kind == 5) b = a + 200.0f;
      if (kind == 6) a -= 1000.0f, b -= 1000.0f;
      states.a_lse.push_back(a);
      states.b_lse.push_back(b);
    }
    for (int64_t i = 0; i < row_values; ++i) {
      if (kind == 1 || kind == 3) StoreFloat(c.dtype, states.a.data(), row * row_values + i, kNan);
      if (kind == 2 || kind == 3) StoreFloat(c.dtype, states.b.data(), row * row_values + i, kNan);
    }
  }
}

std::vector<uint8_t> Bytes(const std::vector<float>& values) {
  const absl::Span<const uint8_t> bytes = AsBytes(values);
  return std::vector<uint8_t>(bytes.begin(), bytes.end());
}

std::vector<float> Floats(const std::vector<uint8_t>& bytes) {
  std::vector<float> values;
  for (size_t i = 0; i < bytes.size() / 4; ++i) {
    values.push_back(LoadFloat(DType::kF32, bytes.data(), static_cast<int64_t>(i)));
  }
  return values;
}

StridedImage HeadsImage(const MergeCase& c, DType dtype, int64_t gap) {
  const int64_t head_stride = c.head_size + (c.io == IoKind::kStrided ? gap : 0);
  const int64_t row_stride = c.heads * head_stride + (c.io == IoKind::kStrided ? 2 * gap : 0);
  const int64_t offset = c.io == IoKind::kOffset ? SizeOf(dtype) : 0;
  return StridedImage(dtype, {c.rows, c.heads, c.head_size}, {row_stride, head_stride, 1}, offset,
                      c.place);
}

StridedImage LseImage(const MergeCase& c) {
  const bool strided = c.lse == LseKind::kStrided;
  return StridedImage(DType::kF32, {c.rows, c.heads},
                      {strided ? 1 : c.heads, strided ? c.rows + 3 : 1},
                      c.io == IoKind::kOffset ? 4 : 0, c.place);
}

absl::StatusOr<Merged> Merge(Backend& backend, const MergeCase& c, const States& states) {
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  StridedImage a = HeadsImage(c, c.dtype, 3), b = HeadsImage(c, c.dtype, 8);
  StridedImage a_lse = LseImage(c), b_lse = LseImage(c), lse = LseImage(c);
  StridedImage out = HeadsImage(c, c.out, 5);
  SetRows(a, states.a);
  SetRows(b, states.b);
  SetRows(a_lse, Bytes(states.a_lse));
  SetRows(b_lse, Bytes(states.b_lse));
  MergeStatesArgs args;
  ASSIGN_OR_RETURN(args.a, a.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(args.b, b.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(args.a_lse, a_lse.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(args.b_lse, b_lse.ToDevice(backend, *queue));
  std::unique_ptr<PlacedMemory> sink_memory;
  ASSIGN_OR_RETURN(args.sinks, UploadFloats(backend, *queue, StateSinks(c.sinks, c.heads), c.place,
                                            sink_memory));
  if (c.out == DType::kF8E4M3) args.out_scale = kFp8Scale;
  StridedImage* const out_image = c.alias == AliasKind::kA   ? &a
                                  : c.alias == AliasKind::kB ? &b
                                                             : &out;
  StridedImage* const lse_image = c.alias == AliasKind::kA   ? &a_lse
                                  : c.alias == AliasKind::kB ? &b_lse
                                                             : &lse;
  if (c.alias == AliasKind::kNone) {
    ASSIGN_OR_RETURN(args.out, out.ToDevice(backend, *queue));
    if (c.lse != LseKind::kNone) {
      ASSIGN_OR_RETURN(args.lse, lse.ToDevice(backend, *queue));
    }
  } else {
    args.out = c.alias == AliasKind::kA ? args.a : args.b;
    if (c.lse != LseKind::kNone) args.lse = c.alias == AliasKind::kA ? args.a_lse : args.b_lse;
  }
  RETURN_IF_ERROR(queue->MergeStates(args));
  Merged merged;
  RETURN_IF_ERROR(out_image->FromDevice(*queue));
  RETURN_IF_ERROR(out_image->CheckPoison("out", c.rows));
  merged.out = out_image->Dense();
  if (c.lse == LseKind::kNone) return merged;
  RETURN_IF_ERROR(lse_image->FromDevice(*queue));
  RETURN_IF_ERROR(lse_image->CheckPoison("lse", c.rows));
  merged.lse = Floats(lse_image->Dense());
  return merged;
}

struct Expected {
  HostTensor out, lse;
  std::vector<double> measure;
};

Expected Expect(const MergeCase& c, const States& states) {
  Expected expected;
  expected.out = {c.out, {c.rows, c.heads, c.head_size}, {}};
  expected.lse = {DType::kF32, {c.rows, c.heads}, {}};
  const std::vector<float> sinks = StateSinks(c.sinks, c.heads);
  for (int64_t i = 0; i < c.rows * c.heads; ++i) {
    const auto usable = [](float lse) { return std::isinf(lse) ? -INFINITY : double{lse}; };
    const double a = usable(states.a_lse[i]), b = usable(states.b_lse[i]);
    const double largest = std::max(a, b);
    const bool empty = std::isinf(largest);
    const double lse =
        empty ? -INFINITY : largest + std::log(std::exp(a - largest) + std::exp(b - largest));
    double with_sink = 1.0;
    if (!sinks.empty() && !empty) with_sink += std::exp(double{sinks[i % c.heads]} - lse);
    expected.lse.values.push_back(lse);
    expected.measure.push_back(empty ? 0.0 : std::abs(largest));
    for (int64_t d = 0; d < c.head_size; ++d) {
      double value = 0.0;
      for (const auto& [bytes, own] : {std::pair(&states.a, a), {&states.b, b}}) {
        if (std::isinf(own)) continue;
        const double factor = std::exp(own - lse) / with_sink;
        value += factor * LoadFloat(c.dtype, bytes->data(), i * c.head_size + d);
      }
      expected.out.values.push_back(value);
    }
  }
  return expected;
}

// ---- Algebra -----------------------------------------------------------------------------------

MergeCase AlgebraCase(DType dtype) {
  MergeCase c;
  c.dtype = c.out = dtype;
  c.rows = 5;
  c.head_size = 40;
  return c;
}

States RandomStates(const MergeCase& c) {
  RandomStream random({17, static_cast<uint64_t>(c.dtype)});
  States s;
  s.a = StateValues(c.dtype, c.rows, c.heads, c.head_size, false, random);
  s.b = StateValues(c.dtype, c.rows, c.heads, c.head_size, false, random);
  for (int64_t i = 0; i < c.rows * c.heads; ++i) {
    s.a_lse.push_back(8.0f * random.Symmetric());
    s.b_lse.push_back(8.0f * random.Symmetric());
  }
  return s;
}

void Empty(const MergeCase& c, std::vector<uint8_t>& state, std::vector<float>& lse) {
  for (int64_t i = 0; i < static_cast<int64_t>(state.size()) / SizeOf(c.dtype); ++i) {
    StoreFloat(c.dtype, state.data(), i, kNan);
  }
  lse.assign(lse.size(), -kInfinity);
}

absl::Status Same(std::string_view law, const MergeCase& c, const Merged& actual,
                  const Merged& expected) {
  CompareContext context;
  context.case_line = absl::StrCat(law, " of ", Name(c.dtype));
  context.tensor = "out";
  RETURN_IF_ERROR(
      CompareBits(c.out, {c.rows, c.heads, c.head_size}, actual.out, expected.out, context));
  context.tensor = "lse";
  return CompareBits(DType::kF32, {c.rows, c.heads}, Bytes(actual.lse), Bytes(expected.lse),
                     context);
}

absl::Status CheckExactLaws(Backend& backend, const MergeCase& c) {
  const States states = RandomStates(c);
  ASSIGN_OR_RETURN(const Merged ab, Merge(backend, c, states));
  ASSIGN_OR_RETURN(const Merged ba,
                   Merge(backend, c, {states.b, states.a, states.b_lse, states.a_lse}));
  RETURN_IF_ERROR(Same("commutative", c, ba, ab));
  for (AliasKind alias : {AliasKind::kA, AliasKind::kB}) {
    MergeCase in_place = c;
    in_place.alias = alias;
    ASSIGN_OR_RETURN(const Merged same, Merge(backend, in_place, states));
    RETURN_IF_ERROR(Same("in place = out of place", c, same, ab));
  }
  States right = states, left = states, neither = states;
  Empty(c, right.b, right.b_lse);
  Empty(c, left.a, left.a_lse);
  Empty(c, neither.a, neither.a_lse);
  Empty(c, neither.b, neither.b_lse);
  ASSIGN_OR_RETURN(const Merged a, Merge(backend, c, right));
  RETURN_IF_ERROR(Same("an empty state on the right", c, a, {states.a, states.a_lse}));
  ASSIGN_OR_RETURN(const Merged b, Merge(backend, c, left));
  RETURN_IF_ERROR(Same("an empty state on the left", c, b, {states.b, states.b_lse}));
  ASSIGN_OR_RETURN(const Merged none, Merge(backend, c, neither));
  const Merged zeros = {std::vector<uint8_t>(states.a.size()), left.a_lse};
  RETURN_IF_ERROR(Same("two empty states", c, none, zeros));
  States far = states;
  for (size_t i = 0; i < far.a_lse.size(); ++i) far.b_lse[i] = far.a_lse[i] - 200.0f;
  ASSIGN_OR_RETURN(const Merged larger, Merge(backend, c, far));
  RETURN_IF_ERROR(Same("200 apart", c, larger, {states.a, states.a_lse}));
  ASSIGN_OR_RETURN(const Merged other, Merge(backend, c, {far.b, far.a, far.b_lse, far.a_lse}));
  return Same("-200 apart", c, other, {states.a, states.a_lse});
}

absl::Status Near(std::string_view law, const MergeCase& c, const Merged& actual,
                  const Merged& expected) {
  CompareContext context;
  context.case_line = absl::StrCat(law, " of ", Name(c.dtype));
  context.tensor = "out";
  const std::vector<int64_t> extents = {c.rows, c.heads, c.head_size};
  RETURN_IF_ERROR(CompareTensors(DecodeTensor(c.out, extents, actual.out),
                                 DecodeTensor(c.out, extents, expected.out), ToleranceFor(c.out),
                                 context));
  context.tensor = "lse";
  const std::vector<double> measure(expected.lse.size(), 10.0);
  return CompareLse(DecodeTensor(DType::kF32, {c.rows, c.heads}, Bytes(actual.lse)),
                    DecodeTensor(DType::kF32, {c.rows, c.heads}, Bytes(expected.lse)), measure,
                    context);
}

absl::Status CheckNearLaws(Backend& backend, const MergeCase& c) {
  const States states = RandomStates(c);
  ASSIGN_OR_RETURN(const Merged twice,
                   Merge(backend, c, {states.a, states.a, states.a_lse, states.a_lse}));
  Merged expected = {states.a, states.a_lse};
  for (float& lse : expected.lse) lse += std::log(2.0f);
  RETURN_IF_ERROR(Near("duplicates add log 2", c, twice, expected));
  // ((a b) a) and (a (b a)).
  ASSIGN_OR_RETURN(const Merged ab, Merge(backend, c, states));
  ASSIGN_OR_RETURN(const Merged left, Merge(backend, c, {ab.out, states.a, ab.lse, states.a_lse}));
  ASSIGN_OR_RETURN(const Merged right, Merge(backend, c, {states.a, ab.out, states.a_lse, ab.lse}));
  return Near("associative", c, left, right);
}

}  // namespace

std::string MergeCase::ToString() const {
  std::string line = absl::StrCat("merge dtype=", Name(dtype), " out=", Name(out), " rows=", rows,
                                  " heads=", heads, " d=", head_size, " seed=", seed);
  if (sinks) absl::StrAppend(&line, " sinks=some");
  if (lse == LseKind::kStrided) absl::StrAppend(&line, " lse=strided");
  if (lse == LseKind::kNone) absl::StrAppend(&line, " lse=none");
  if (io == IoKind::kStrided) absl::StrAppend(&line, " io=strided");
  if (io == IoKind::kOffset) absl::StrAppend(&line, " io=offset");
  if (alias != AliasKind::kNone) {
    absl::StrAppend(&line, " alias=", alias == AliasKind::kA ? "a" : "b");
  }
  if (place != Place::kDevice) {
    absl::StrAppend(&line, " place=", PlaceWords()[static_cast<size_t>(place)]);
  }
  return line;
}

absl::StatusOr<MergeCase> MergeCase::Parse(std::string_view line) {
  CaseLineReader reader(line, "merge");
  MergeCase c;
  reader.Read("dtype", &c.dtype);
  c.out = c.dtype;
  reader.Read("out", &c.out);
  reader.Read("rows", 0, &c.rows);
  reader.Read("heads", 1, &c.heads);
  reader.Read("d", 1, &c.head_size);
  reader.Read("seed", &c.seed);
  int sinks = 0, lse = 0, io = 0, alias = 0, place = 0;
  reader.ReadWord("sinks", {"none", "some"}, &sinks);
  reader.ReadWord("lse", {"dense", "strided", "none"}, &lse);
  reader.ReadWord("io", {"dense", "strided", "offset"}, &io);
  reader.ReadWord("alias", {"none", "a", "b"}, &alias);
  reader.ReadWord("place", PlaceWords(), &place);
  c.sinks = sinks == 1;
  c.lse = static_cast<LseKind>(lse);
  c.io = static_cast<IoKind>(io);
  c.alias = static_cast<AliasKind>(alias);
  c.place = static_cast<Place>(place);
  if (!IsFloat(c.dtype)) reader.Fail("dtype", "f32, f16 or bf16");
  if (!IsFloat(c.out) && c.out != DType::kF8E4M3) reader.Fail("out", "f32, f16, bf16 or f8e4m3");
  if (c.alias != AliasKind::kNone && c.out != c.dtype) reader.Fail("out", "dtype, if in place");
  RETURN_IF_ERROR(reader.Finish());
  return c;
}

absl::Status CheckMerge(Backend& backend, const MergeCase& c) {
  RandomStream random({c.seed, 0x3e6});
  States states;
  FillState(c, random, states);
  ASSIGN_OR_RETURN(const Merged actual, Merge(backend, c, states));
  const Expected expected = Expect(c, states);
  CompareContext context;
  context.case_line = c.ToString();
  context.tensor = "out";
  if (c.out == DType::kF8E4M3) {
    RETURN_IF_ERROR(CheckNearestE4M3(actual.out, expected.out.values, kFp8Scale,
                                     ToleranceFor(DType::kF32), expected.out.extents, context));
  } else {
    RETURN_IF_ERROR(CompareTensors(DecodeTensor(c.out, expected.out.extents, actual.out),
                                   expected.out, ToleranceFor(c.out), context));
  }
  if (c.lse == LseKind::kNone) return absl::OkStatus();
  context.tensor = "lse";
  return CompareLse(DecodeTensor(DType::kF32, expected.lse.extents, Bytes(actual.lse)),
                    expected.lse, expected.measure, context);
}

absl::Status CheckMergeAlgebra(Backend& backend) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    RETURN_IF_ERROR(CheckExactLaws(backend, AlgebraCase(dtype)));
    RETURN_IF_ERROR(CheckNearLaws(backend, AlgebraCase(dtype)));
  }
  return absl::OkStatus();
}

}  // namespace weft::testing
