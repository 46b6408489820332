// SPDX-License-Identifier: Apache-2.0
//
// The whole path on the reference backend: one digest for any number of ranks, and faults planted
// in the device's tables that the checker must see.
#include "tools/replay/engine.h"

#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/reference/reference_backend.h"
#include "tools/replay/generator.h"

namespace weft::replay {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::shared_ptr<Backend> Reference() {
  static Registry* const registry = [] {
    auto* made = new Registry;
    EXPECT_TRUE(RegisterReferenceBackend(*made).ok());
    return made;
  }();
  return *registry->Create("reference");
}

EngineConfig Config(int64_t world_size) {
  EngineConfig config;
  config.preset = *FindPreset("small");
  config.scheduler.token_budget = 96;
  config.scheduler.max_running = 12;
  config.scheduler.block_size = 4;
  config.scheduler.num_blocks = 600;
  config.world_size = world_size;
  config.num_layers = 2;
  config.run = "weft replay";
  return config;
}

const Workload& SmallWorkload() {
  static const Workload* const workload = new Workload(ScaleTrace(GenerateTrace(30, 0), 1.0 / 128));
  return *workload;
}

absl::StatusOr<RunStats> RunOn(const EngineConfig& config, int64_t faulty_rank = 0,
                               FaultHook hook = nullptr) {
  auto engine = Engine::Create(config, Reference(), SmallWorkload());
  if (!engine.ok()) return engine.status();
  if (hook) (*engine)->SetFaultHook(faulty_rank, std::move(hook));
  return (*engine)->Run(nullptr);
}

TEST(Engine, OneDigestForAnyNumberOfRanks) {
  const auto one = RunOn(Config(1));
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_THAT(one->mismatches, IsEmpty());
  EXPECT_EQ(one->bytes_communicated, 0);
  EXPECT_EQ(one->checked_steps, one->schedule.steps);
  EXPECT_GT(one->checked_pairs, 40 * one->checked_steps);
  EXPECT_GT(one->schedule.reused_tokens, 0);
  for (const int64_t world_size : {2, 3, 4}) {
    const auto many = RunOn(Config(world_size));
    ASSERT_TRUE(many.ok()) << many.status();
    EXPECT_THAT(many->mismatches, IsEmpty());
    EXPECT_EQ(many->output_digest, one->output_digest);
    EXPECT_EQ(many->schedule.steps, one->schedule.steps);
    EXPECT_GT(many->bytes_communicated, 0);
  }
}

// Without shared prefixes: with them, what is found in the cache and so not computed depends on
// when a request comes.
TEST(Engine, TheDigestDependsOnTheSeedAndNotOnTheBatches) {
  Workload workload = SmallWorkload();
  for (ReplayRequest& request : workload.requests) request.hash_ids.clear();
  const auto run = [&](const EngineConfig& config) {
    auto engine = Engine::Create(config, Reference(), workload);
    return engine.ok() ? (*engine)->Run(nullptr) : absl::StatusOr<RunStats>(engine.status());
  };
  EngineConfig config = Config(1);
  const auto plain = run(config);
  ASSERT_TRUE(plain.ok());
  config.scheduler.token_budget = 33;
  config.scheduler.max_running = 3;
  const auto other_batches = run(config);
  ASSERT_TRUE(other_batches.ok());
  EXPECT_NE(other_batches->schedule.steps, plain->schedule.steps);
  EXPECT_EQ(other_batches->output_digest, plain->output_digest);
  config.seed = 1;
  const auto other_seed = run(config);
  ASSERT_TRUE(other_seed.ok());
  EXPECT_NE(other_seed->output_digest, plain->output_digest);
}

// Pages in many small allocations: an address is found by segment and block.
TEST(Engine, ACacheInPiecesGivesTheSame) {
  const auto whole = RunOn(Config(2));
  ASSERT_TRUE(whole.ok());
  EngineConfig config = Config(2);
  config.max_allocation_bytes = 100 * 2 * 4 * 2 * 64 * 2;  // 100 blocks of the 600
  const auto pieces = RunOn(config);
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  EXPECT_THAT(pieces->mismatches, IsEmpty());
  EXPECT_EQ(pieces->output_digest, whole->output_digest);
  config.max_allocation_bytes = 16;
  EXPECT_EQ(RunOn(config).status().code(), absl::StatusCode::kResourceExhausted);
}

// Windows in every other layer, sinks, capped logits.
TEST(Engine, LayersOfSeveralKinds) {
  EngineConfig config = Config(1);
  config.preset = *FindPreset("small-window");
  config.num_layers = 3;
  const auto one = RunOn(config);
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_THAT(one->mismatches, IsEmpty());
  config.world_size = 3;
  const auto many = RunOn(config);
  ASSERT_TRUE(many.ok()) << many.status();
  EXPECT_THAT(many->mismatches, IsEmpty());
  EXPECT_EQ(many->output_digest, one->output_digest);
  // Another window is another model, and the oracle goes with it.
  config.preset.window = 23;
  const auto other = RunOn(config);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_THAT(other->mismatches, IsEmpty());
  EXPECT_NE(other->output_digest, one->output_digest);
}

TEST(Engine, CachesOfAllTypes) {
  std::set<std::string> digests;
  for (const char* name : {"f16", "bf16", "fp8_e4m3", "fp8_e5m2"}) {
    EngineConfig config = Config(2);
    ASSERT_TRUE(SetKvDType(name, config.preset).ok());
    const auto stats = RunOn(config);
    ASSERT_TRUE(stats.ok()) << name << ": " << stats.status();
    EXPECT_THAT(stats->mismatches, IsEmpty()) << name;
    digests.insert(stats->output_digest);
  }
  EXPECT_EQ(digests.size(), 4u);
  EngineConfig config = Config(2);
  EXPECT_FALSE(SetKvDType("fp8", config.preset).ok());
}

// Heads and cache shared out; sinks and capped logits, and a cache that rounds.
TEST(Engine, DecodeContextParallel) {
  EngineConfig config = Config(1);
  config.preset = *FindPreset("small-window");
  config.preset.window = 0;
  config.scheduler.block_size = 8;
  config.scheduler.num_blocks = 300;
  for (const char* name : {"f16", "fp8_e4m3"}) {
    ASSERT_TRUE(SetKvDType(name, config.preset).ok());
    for (const int64_t dcp : {2, 4}) {
      config.dcp = dcp;
      const auto stats = RunOn(config);
      ASSERT_TRUE(stats.ok()) << stats.status();
      EXPECT_THAT(stats->mismatches, IsEmpty()) << name << " " << dcp;
      EXPECT_EQ(stats->ranks.size(), static_cast<size_t>(dcp));
      EXPECT_EQ(stats->checked_steps, stats->schedule.steps);
      EXPECT_GT(stats->schedule.reused_tokens, 0);
      EXPECT_GT(stats->bytes_communicated, 0);
      if (dcp > 2) continue;
      const auto again = RunOn(config);
      ASSERT_TRUE(again.ok());
      EXPECT_EQ(again->output_digest, stats->output_digest);
    }
  }
}

TEST(Engine, RefusesWhatDcpCannotDo) {
  EngineConfig config = Config(2);
  config.dcp = 2;
  EXPECT_THAT(std::string(RunOn(config).status().message()), HasSubstr("PCP of 2 and DCP of 2"));
  config.world_size = 1;
  config.dcp = 3;
  EXPECT_THAT(std::string(RunOn(config).status().message()), HasSubstr("blocks of 4 tokens on 3"));
  config.scheduler.block_size = 6;
  EXPECT_THAT(std::string(RunOn(config).status().message()), HasSubstr("4 heads cannot be dealt"));
  config.dcp = 2;
  config.preset = *FindPreset("small-window");
  EXPECT_THAT(std::string(RunOn(config).status().message()), HasSubstr("a layer with a window"));
}

TEST(Engine, ChecksEveryNthStepAndTheFirst) {
  EngineConfig config = Config(2);
  config.check_every = 1000;
  const auto stats = RunOn(config);
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->checked_steps, 1);
}

