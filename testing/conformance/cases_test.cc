// SPDX-License-Identifier: Apache-2.0
//
// Lines and cases: what is printed can be pasted back.
#include "testing/conformance/cases.h"

#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "testing/conformance/attention_case.h"
#include "testing/conformance/attention_data.h"
#include "testing/conformance/case_line.h"
#include "testing/conformance/correct_checks.h"
#include "testing/conformance/gather_checks.h"
#include "testing/conformance/merge_checks.h"
#include "testing/conformance/pairwise.h"
#include "testing/conformance/quantize_checks.h"
#include "testing/conformance/reshape_checks.h"
#include "testing/oracle.h"

namespace weft::testing {
namespace {

template <typename Case>
std::string RoundTrip(const std::string& line) {
  const absl::StatusOr<Case> c = Case::Parse(line);
  return c.ok() ? c->ToString() : std::string(c.status().message());
}

std::string RoundTripAny(const std::string& line) {
  if (CaseOp(line) == "attention") return RoundTrip<AttentionCase>(line);
  if (CaseOp(line) == "reshape") return RoundTrip<ReshapeCase>(line);
  if (CaseOp(line) == "merge") return RoundTrip<MergeCase>(line);
  if (CaseOp(line) == "correct") return RoundTrip<CorrectCase>(line);
  if (CaseOp(line) == "quantize") return RoundTrip<QuantizeCase>(line);
  return RoundTrip<GatherCase>(line);
}

TEST(CasesTest, EveryLineComesBack) {
  std::vector<std::string> lines = CaseLines();
  for (const std::string& line : PropertyLines()) lines.push_back(line);
  for (uint64_t seed = 100; seed < 300; ++seed) {
    lines.push_back(AttentionCase::Random(seed).ToString());
  }
  std::set<std::string> seen;
  for (const std::string& line : lines) {
    const std::string printed = RoundTripAny(line);
    EXPECT_EQ(RoundTripAny(printed), printed) << line;
    EXPECT_TRUE(seen.insert(printed).second) << "twice: " << line;
  }
}

TEST(CasesTest, AllFieldsAreKept) {
  const std::string line =
      "attention dtype=bf16 heads=8/2 d=96 block=3 q=1,5 ctx=2,2 kinds=d,p seed=9 pcp=3 ids=4,7 "
      "kv=f8e5m2 scales=powers query=f8e4m3 out=f32 scale=0.5 softcap=2.5 alibi=zero window=7 "
      "evict=yes sinks=minus keys=new rows=prefills data=huge lse=none layout=apart io=offset "
      "segments=2 pages=5 kpoison=inf vpoison=zero bias=9 place=behind qfactor=2 vfactor=4 shift=2 "
      "reverse=yes repeat=2 nan=1:3:v";
  EXPECT_EQ(RoundTrip<AttentionCase>(line), line);
  const std::string reshape =
      "reshape dtype=f16 heads=3 d=5 block=7 blocks=2 rows=9 seed=4 skip=1 bad=2 extra=3 "
      "segments=2 offset=1 cache=f8e4m3 scales=head io=strided layout=apart place=before";
  EXPECT_EQ(RoundTrip<ReshapeCase>(reshape), reshape);
  const std::string merge =
      "merge dtype=f16 out=f8e4m3 rows=4 heads=2 d=5 seed=6 sinks=some lse=strided io=offset "
      "place=before";
  EXPECT_EQ(RoundTrip<MergeCase>(merge), merge);
  const std::string correct =
      "correct dtype=f16 n=4 rank=3 rows=2 heads=5 d=6 seed=7 base=2 sinks=some io=strided "
      "alias=out lse=none place=before";
  EXPECT_EQ(RoundTrip<CorrectCase>(correct), correct);
  const std::string quantize =
      "quantize dtype=bf16 to=f8e5m2 rows=2 heads=3 d=4 seed=5 scale=0.5 scales=head data=all "
      "io=offset place=behind";
  EXPECT_EQ(RoundTrip<QuantizeCase>(quantize), quantize);
  const std::string gather =
      "gather dtype=i64 inner=2,3 source=4 rows=5 seed=6 holes=1 bad=2 fill=7 offset=1 io=strided";
  EXPECT_EQ(RoundTrip<GatherCase>(gather), gather);
}

TEST(CasesTest, BadLinesAreNamed) {
  const auto error = [](const std::string& line) {
    return std::string(AttentionCase::Parse(line).status().message());
  };
  EXPECT_EQ(error("attention q=1 nonsense=3"),
            "case \"attention q=1 nonsense=3\": nonsense must be left out: it is not known");
  EXPECT_NE(error("gather q=1"), "");
  EXPECT_NE(error("attention heads=3/2"), "");
  EXPECT_NE(error("attention heads=x"), "");
  EXPECT_NE(error("attention d=0"), "");
  EXPECT_NE(error("attention q=-1"), "");
  EXPECT_NE(error("attention q=1 ctx=1,2"), "");
  EXPECT_NE(error("attention q=1 kinds=x"), "");
  EXPECT_NE(error("attention q=1 q=2"), "");
  EXPECT_NE(error("attention dtype=i32"), "");
  EXPECT_NE(error("attention q=1 nan=1:0:k"), "");
  EXPECT_NE(error("attention data=what"), "");
  EXPECT_NE(error("attention scales=head"), "");
  EXPECT_NE(error("attention query=f8e4m3"), "");
  EXPECT_NE(error("attention keys=split rows=decodes"), "");
  EXPECT_NE(error("attention keys=new out=f8e4m3"), "");
  EXPECT_NE(error("attention evict=yes"), "");
  EXPECT_NE(error("attention softcap=x"), "");
  EXPECT_NE(error("attention heads=4/2 repeat=3"), "");
}

TEST(CasesTest, DataDoNotDependOnTheBatch) {
  const AttentionCase all =
      *AttentionCase::Parse("attention heads=4/2 d=32 q=3,4 ctx=5,6 kinds=p,p seed=2");
  const AttentionCase alone = *AttentionCase::Parse(
      "attention heads=4/2 d=32 block=3 q=1 ctx=8 kinds=d seed=2 ids=1 pages=7");
  EXPECT_EQ(QueryRow(all, 1, 8), QueryRow(alone, 0, 8));
  EXPECT_EQ(KeyRow(all, 1, 3), KeyRow(alone, 0, 3));
  EXPECT_EQ(ValueRow(all, 1, 3), ValueRow(alone, 0, 3));
  EXPECT_NE(KeyRow(all, 0, 3), KeyRow(all, 1, 3));
  EXPECT_NE(KeyRow(all, 1, 2), KeyRow(all, 1, 3));
}

TEST(CasesTest, EveryPairOfFeaturesMeets) {
  const std::vector<Factor>& factors = AttentionFactors();
  const std::vector<std::vector<size_t>> rows = CoveringArray(factors, FactorsMayMeet);
  EXPECT_LE(rows.size(), 120u);
  EXPECT_EQ(rows, CoveringArray(factors, FactorsMayMeet));
  for (size_t i = 0; i < factors.size(); ++i) {
    for (size_t j = i + 1; j < factors.size(); ++j) {
      for (size_t a = 0; a < factors[i].values.size(); ++a) {
        for (size_t b = 0; b < factors[j].values.size(); ++b) {
          bool met = false;
          for (const std::vector<size_t>& row : rows) met |= row[i] == a && row[j] == b;
          EXPECT_EQ(met, FactorsMayMeet(factors[i], a, factors[j], b))
              << factors[i].values[a] << " and " << factors[j].values[b];
        }
      }
    }
  }
}

// Row 1100 of one request, head 0; without the key `dropped` if that is not negative.
OracleResult AttendWithout(const AttentionCase& c, int64_t dropped) {
  const int64_t last = c.requests[0].context;
  std::vector<float> query(static_cast<size_t>(c.head_size));
  const std::vector<uint8_t> bytes = QueryRow(c, 0, last);
  for (int64_t d = 0; d < c.head_size; ++d) query[d] = LoadFloat(c.dtype, bytes.data(), d);
  const auto fetch = [&](int64_t i, absl::Span<float> key, absl::Span<float> value) {
    const int64_t position = dropped >= 0 && i >= dropped ? i + 1 : i;
    const std::vector<uint8_t> k = KeyRow(c, 0, position);
    const std::vector<uint8_t> v = ValueRow(c, 0, position);
    for (int64_t d = 0; d < c.head_size; ++d) {
      key[d] = LoadFloat(c.dtype, k.data(), d);
      value[d] = LoadFloat(c.dtype, v.data(), d);
    }
  };
  return AttendRow(query, c.Spec().effective_scale(), last + (dropped < 0 ? 1 : 0), fetch);
}

TEST(CasesTest, PlantedKeysCarryWeight) {
  // Dropping one of them changes the LSE by far more than its tolerance, some 1e-4.
  const AttentionCase c =
      *AttentionCase::Parse("attention dtype=bf16 heads=2/1 d=64 q=1 ctx=1100 kinds=d seed=2");
  const double lse = AttendWithout(c, -1).lse;
  EXPECT_NEAR(lse, ExpectAttention(c).lse.values[0], 1e-12);
  for (int64_t dropped : {0, 511, 512, 1023, 1024, 1087, 1088, 1099, 1100}) {
    EXPECT_GT(lse - AttendWithout(c, dropped).lse, 1e-3) << dropped;
  }
}

}  // namespace
}  // namespace weft::testing
