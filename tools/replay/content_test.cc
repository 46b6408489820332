// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/content.h"

#include <cmath>
#include <set>
#include <vector>

#include "core/dtype.h"
#include "core/plan.h"
#include "gtest/gtest.h"
#include "tools/replay/preset.h"

namespace weft::replay {
namespace {

// Two requests that share 16 tokens and part after them.
Workload TwoRequests() {
  Workload workload;
  workload.hash_block = 8;
  for (const std::vector<int64_t>& ids : {std::vector<int64_t>{0, 1, 2}, {0, 1, 3}}) {
    ReplayRequest request;
    request.prompt_length = 20;
    request.output_length = 2000;
    request.hash_ids = ids;
    workload.requests.push_back(request);
  }
  return workload;
}

class ContentTest : public ::testing::Test {
 protected:
  Workload workload_ = TwoRequests();
  AttentionSpec spec_ = FindPreset("small")->Kinds()[0];
  Content content_{workload_, spec_, /*page_tokens=*/4, /*num_layers=*/2, /*seed=*/0};
};

TEST_F(ContentTest, AReusedPrefixHoldsTheSameAndNothingElseDoes) {
  int same_behind = 0;
  for (int64_t position = 0; position < 40; ++position) {
    for (int64_t head = 0; head < spec_.num_kv_heads; ++head) {
      const int64_t a = content_.KeyRow(0, position, head);
      const int64_t b = content_.KeyRow(1, position, head);
      ASSERT_GE(a, 0);
      ASSERT_LT(a, kTableRows);
      if (position < 16) {
        EXPECT_EQ(a, b) << position;
      } else {
        same_behind += a == b ? 1 : 0;
      }
    }
  }
  EXPECT_LE(same_behind, 1);
}

TEST_F(ContentTest, KeysOfAHeadAndOfPositionsDiffer) {
  std::set<int64_t> rows;
  for (int64_t position = 0; position < 100; ++position) {
    for (int64_t head = 0; head < 2; ++head) rows.insert(content_.KeyRow(0, position, head));
  }
  EXPECT_GT(rows.size(), 190u);
}

TEST_F(ContentTest, PlantsAllThePlacesWhereBugsLive) {
  const int64_t position = 1500;
  std::set<int64_t> planted;
  for (int64_t row = position; row < position + 400; ++row) {
    for (int64_t head = 0; head < spec_.num_heads; ++head) {
      const int64_t key = content_.PlantedPosition(0, row, head, 0);
      ASSERT_GE(key, 0);
      ASSERT_LE(key, row);
      planted.insert(key);
      if (key == row) planted.insert(-1);
      if (key == row - 1) planted.insert(-2);
    }
  }
  for (const int64_t key : {int64_t{-1}, int64_t{-2}, int64_t{0}, kGranule - 1, kGranule,
                            2 * kGranule - 1, 2 * kGranule}) {
    EXPECT_EQ(planted.count(key), 1u) << key;
  }
}

// In a layer with a window: its first key, its last, and the one that is just outside.
TEST_F(ContentTest, PlantsTheEdgesOfAWindow) {
  for (const int64_t window : {1, 2, 24, 513, 5000}) {
    std::set<int64_t> behind;  // how far the planted key lies behind the row
    for (int64_t row = 0; row < 1500; ++row) {
      for (int64_t head = 0; head < spec_.num_heads; ++head) {
        const int64_t key = content_.PlantedPosition(0, row, head, window);
        ASSERT_GE(key, 0);
        ASSERT_GE(key, row - window);
        ASSERT_LE(key, row);
        if (row > 1000) behind.insert(row - key);
      }
    }
    EXPECT_EQ(behind.count(0), 1u) << window;
    EXPECT_EQ(behind.count(window - 1), window < 1000 ? 1u : 0u) << window;
    EXPECT_EQ(behind.count(window), window < 1000 ? 1u : 0u) << window;
  }
}

TEST_F(ContentTest, TheFirstRowsSeeOnlyThemselves) {
  for (int64_t head = 0; head < spec_.num_heads; ++head) {
    EXPECT_EQ(content_.PlantedPosition(0, 0, head, 0), 0);
    EXPECT_LE(content_.PlantedPosition(0, 1, head, 0), 1);
  }
}

TEST_F(ContentTest, TheTableIsWhatTheOracleFetches) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    spec_.dtype = spec_.kv_dtype = dtype;
    const Content content(workload_, spec_, 4, 2, 0);
    const std::vector<uint8_t> bytes = content.TableBytes(1);
    std::vector<float> key(spec_.head_size), value(spec_.head_size), other(spec_.head_size);
    content.FetchKey(1, 7, absl::MakeSpan(key));
    content.FetchValue(1, 7, absl::MakeSpan(value));
    content.FetchKey(0, 7, absl::MakeSpan(other));
    EXPECT_NE(key, value);
    EXPECT_NE(key, other);
    for (int64_t i = 0; i < spec_.head_size; ++i) {
      EXPECT_EQ(LoadFloat(dtype, bytes.data(), 7 * 2 * spec_.head_size + i), key[i]);
      EXPECT_EQ(LoadFloat(dtype, bytes.data(), (7 * 2 + 1) * spec_.head_size + i), value[i]);
    }
  }
}

// The planted key's weight among a thousand others: large, and not everything.
TEST_F(ContentTest, ThePlantedKeyHasALargeWeight) {
  std::vector<float> query(spec_.head_size), key(spec_.head_size);
  const int64_t position = 1200;
  int64_t large = 0;
  for (int64_t head = 0; head < spec_.num_heads; ++head) {
    content_.FetchKey(0, content_.QueryRow(0, position, head, 0), absl::MakeSpan(query));
    const int64_t planted = content_.PlantedPosition(0, position, head, 0);
    double sum = 0, of_planted = 0;
    for (int64_t j = 0; j <= position; ++j) {
      content_.FetchKey(0, content_.KeyRow(0, j, head / spec_.group_size()), absl::MakeSpan(key));
      double logit = 0;
      for (int64_t i = 0; i < spec_.head_size; ++i) logit += query[i] * key[i];
      const double weight = std::exp(logit * spec_.effective_scale());
      sum += weight;
      if (j == planted) of_planted = weight;
    }
    large += of_planted / sum > 0.2 ? 1 : 0;
  }
  EXPECT_EQ(large, spec_.num_heads);
}

}  // namespace
}  // namespace weft::replay
