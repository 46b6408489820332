// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/checker.h"

#include <set>
#include <utility>

#include "core/dtype.h"
#include "core/pcp_partition.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/oracle.h"
#include "tools/replay/preset.h"

namespace weft::replay {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class CheckerTest : public ::testing::Test {
 protected:
  CheckerTest() {
    for (const auto& [prompt, output] : {std::pair(100, 20), std::pair(300, 3)}) {
      ReplayRequest request;
      request.prompt_length = prompt;
      request.output_length = output;
      workload_.requests.push_back(request);
    }
  }

  // A decode at position 100 and 40 rows of a prefill from position 60, on `world_size` ranks.
  StepWork Work(int64_t world_size) const {
    StepWork work;
    StepEntry decode, prefill;
    decode.kind = RequestKind::kDecode;
    decode.num_new_tokens = 1;
    decode.num_computed_tokens = 100;
    prefill.request = 1;
    prefill.num_new_tokens = 40;
    prefill.num_computed_tokens = 60;
    std::vector<int32_t> blocks(200);
    for (int32_t i = 0; i < 200; ++i) blocks[i] = i;
    decode.blocks.assign(blocks.begin(), blocks.begin() + 26);
    prefill.blocks.assign(blocks.begin() + 26, blocks.begin() + 51);
    work.step.entries = {decode, prefill};
    RequestBatch batch;
    for (const StepEntry& entry : work.step.entries) {
      Request request;
      request.kind = entry.kind;
      request.num_new_tokens = entry.num_new_tokens;
      request.num_computed_tokens = entry.num_computed_tokens;
      request.block_ids = entry.blocks;
      batch.requests.push_back(request);
    }
    const auto layout = KvCacheLayout::Nhd(spec_.dtype, 4, spec_.num_kv_heads, spec_.head_size);
    work.metadata = *AttentionMetadataBuilder(*layout, 200).Build(batch);
    if (world_size > 1) {
      work.partition = *PcpPartition::Build(ShapesOf(work.metadata), world_size);
    }
    return work;
  }

  // What a device that makes no mistake would say.
  void Answer(const StepWork& work, std::vector<SampleAnswer>& answers,
              std::vector<uint8_t>& restored) const {
    const int64_t head_bytes = spec_.head_size * SizeOf(spec_.dtype);
    restored.resize(work.metadata.num_actual_tokens() * spec_.num_heads * head_bytes);
    for (const Sample& sample : work.samples) {
      const int64_t request = work.step.entries[sample.entry].request;
      std::vector<float> query(spec_.head_size);
      content_.FetchKey(sample.layer, content_.QueryRow(request, sample.position, sample.head, 0),
                        absl::MakeSpan(query));
      const auto fetch = [&](int64_t j, absl::Span<float> key, absl::Span<float> value) {
        const int64_t row = content_.KeyRow(request, j, sample.head / spec_.group_size());
        content_.FetchKey(sample.layer, row, key);
        content_.FetchValue(sample.layer, row, value);
      };
      const auto result =
          testing::AttendRow(query, spec_.effective_scale(), sample.position + 1, fetch);
      SampleAnswer answer;
      answer.lse = static_cast<float>(result.lse);
      answer.out.resize(head_bytes);
      uint8_t* out = answer.out.data();
      if (sample.layer == 1) {
        out = restored.data() + (sample.row * spec_.num_heads + sample.head) * head_bytes;
      }
      for (int64_t i = 0; i < spec_.head_size; ++i) {
        StoreFloat(spec_.dtype, out, i, static_cast<float>(result.out[i]));
      }
      answers.push_back(std::move(answer));
    }
  }

  Workload workload_;
  AttentionSpec spec_ = FindPreset("small")->Kinds()[0];
  Content content_{workload_, spec_, 4, 2, 0};
  Checker checker_{content_, {spec_}, 2, 1, 0, "weft replay"};
};

TEST_F(CheckerTest, TakesDecodesEdgesAndOthersOnAllRanks) {
  for (const int64_t world_size : {1, 2, 4}) {
    const StepWork work = Work(world_size);
    const std::vector<Sample> samples = checker_.Choose(work);
    EXPECT_THAT(samples, SizeIs(kSamplesPerStep));
    std::set<std::pair<int64_t, int64_t>> pairs;
    std::set<int64_t> rows, ranks, layers;
    for (const Sample& sample : samples) {
      pairs.insert({sample.row, sample.head});
      rows.insert(sample.row);
      ranks.insert(sample.rank);
      layers.insert(sample.layer);
      const auto sources = SourceRows(work, sample.rank);
      ASSERT_EQ(sources[sample.local_row], sample.row);
    }
    EXPECT_THAT(pairs, SizeIs(kSamplesPerStep));
    EXPECT_THAT(ranks, SizeIs(world_size));
    EXPECT_THAT(layers, SizeIs(2));
    for (const int64_t row : {0, 1, 40}) EXPECT_EQ(rows.count(row), 1u) << row;
    if (world_size == 2) {
      for (const int64_t row : {10, 11, 30, 31}) EXPECT_EQ(rows.count(row), 1u) << row;
    }
  }
}

TEST_F(CheckerTest, JudgesEachSample) {
  StepWork work = Work(2);
  work.samples = checker_.Choose(work);
  std::vector<SampleAnswer> answers;
  std::vector<uint8_t> restored;
  Answer(work, answers, restored);
  EXPECT_THAT(checker_.Judge(work, answers, restored), IsEmpty());

  for (const size_t i : {size_t{0}, size_t{40}}) {
    std::vector<SampleAnswer> wrong = answers;
    wrong[i].lse += 1e-3f;
    const std::vector<std::string> mismatches = checker_.Judge(work, wrong, restored);
    ASSERT_THAT(mismatches, SizeIs(1));
    EXPECT_THAT(mismatches[0], HasSubstr("weft replay  # step=0 request="));
    EXPECT_THAT(mismatches[0], HasSubstr("lse"));
  }
  // The last layer is judged where it was restored, the others where they were sampled.
  for (size_t i = 0; i < work.samples.size(); ++i) {
    const Sample& sample = work.samples[i];
    if (sample.layer != 0) continue;
    std::vector<SampleAnswer> wrong = answers;
    wrong[i].out[5] ^= 0x40;
    EXPECT_THAT(checker_.Judge(work, wrong, restored), SizeIs(1));
  }
  std::vector<uint8_t> nothing(restored.size(), 0xff);
  EXPECT_GT(checker_.Judge(work, answers, nothing).size(), 16u);
}

}  // namespace
}  // namespace weft::replay
