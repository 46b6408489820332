// SPDX-License-Identifier: Apache-2.0
//
// PackSeq, UnpackSeq, CorrectAttnOut and MergeAttnStates on the backend of the target.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/ops/case_for_test.h"
#include "core/ops/correct_attn_out.h"
#include "core/ops/merge_attn_states.h"
#include "core/ops/pack_seq.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();

using PackSeqTest = OpsTest;
using CorrectAttnOutTest = OpsTest;
using MergeAttnStatesTest = OpsTest;

// The example of docs/pcp_spec.md, 13.
TEST_F(PackSeqTest, ExampleOfTheSpecification) {
  std::vector<float> rows;
  for (int i = 0; i < 6; ++i) {
    rows.push_back(10.0f * i);
    rows.push_back(10.0f * i + 1);
  }
  const std::vector<int64_t> lengths = {2, 0, 3, 1};
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const TensorView x = memory().Upload(dtype, rows, {6, 2});
    const TensorView packed = memory().Poisoned(dtype, {4, 3, 2});
    const TensorView back = memory().Poisoned(dtype, {6, 2});
    const SeqIndex index = *SeqIndex::Create(memory().backend(), 12);
    ASSERT_TRUE(PackSeq(queue(), index, x, lengths, -kInf, packed).ok());
    ASSERT_TRUE(UnpackSeq(queue(), index, packed, lengths, back).ok());
    EXPECT_THAT(memory().Download(packed), ElementsAre(0, 1, 10, 11, -kInf, -kInf,                //
                                                       -kInf, -kInf, -kInf, -kInf, -kInf, -kInf,  //
                                                       20, 21, 30, 31, 40, 41,                    //
                                                       50, 51, -kInf, -kInf, -kInf, -kInf));
    EXPECT_EQ(memory().Download(back), rows);
  }
}

// Bytes are moved as they are, whatever the dtype and the trailing extents; rows behind the last
// sequence are neither read nor written.
TEST_F(PackSeqTest, EveryDtypeAndTrailingShape) {
  const std::vector<int64_t> lengths = {1, 3, 0};
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI32, DType::kI64,
                            DType::kF8E4M3, DType::kF8E5M2, DType::kU8}) {
    for (const std::vector<int64_t>& trailing :
         std::vector<std::vector<int64_t>>{{3}, {2, 5}, {2, 1, 3}}) {
      int64_t row_bytes = SizeOf(dtype);
      for (const int64_t extent : trailing) row_bytes *= extent;
      std::vector<uint8_t> bytes(static_cast<size_t>(6 * row_bytes));
      for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(37 * i + 11);
      std::vector<int64_t> x_shape = {6}, packed_shape = {3, 4};
      x_shape.insert(x_shape.end(), trailing.begin(), trailing.end());
      packed_shape.insert(packed_shape.end(), trailing.begin(), trailing.end());
      const TensorView x = memory().UploadBytes(dtype, bytes, x_shape);
      const TensorView packed = memory().Poisoned(dtype, packed_shape);
      const TensorView back = memory().Poisoned(dtype, x_shape);
      const SeqIndex index = *SeqIndex::Create(memory().backend(), 12);
      ASSERT_TRUE(PackSeq(queue(), index, x, lengths, 3.0f, packed).ok());
      ASSERT_TRUE(UnpackSeq(queue(), index, packed, lengths, back).ok());
      const std::vector<uint8_t> got = memory().DownloadBytes(packed.address(), 12 * row_bytes);
      EXPECT_EQ(std::memcmp(&got[0], &bytes[0], row_bytes), 0) << Name(dtype);
      EXPECT_EQ(std::memcmp(&got[4 * row_bytes], &bytes[row_bytes], 3 * row_bytes), 0);
      const std::vector<uint8_t> pad(got.begin() + row_bytes, got.begin() + 4 * row_bytes);
      for (size_t i = 0; i < pad.size(); i += static_cast<size_t>(SizeOf(dtype))) {
        int64_t integer = 0;
        std::memcpy(&integer, &pad[i], SizeOf(dtype));
        const bool is_float = IsFloat(dtype) || IsFp8(dtype);
        EXPECT_EQ(is_float ? LoadFloat(dtype, &pad[i], 0) : static_cast<float>(integer), 3.0f)
            << Name(dtype);
      }
      const std::vector<uint8_t> round = memory().DownloadBytes(back.address(), 6 * row_bytes);
      EXPECT_EQ(std::memcmp(&round[0], &bytes[0], 4 * row_bytes), 0) << Name(dtype);
      for (int64_t i = 4 * row_bytes; i < 6 * row_bytes; ++i) ASSERT_EQ(round[i], 0xff);
    }
  }
}

