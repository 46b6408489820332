// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/correct_checks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/compare.h"
#include "testing/conformance/case_line.h"
#include "testing/conformance/random.h"
#include "testing/conformance/state_data.h"
#include "testing/conformance/strided_image.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Data {
  std::vector<uint8_t> out;  // [rows, heads, d]
  std::vector<float> lses;   // [ranks, rows, heads]
  std::vector<float> sinks;
};
struct Result {
  std::vector<uint8_t> out;
  std::vector<uint8_t> lse;  // f32
};

// Of one row and head, in natural logarithms.
struct Share {
  double factor = 0.0;  // of the own output
  double lse = -INFINITY;
};

double Usable(float lse) { return std::isnan(lse) || lse == kInfinity ? -INFINITY : double{lse}; }

Share ShareOf(const CorrectCase& c, const Data& data, int64_t row_head) {
  const double unit = c.base == LseBase::k2 ? std::log(2.0) : 1.0;
  const auto lse = [&](int64_t rank) {
    return unit * Usable(data.lses[rank * c.rows * c.heads + row_head]);
  };
  double largest = -INFINITY;
  for (int64_t r = 0; r < c.ranks; ++r) largest = std::max(largest, lse(r));
  Share share;
  if (std::isinf(largest)) return share;
  double sum = 0.0;
  for (int64_t r = 0; r < c.ranks; ++r) sum += std::exp(lse(r) - largest);
  share.lse = largest + std::log(sum);
  const double sink =
      data.sinks.empty() ? 0.0 : std::exp(double{data.sinks[row_head % c.heads]} - largest);
  share.factor = std::exp(lse(c.rank) - largest) / (sum + sink);
  return share;
}

// With even seeds some LSEs lie near 1000.
bool HasLargeLses(const CorrectCase& c) { return c.seed % 2 == 0; }

Data MakeData(const CorrectCase& c) {
  RandomStream random({c.seed, 0xc033});
  Data data;
  data.out = StateValues(c.dtype, c.rows, c.heads, c.head_size, /*nan=*/false, random);
  for (int64_t i = 0; i < c.ranks * c.rows * c.heads; ++i) {
    const float special[] = {-kInfinity, kInfinity, kNan};
    const uint64_t pick = random.Below(12);
    float lse = 6.0f * random.Symmetric();
    if (HasLargeLses(c) && pick == 3) lse += 1000.0f;
    if (pick < 3) lse = special[pick];
    data.lses.push_back(lse);
  }
  // A row of which no rank has anything.
  if (c.rows > 2) {
    for (int64_t r = 0; r < c.ranks; ++r) {
      for (int64_t h = 0; h < c.heads; ++h) {
        data.lses[(r * c.rows + 2) * c.heads + h] = h % 2 == 0 ? -kInfinity : kNan;
      }
    }
  }
  data.sinks = StateSinks(c.sinks, c.heads);
  for (int64_t i = 0; i < c.rows * c.heads; ++i) {
    if (!std::isinf(Usable(data.lses[c.rank * c.rows * c.heads + i]))) continue;
    for (int64_t d = 0; d < c.head_size; ++d) {
      StoreFloat(c.dtype, data.out.data(), i * c.head_size + d, kNan);
    }
  }
  return data;
}

// Strides of a tensor in which the last axis is not the adjacent one.
StridedImage Image(const CorrectCase& c, DType dtype, const std::vector<int64_t>& extents) {
  std::vector<int64_t> strides(extents.size());
  int64_t stride = c.strided ? 2 : 1;
  for (size_t axis = extents.size(); axis-- > 0;) {
    strides[axis] = stride;
    stride = stride * extents[axis] + (c.strided ? 3 : 0);
  }
  return StridedImage(dtype, extents, strides, c.strided ? SizeOf(dtype) : 0, c.place);
}