// Overwrites bytes of a table behind the upload.
template <typename T>
absl::Status Poke(Queue& queue, uint64_t table, int64_t index, const T& value) {
  uint8_t bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  return queue.CopyFromHost(table + index * sizeof(T), bytes);
}

struct Fault {
  std::string name;
  int64_t world_size;
  int64_t rank;
  FaultHook hook;
  std::string preset = "small";
  int64_t dcp = 1;
};

absl::Status DropOwnKeyOfDecode(Queue& queue, const StepBuffers& step, const Step&) {
  const auto rows = step.plan()->decode_rows();
  for (size_t i = 0; i < rows.size(); ++i) {
    DecodeRow row = rows[i];
    --row.position;
    const absl::Status status =
        Poke(queue, step.tables().decode_rows.address(), static_cast<int64_t>(i), row);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status DropOwnKeyOfPrefill(Queue& queue, const StepBuffers& step, const Step&) {
  const auto tiles = step.plan()->tiles();
  for (size_t i = 0; i < tiles.size(); ++i) {
    PrefillTile tile = tiles[i];
    if (tile.first_block < 0 || tile.first_position == 0) continue;
    --tile.first_position;
    const absl::Status status =
        Poke(queue, step.tables().tiles.address(), static_cast<int64_t>(i), tile);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// The key of a token stays unwritten: the reader meets the poison.
absl::Status SkipAWrite(Queue& queue, const StepBuffers& step, const Step&) {
  return Poke(queue, step.slots().address(), 0, int64_t{-1});
}

// Two tokens of one request change places in the cache.
absl::Status SwapTwoSlots(Queue& queue, const StepBuffers& step, const Step& work) {
  if (work.entries[0].num_new_tokens < 8) return absl::OkStatus();
  const auto slots = step.plan()->slots();
  const absl::Status status = Poke(queue, step.slots().address(), 0, slots[1]);
  return status.ok() ? Poke(queue, step.slots().address(), 1, slots[0]) : status;
}

// A write goes one slot too far.
absl::Status WriteTheNextSlot(Queue& queue, const StepBuffers& step, const Step&) {
  const auto slots = step.plan()->slots();
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] < 0 || slots[i] % 4 == 3) continue;
    const absl::Status status =
        Poke(queue, step.slots().address(), static_cast<int64_t>(i), slots[i] + 1);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Head and tail chunk of a rank change places: the rows are attended at each other's positions.
absl::Status SwapTwoChunks(Queue& queue, const StepBuffers& step, const Step&) {
  const auto tiles = step.plan()->tiles();
  for (size_t a = 0; a < tiles.size(); ++a) {
    for (size_t b = a + 1; b < tiles.size(); ++b) {
      if (tiles[a].first_block < 0 || tiles[a].first_block != tiles[b].first_block ||
          tiles[a].num_rows != tiles[b].num_rows) {
        continue;
      }
      PrefillTile first = tiles[a], second = tiles[b];
      std::swap(first.first_row, second.first_row);
      const absl::Status status =
          Poke(queue, step.tables().tiles.address(), static_cast<int64_t>(a), first);
      if (!status.ok()) return status;
      return Poke(queue, step.tables().tiles.address(), static_cast<int64_t>(b), second);
    }
  }
  return absl::OkStatus();
}

// The first token that the rank holds stays unwritten.
absl::Status SkipAnyWrite(Queue& queue, const StepBuffers& step, const Step&) {
  const auto slots = step.plan()->slots();
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] < 0) continue;
    return Poke(queue, step.slots().address(), static_cast<int64_t>(i), int64_t{-1});
  }
  return absl::OkStatus();
}