TEST_F(PackSeqTest, RefusesByName) {
  const TensorView x = memory().Poisoned(DType::kF32, {4, 3});
  const TensorView packed = memory().Poisoned(DType::kF32, {2, 3, 3});
  const SeqIndex index = *SeqIndex::Create(memory().backend(), 6);
  const auto pack = [&](const std::vector<int64_t>& lengths) {
    return std::string(PackSeq(queue(), index, x, lengths, 0.0f, packed).message());
  };
  EXPECT_THAT(pack({}), HasSubstr("no sequences"));
  EXPECT_THAT(pack({1, 4}), HasSubstr("lengths[1] is 4, must be in [0, 3]"));
  EXPECT_THAT(pack({-1, 2}), HasSubstr("lengths[0] is -1"));
  EXPECT_THAT(pack({3, 2}), HasSubstr("lengths[1] is 2, but x has 4 rows and 3 are taken"));
  EXPECT_THAT(pack({1, 1, 1}), HasSubstr("for 3 sequences"));
  EXPECT_THAT(UnpackSeq(queue(), index, packed, {3, 2}, x).message(),
              HasSubstr("unpack_seq: lengths[1] is 2"));
  const SeqIndex small = *SeqIndex::Create(memory().backend(), 5);
  EXPECT_EQ(PackSeq(queue(), small, x, {1, 1}, 0.0f, packed).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(SeqIndex::Create(memory().backend(), 0).ok());

  const TensorView flat = memory().Poisoned(DType::kF32, {4});
  EXPECT_THAT(PackSeq(queue(), index, flat, {1, 1}, 0.0f, packed).message(),
              HasSubstr("must be [N, ...]"));
  const TensorView strided =
      *TensorView::Create(x.address(), DType::kF32, {2, 3}, {6, 1}, x.device());
  EXPECT_THAT(PackSeq(queue(), index, strided, {1, 1}, 0.0f, packed).message(),
              HasSubstr("x f32[2, 3]"));

  const TensorView bytes = memory().Poisoned(DType::kU8, {4, 3});
  const TensorView packed_bytes = memory().Poisoned(DType::kU8, {2, 3, 3});
  for (const float pad : {-1.0f, 256.0f, 0.5f, -kInf, std::nanf("")}) {
    EXPECT_THAT(PackSeq(queue(), index, bytes, {1, 1}, pad, packed_bytes).message(),
                HasSubstr("is no u8, must be an integer in [0, 256)"))
        << pad;
  }
  EXPECT_TRUE(PackSeq(queue(), index, bytes, {1, 1}, 255.0f, packed_bytes).ok());
  memory().Run();
}

// The table of docs/pcp_spec.md, 8.1: LSEs of two ranks, and the factors and the LSE that follow.
TEST_F(CorrectAttnOutTest, TableOfTheSpecification) {
  const float nan = std::nanf("");
  struct Line {
    LseBase base;
    float lse0, lse1;
    double factor0, factor1, lse;
  };
  const std::vector<Line> lines = {
      {LseBase::kE, 0.0f, 0.0f, 0.5, 0.5, 0.693147},
      {LseBase::kE, std::log(2.0f), std::log(8.0f), 0.2, 0.8, 2.302585},
      {LseBase::kE, 1.5f, -kInf, 1, 0, 1.5},
      {LseBase::kE, 1.5f, nan, 1, 0, 1.5},
      {LseBase::kE, 1.5f, kInf, 1, 0, 1.5},
      {LseBase::kE, -kInf, -kInf, 0, 0, -kInf},
      {LseBase::kE, nan, nan, 0, 0, -kInf},
      {LseBase::kE, 1000.0f, 1001.0f, 0.268941, 0.731059, 1001.313262},
      {LseBase::k2, 1.0f, 3.0f, 0.2, 0.8, 3.321928},
  };
  for (const Line& line : lines) {
    for (const int rank : {0, 1}) {
      const double factor = rank == 0 ? line.factor0 : line.factor1;
      // What an empty shard wrote may be anything.
      const float value = factor == 0 ? nan : 8.0f;
      const TensorView out = memory().Upload(DType::kF32, {value, value, value}, {1, 1, 3});
      const TensorView lses = memory().Upload(DType::kF32, {line.lse0, line.lse1}, {2, 1, 1});
      const TensorView lse = memory().Poisoned(DType::kF32, {1, 1});
      CorrectAttnOutOptions options;
      options.base = line.base;
      const absl::Status status = CorrectAttnOut(queue(), out, lses, rank, lse, options);
      ASSERT_TRUE(status.ok()) << status;
      for (const float seen : memory().Download(out)) {
        EXPECT_NEAR(seen, 8.0 * factor, 1e-4) << line.lse0 << " " << line.lse1 << " " << rank;
        EXPECT_TRUE(factor != 0 || seen == 0.0f);
      }
      const float seen_lse = memory().Download(lse)[0];
      if (std::isinf(line.lse)) {
        EXPECT_EQ(seen_lse, -kInf);
      } else {
        EXPECT_NEAR(seen_lse, line.lse, 1e-6 * std::max(1.0, line.lse));
      }
    }
  }
}

// Three ranks, 96 dimensions: neither a power of two. All shapes of the seeds, strided, give the
// same numbers.
TEST_F(CorrectAttnOutTest, ShapesOfTheSeeds) {
  constexpr int64_t kN = 3, kB = 2, kH = 4, kD = 96;
  std::vector<float> values, lses;
  for (int64_t i = 0; i < kB * kH * kD; ++i) values.push_back(0.01f * static_cast<float>(i % 97));
  for (int64_t i = 0; i < kN * kB * kH; ++i) lses.push_back(0.3f * static_cast<float>(i % 7));
  const TensorView plain = memory().Upload(DType::kF32, lses, {kN, kB, kH});
  const TensorView last = memory().Upload(DType::kF32, lses, {kN, kB, kH, 1});
  const TensorView second = memory().Upload(DType::kF32, lses, {kN, 1, kB, kH});
  std::vector<float> transposed(lses.size());  // [N, H, B]
  for (int64_t n = 0; n < kN; ++n)
    for (int64_t b = 0; b < kB; ++b)
      for (int64_t h = 0; h < kH; ++h)
        transposed[(n * kH + h) * kB + b] = lses[(n * kB + b) * kH + h];
  const TensorView memory_of = memory().Upload(DType::kF32, transposed, {kN, kH, kB});
  const TensorView strided = *TensorView::Create(memory_of.address(), DType::kF32, {kN, kB, kH},
                                                 {kB * kH, 1, kB}, memory_of.device());
  for (const TensorView* view : {&plain, &last, &second, &strided}) {
    for (const bool four : {false, true}) {
      std::vector<int64_t> shape = {kB, kH, kD};
      if (four) shape.insert(shape.begin() + 1, 1);
      const TensorView out = memory().Upload(DType::kF32, values, shape);
      const TensorView lse = memory().Poisoned(DType::kF32, {kB, kH});
      const absl::Status status = CorrectAttnOut(queue(), out, *view, 1, lse);
      ASSERT_TRUE(status.ok()) << status;
      const std::vector<float> got = memory().Download(out), got_lse = memory().Download(lse);
      for (int64_t row = 0; row < kB * kH; ++row) {
        double sum = 0;
        for (int64_t n = 0; n < kN; ++n) sum += std::exp(double{lses[n * kB * kH + row]});
        EXPECT_NEAR(got_lse[row], std::log(sum), 2e-6);
        const double factor = std::exp(double{lses[kB * kH + row]}) / sum;
        for (int64_t d = 0; d < kD; ++d)
          ASSERT_NEAR(got[row * kD + d], factor * values[row * kD + d], 2e-6);
      }
    }
  }
  const TensorView out = memory().Poisoned(DType::kF32, {kB, kH, kD});
  const TensorView wrong = memory().Poisoned(DType::kF32, {kN, 2, kB, kH});
  EXPECT_THAT(CorrectAttnOut(queue(), out, wrong, 1, {}).message(),
              HasSubstr("must be [N, 2, 4], [N, 2, 4, 1] or [N, 1, 2, 4]"));
  const TensorView wrong_out = memory().Poisoned(DType::kF32, {kB, 2, kH, kD});
  EXPECT_THAT(CorrectAttnOut(queue(), wrong_out, plain, 1, {}).message(),
              HasSubstr("must be [B, H, D] or [B, 1, H, D]"));
  EXPECT_THAT(CorrectAttnOut(queue(), out, plain, 3, {}).message(), HasSubstr("rank 3 of 3 LSEs"));
  memory().Run();
}

TEST_F(MergeAttnStatesTest, LsesOfHeadsByTokens) {
  constexpr int64_t kT = 3, kH = 2, kD = 32;
  const std::vector<float> ones(kT * kH * kD, 1.0f), threes(kT * kH * kD, 3.0f);
  const std::vector<float> a_lse = {0, 1, -kInf, 2, 3, -kInf};  // [H, T]
  const std::vector<float> b_lse = {0, -kInf, 1, 5, 3, -kInf};
  const TensorView a = memory().Upload(DType::kF32, ones, {kT, kH, kD});
  const TensorView b = memory().Upload(DType::kF32, threes, {kT, kH, kD});
  const TensorView la = memory().Upload(DType::kF32, a_lse, {kH, kT});
  const TensorView lb = memory().Upload(DType::kF32, b_lse, {kH, kT});
  const TensorView out = memory().Poisoned(DType::kF32, {kT, kH, kD});
  const TensorView lse = memory().Poisoned(DType::kF32, {kH, kT});
  const absl::Status status = MergeAttnStates(queue(), out, a, la, b, lb, lse);
  ASSERT_TRUE(status.ok()) << status;
  const std::vector<float> got = memory().Download(out), got_lse = memory().Download(lse);
  for (int64_t h = 0; h < kH; ++h) {
    for (int64_t t = 0; t < kT; ++t) {
      const double wa = std::exp(double{a_lse[h * kT + t]}),
                   wb = std::exp(double{b_lse[h * kT + t]});
      const double expected = wa + wb == 0 ? 0 : (wa + 3 * wb) / (wa + wb);
      EXPECT_NEAR(got[(t * kH + h) * kD + 5], expected, 1e-5) << h << " " << t;
      if (wa + wb == 0) {
        EXPECT_EQ(got_lse[h * kT + t], -kInf);
      } else {
        EXPECT_NEAR(got_lse[h * kT + t], std::log(wa + wb), 1e-5);
      }
    }
  }
  EXPECT_THAT(MergeAttnStates(queue(), out, a, {}, b, lb).message(),
              HasSubstr("prefix_lse is not given"));
}

}  // namespace
}  // namespace weft::testing