absl::StatusOr<Result> Correct(Backend& backend, const CorrectCase& c, const Data& data) {
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  StridedImage out = Image(c, c.dtype, {c.rows, c.heads, c.head_size});
  StridedImage corrected = Image(c, c.dtype, {c.rows, c.heads, c.head_size});
  StridedImage lses = Image(c, DType::kF32, {c.ranks, c.rows, c.heads});
  StridedImage lse = Image(c, DType::kF32, {c.rows, c.heads});
  SetRows(out, data.out);
  const absl::Span<const uint8_t> lse_bytes = AsBytes(data.lses);
  SetRows(lses, std::vector<uint8_t>(lse_bytes.begin(), lse_bytes.end()));
  CorrectAttnOutArgs args;
  args.rank = c.rank;
  args.base = c.base;
  ASSIGN_OR_RETURN(args.out, out.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(args.lses, lses.ToDevice(backend, *queue));
  std::unique_ptr<PlacedMemory> sink_memory;
  ASSIGN_OR_RETURN(args.sinks, UploadFloats(backend, *queue, data.sinks, c.place, sink_memory));
  args.corrected = args.out;
  if (!c.in_place) {
    ASSIGN_OR_RETURN(args.corrected, corrected.ToDevice(backend, *queue));
  }
  if (c.want_lse) {
    ASSIGN_OR_RETURN(args.lse, lse.ToDevice(backend, *queue));
  }
  RETURN_IF_ERROR(queue->CorrectAttnOut(args));
  StridedImage& result = c.in_place ? out : corrected;
  RETURN_IF_ERROR(result.FromDevice(*queue));
  RETURN_IF_ERROR(result.CheckPoison("corrected", c.rows));
  if (!c.want_lse) return Result{result.Dense(), {}};
  RETURN_IF_ERROR(lse.FromDevice(*queue));
  RETURN_IF_ERROR(lse.CheckPoison("lse", c.rows));
  return Result{result.Dense(), lse.Dense()};
}

absl::Status Judge(Backend& backend, const CorrectCase& c, const Data& data) {
  ASSIGN_OR_RETURN(const Result actual, Correct(backend, c, data));
  HostTensor out = {c.dtype, {c.rows, c.heads, c.head_size}, {}};
  HostTensor lse = {DType::kF32, {c.rows, c.heads}, {}};
  std::vector<double> measure;
  const double unit = c.base == LseBase::k2 ? std::log(2.0) : 1.0;
  for (int64_t i = 0; i < c.rows * c.heads; ++i) {
    const Share share = ShareOf(c, data, i);
    lse.values.push_back(share.lse / unit);
    measure.push_back(std::isinf(share.lse) ? 0.0 : std::abs(share.lse / unit) + 7.0);
    for (int64_t d = 0; d < c.head_size; ++d) {
      const double value = LoadFloat(c.dtype, data.out.data(), i * c.head_size + d);
      out.values.push_back(share.factor == 0.0 ? 0.0 : share.factor * value);
    }
  }
  CompareContext context;
  context.case_line = c.ToString();
  context.tensor = "corrected";
  Tolerance tolerance = ToleranceFor(c.dtype);
  if (HasLargeLses(c)) {  // a factor is as exact as the difference of two LSEs: half a step of 6e-5
    tolerance.rtol = std::max(tolerance.rtol, 2e-4);
    tolerance.relative_frobenius = std::max(tolerance.relative_frobenius, 1e-4);
  }
  RETURN_IF_ERROR(
      CompareTensors(DecodeTensor(c.dtype, out.extents, actual.out), out, tolerance, context));
  if (!c.want_lse) return absl::OkStatus();
  context.tensor = "lse";
  return CompareLse(DecodeTensor(DType::kF32, lse.extents, actual.lse), lse, measure, context);
}

}  // namespace

std::string CorrectCase::ToString() const {
  std::string line =
      absl::StrCat("correct dtype=", Name(dtype), " n=", ranks, " rank=", rank, " rows=", rows,
                   " heads=", heads, " d=", head_size, " seed=", seed);
  if (base == LseBase::k2) absl::StrAppend(&line, " base=2");
  if (sinks) absl::StrAppend(&line, " sinks=some");
  if (strided) absl::StrAppend(&line, " io=strided");
  if (in_place) absl::StrAppend(&line, " alias=out");
  if (!want_lse) absl::StrAppend(&line, " lse=none");
  if (place != Place::kDevice) {
    absl::StrAppend(&line, " place=", PlaceWords()[static_cast<size_t>(place)]);
  }
  return line;
}