absl::Status DropKeysOfDecode(Queue& queue, const StepBuffers& step, const Step&) {
  const auto rows = step.plan()->decode_rows();
  for (size_t i = 0; i < rows.size(); ++i) {
    DecodeRow row = rows[i];
    if (row.num_keys < 2) continue;
    --row.num_keys;
    const absl::Status status =
        Poke(queue, step.tables().decode_rows.address(), static_cast<int64_t>(i), row);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status DropKeysOfPrefill(Queue& queue, const StepBuffers& step, const Step&) {
  const auto tiles = step.plan()->tiles();
  for (size_t i = 0; i < tiles.size(); ++i) {
    PrefillTile tile = tiles[i];
    if (tile.first_block < 0 || tile.num_keys < 2) continue;
    --tile.num_keys;
    const absl::Status status =
        Poke(queue, step.tables().tiles.address(), static_cast<int64_t>(i), tile);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Layers with a window get rows that count as one position earlier: each sees one key too many
// before it, and one too few at its end.
absl::Status SeeBeforeTheWindow(Queue& queue, const StepBuffers& step, const Step&) {
  const auto tiles = step.plan()->tiles();
  for (size_t i = 0; i < tiles.size(); ++i) {
    PrefillTile tile = tiles[i];
    if (tile.first_block < 0 || tile.first_key == 0) continue;
    --tile.first_key;
    --tile.first_position;
    const absl::Status status =
        Poke(queue, step.tables().tiles.address(), static_cast<int64_t>(i), tile);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Every request reads another one's first page.
absl::Status ReadAForeignPage(Queue& queue, const StepBuffers& step, const Step& work) {
  if (work.entries.size() < 2) return absl::OkStatus();
  return Poke(queue, step.tables().blocks.address(), 0, work.entries.back().blocks.back());
}

class EngineFaultTest : public ::testing::TestWithParam<Fault> {};

TEST_P(EngineFaultTest, IsSeen) {
  const Fault& fault = GetParam();
  EngineConfig config = Config(fault.world_size);
  config.preset = *FindPreset(fault.preset);
  config.dcp = fault.dcp;
  const auto stats = RunOn(config, fault.rank, fault.hook);
  ASSERT_TRUE(stats.ok()) << stats.status();
  ASSERT_THAT(stats->mismatches, Not(IsEmpty()));
  EXPECT_THAT(stats->mismatches[0], HasSubstr("weft replay  # step="));
}

INSTANTIATE_TEST_SUITE_P(
    Faults, EngineFaultTest,
    ::testing::Values(Fault{"DropOwnKeyOfDecode", 1, 0, DropOwnKeyOfDecode},
                      Fault{"DropOwnKeyOfPrefill", 1, 0, DropOwnKeyOfPrefill},
                      Fault{"DropOwnKeyOfPrefillOnRank2", 4, 2, DropOwnKeyOfPrefill},
                      Fault{"SkipAWrite", 1, 0, SkipAWrite},
                      Fault{"SkipAWriteOnRank1", 2, 1, SkipAWrite},
                      Fault{"SwapTwoSlots", 1, 0, SwapTwoSlots},
                      Fault{"WriteTheNextSlot", 1, 0, WriteTheNextSlot},
                      Fault{"SwapTwoChunks", 1, 0, SwapTwoChunks},
                      Fault{"SwapTwoChunksOnRank1", 2, 1, SwapTwoChunks},
                      Fault{"ReadAForeignPage", 1, 0, ReadAForeignPage},
                      Fault{"SkipAWriteOnDcpRank1", 1, 1, SkipAnyWrite, "small", 2},
                      Fault{"DropKeysOfADecodeOnDcpRank1", 1, 1, DropKeysOfDecode, "small", 2},
                      Fault{"DropKeysOfAContextOnDcpRank0", 1, 0, DropKeysOfPrefill, "small", 2},
                      Fault{"SeeBeforeTheWindow", 1, 0, SeeBeforeTheWindow, "small-window"}),
    [](const auto& info) { return info.param.name; });

// One rank fails: all stop, and the message is that rank's.
TEST(Engine, AnErrorOfOneRankStopsAll) {
  const auto stats = RunOn(Config(4), 3, [](Queue&, const StepBuffers&, const Step& step) {
    return step.index == 2 ? absl::InternalError("planted") : absl::OkStatus();
  });
  ASSERT_FALSE(stats.ok());
  EXPECT_EQ(stats.status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(stats.status().message(), "rank 3: planted");
}

}  // namespace
}  // namespace weft::replay
