// SPDX-License-Identifier: Apache-2.0
//
// The built-in trace against the measured numbers of Mooncake's conversation trace.
#include "tools/replay/generator.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "core/checked_math.h"
#include "gtest/gtest.h"

namespace weft::replay {
namespace {

double Quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// Within `part` of `expected`.
void ExpectNear(double actual, double expected, double part, const char* what) {
  EXPECT_NEAR(actual, expected, part * expected) << what;
}

class GeneratorTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  std::vector<TraceRequest> trace_ = GenerateTrace(12031, GetParam());
};

TEST_P(GeneratorTest, IsAValidTrace) {
  double before = 0;
  for (const TraceRequest& request : trace_) {
    EXPECT_GE(request.arrival_ms, before);
    before = request.arrival_ms;
    EXPECT_GE(request.input_length, 891);
    EXPECT_LE(request.input_length, 126195);
    EXPECT_GE(request.output_length, 1);
    EXPECT_LE(request.output_length, 2000);
    ASSERT_EQ(static_cast<int64_t>(request.hash_ids.size()),
              CeilDiv(request.input_length, kHashBlockTokens));
    EXPECT_EQ(request.hash_ids.front(), 0);
  }
}

TEST_P(GeneratorTest, LengthsFit) {
  std::vector<double> in, out;
  for (const TraceRequest& request : trace_) {
    in.push_back(static_cast<double>(request.input_length));
    out.push_back(static_cast<double>(request.output_length));
  }
  ExpectNear(Mean(in), 12035, 0.12, "mean input");
  ExpectNear(Quantile(in, 0.1), 964, 0.05, "input p10");
  ExpectNear(Quantile(in, 0.25), 2306, 0.1, "input p25");
  ExpectNear(Quantile(in, 0.5), 6909, 0.1, "input p50");
  ExpectNear(Quantile(in, 0.75), 15367, 0.1, "input p75");
  ExpectNear(Quantile(in, 0.9), 27367, 0.1, "input p90");
  ExpectNear(Quantile(in, 0.99), 85400, 0.15, "input p99");
  ExpectNear(Mean(out), 343, 0.05, "mean output");
  ExpectNear(Quantile(out, 0.5), 350, 0.05, "output p50");
  ExpectNear(Quantile(out, 0.99), 1119, 0.1, "output p99");
}

TEST_P(GeneratorTest, ArrivalsFit) {
  std::map<double, int64_t> ticks;
  for (const TraceRequest& request : trace_) ++ticks[request.arrival_ms];
  std::vector<double> sizes;
  for (const auto& [arrival, size] : ticks) sizes.push_back(static_cast<double>(size));
  sizes.pop_back();  // the last tick is cut off
  ExpectNear(Mean(sizes), 10.2, 0.05, "requests of a tick");
  EXPECT_GE(*std::min_element(sizes.begin(), sizes.end()), 2);
  EXPECT_LE(*std::max_element(sizes.begin(), sizes.end()), 28);
  EXPECT_NEAR(Quantile(sizes, 0.5), 10, 1);
}

TEST_P(GeneratorTest, PrefixSharingFits) {
  absl::flat_hash_set<int64_t> seen;
  std::vector<double> cached, fresh;
  double hit = 0, all = 0, distinct = 0, blocks = 0;
  int64_t full_hits = 0;
  for (const TraceRequest& request : trace_) {
    int64_t known = 0;
    for (const int64_t id : request.hash_ids) {
      if (!seen.contains(id)) break;
      ++known;
    }
    seen.insert(request.hash_ids.begin(), request.hash_ids.end());
    const int64_t tokens = std::min(known * kHashBlockTokens, request.input_length);
    full_hits += tokens == request.input_length ? 1 : 0;
    cached.push_back(static_cast<double>(tokens));
    fresh.push_back(static_cast<double>(request.input_length - tokens));
    hit += static_cast<double>(tokens);
    all += static_cast<double>(request.input_length);
    blocks += static_cast<double>(request.hash_ids.size());
  }
  distinct = static_cast<double>(seen.size());
  EXPECT_NEAR(hit / all, 0.374, 0.04);
  EXPECT_NEAR(distinct / blocks, 182790.0 / 288500.0, 0.05);
  EXPECT_NEAR(static_cast<double>(full_hits) / static_cast<double>(trace_.size()), 0.01, 0.006);
  EXPECT_EQ(Quantile(cached, 0.5), 512);
  ExpectNear(Quantile(cached, 0.9), 12800, 0.25, "cached p90");
  ExpectNear(Quantile(cached, 0.99), 54118, 0.3, "cached p99");
  ExpectNear(Quantile(fresh, 0.1), 388, 0.15, "new p10");
  ExpectNear(Quantile(fresh, 0.5), 2470, 0.25, "new p50");
  ExpectNear(Quantile(fresh, 0.9), 19012, 0.25, "new p90");
}

TEST_P(GeneratorTest, AShortTraceIsTheFrontOfALongOne) {
  const std::vector<TraceRequest> front = GenerateTrace(50, GetParam());
  for (size_t i = 0; i < front.size(); ++i) {
    EXPECT_EQ(front[i].input_length, trace_[i].input_length);
    EXPECT_EQ(front[i].hash_ids, trace_[i].hash_ids);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, GeneratorTest, ::testing::Values(0, 1, 2));

// The algorithms are fixed: another compiler or library must give this very trace.
TEST(Generator, IsTheSameEverywhere) {
  const std::vector<TraceRequest> trace = GenerateTrace(3, 0);
  EXPECT_EQ(trace[0].input_length, 6659);
}

}  // namespace
}  // namespace weft::replay