absl::StatusOr<CorrectCase> CorrectCase::Parse(std::string_view line) {
  CaseLineReader reader(line, "correct");
  CorrectCase c;
  reader.Read("dtype", &c.dtype);
  reader.Read("n", 1, &c.ranks);
  reader.Read("rank", 0, &c.rank);
  reader.Read("rows", 0, &c.rows);
  reader.Read("heads", 1, &c.heads);
  reader.Read("d", 1, &c.head_size);
  reader.Read("seed", &c.seed);
  int base = 0, sinks = 0, io = 0, alias = 0, lse = 0, place = 0;
  reader.ReadWord("base", {"e", "2"}, &base);
  reader.ReadWord("sinks", {"none", "some"}, &sinks);
  reader.ReadWord("io", {"dense", "strided"}, &io);
  reader.ReadWord("alias", {"none", "out"}, &alias);
  reader.ReadWord("lse", {"dense", "none"}, &lse);
  reader.ReadWord("place", PlaceWords(), &place);
  c.base = base == 1 ? LseBase::k2 : LseBase::kE;
  c.sinks = sinks == 1;
  c.strided = io == 1;
  c.in_place = alias == 1;
  c.want_lse = lse == 0;
  c.place = static_cast<Place>(place);
  if (c.rank >= c.ranks) reader.Fail("rank", "below n");
  if (!IsFloat(c.dtype)) reader.Fail("dtype", "f32, f16 or bf16");
  RETURN_IF_ERROR(reader.Finish());
  return c;
}

absl::Status CheckCorrect(Backend& backend, const CorrectCase& c) {
  return Judge(backend, c, MakeData(c));
}

absl::Status CheckCorrectTable(Backend& backend) {
  struct Row {
    LseBase base;
    float lses[2];
    double factors[2];
    double lse;
  };
  const float ln2 = std::log(2.0f), ln8 = std::log(8.0f);
  const Row rows[] = {
      {LseBase::kE, {0, 0}, {0.5, 0.5}, 0.693147},
      {LseBase::kE, {ln2, ln8}, {0.2, 0.8}, 2.302585},
      {LseBase::kE, {1.5f, -kInfinity}, {1, 0}, 1.5},
      {LseBase::kE, {1.5f, kNan}, {1, 0}, 1.5},
      {LseBase::kE, {1.5f, kInfinity}, {1, 0}, 1.5},
      {LseBase::kE, {-kInfinity, -kInfinity}, {0, 0}, -INFINITY},
      {LseBase::kE, {kNan, kNan}, {0, 0}, -INFINITY},
      {LseBase::kE, {1000, 1001}, {0.268941, 0.731059}, 1001.313262},
      {LseBase::k2, {1, 3}, {0.2, 0.8}, 3.321928},
  };
  for (const Row& row : rows) {
    for (int64_t rank = 0; rank < 2; ++rank) {
      CorrectCase c;
      c.rank = rank;
      c.base = row.base;
      c.rows = c.heads = c.head_size = 1;
      const bool empty = row.factors[rank] == 0.0;
      const float own = empty ? kNan : 1.0f;  // an empty shard's output is garbage
      const std::vector<float> out = {own};
      const absl::Span<const uint8_t> bytes = AsBytes(out);
      Data data = {
          std::vector<uint8_t>(bytes.begin(), bytes.end()), {row.lses[0], row.lses[1]}, {}};
      ASSIGN_OR_RETURN(const Result result, Correct(backend, c, data));
      const double factor = LoadFloat(DType::kF32, result.out.data(), 0);
      const double lse = LoadFloat(DType::kF32, result.lse.data(), 0);
      const bool right = (empty ? factor == 0.0 : std::abs(factor - row.factors[rank]) < 1e-4) &&
                         (lse == row.lse ||
                          std::abs(lse - row.lse) < 1e-6 * std::max(1.0, std::abs(row.lse)) + 1e-6);
      if (right) continue;
      return absl::FailedPreconditionError(absl::StrCat(
          "LSEs ", row.lses[0], " and ", row.lses[1], row.base == LseBase::k2 ? " in base 2" : "",
          ", rank ", rank, ": factor ", factor, " and LSE ", lse, ", must be ", row.factors[rank],
          " and ", row.lse));
    }
  }
  return absl::OkStatus();
}

}  // namespace weft::testing
