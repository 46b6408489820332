// SPDX-License-Identifier: Apache-2.0
//
// Decode context parallelism end to end (docs/pcp_spec.md, 11), with all ranks of a group as
// threads: each holds its share of the keys, interleaved, and its share of the query heads. What
// comes out is attention as one device computes it, in float64.
//
//   decode   queries gathered over heads -> attention over the local keys, local lengths for each
//   query
//            -> CpLse -> the rank's own heads
//   prefill  the same over the context, then merged with the rank's own heads over the chunk
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "collectives/cp_lse.h"
#include "collectives/cp_ranks_for_test.h"
#include "core/attention_layer.h"
#include "core/attention_metadata.h"
#include "core/ops/case_for_test.h"
#include "gtest/gtest.h"

namespace weft::testing {
namespace {

constexpr int64_t kHeads = 12, kSize = 32, kBlock = 4, kBlocks = 64;

absl::Time Soon() { return absl::Now() + absl::Seconds(60); }

float F16(float value) { return F16ToF32(F32ToF16(value)); }

// A step whose numbers every rank knows; each takes what is its own.
class DcpStep {
 public:
  DcpStep(RequestKind kind, std::vector<Sequence> shapes, int64_t num_kv_heads, int64_t world,
          int64_t interleave)
      : kind_(kind), shapes_(std::move(shapes)), kv_heads_(num_kv_heads), world_(world) {
    options_.dcp.world = world;
    options_.dcp.interleave = interleave;
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    const auto numbers = [&](int64_t count) {
      std::vector<float> values;
      for (int64_t i = 0; i < count; ++i) values.push_back(F16(normal(random)));
      return values;
    };
    int32_t next = 0;
    for (const Sequence& shape : shapes_) {
      const int64_t length = shape.new_tokens + shape.computed;
      keys_.push_back(numbers(length * kv_heads_ * kSize));
      values_.push_back(numbers(length * kv_heads_ * kSize));
      std::vector<int32_t>& table = tables_.emplace_back();
      for (int64_t first = 0; first < length; first += kBlock * world)
        table.push_back((++next * 5) % kBlocks);
      rows_ += shape.new_tokens;
    }
    query_ = numbers(rows_ * kHeads * kSize);
    for (int64_t head = 0; head < kHeads; ++head) sinks_.push_back(normal(random));
  }

  int64_t rows() const { return rows_; }
  const std::vector<float>& sinks() const { return sinks_; }

  AttentionSpec Spec(int64_t heads) const {
    AttentionSpec spec;
    spec.num_heads = heads;
    spec.num_kv_heads = kv_heads_;
    spec.head_size = kSize;
    spec.out_dtype = DType::kF32;
    return spec;
  }

  KvCacheLayout Layout() const {
    return *KvCacheLayout::Nhd(DType::kF16, kBlock, kv_heads_, kSize);
  }

  // The step as `rank` sees it; or, `whole`, one that writes every token.
  AttentionMetadata Metadata(int64_t rank, bool whole) const {
    RequestBatch batch;
    for (size_t s = 0; s < shapes_.size(); ++s) {
      Request request;
      request.kind = kind_;
      request.num_computed_tokens = whole ? 0 : shapes_[s].computed;
      request.num_new_tokens =
          shapes_[s].new_tokens + shapes_[s].computed - request.num_computed_tokens;
      request.block_ids = tables_[s];
      batch.requests.push_back(request);
    }
    MetadataOptions options = options_;
    options.dcp.rank = rank;
    auto metadata = AttentionMetadataBuilder(Layout(), kBlocks).Build(batch, options);
    CHECK_OK(metadata.status());
    return *metadata;
  }

  // The heads [first, first + count) of every query row.
  TensorView Query(DeviceMemory& memory, int64_t first, int64_t count) const {
    std::vector<float> values;
    for (int64_t row = 0; row < rows_; ++row) {
      const auto begin = query_.begin() + (row * kHeads + first) * kSize;
      values.insert(values.end(), begin, begin + count * kSize);
    }
    return memory.Upload(DType::kF16, values, {rows_, count, kSize});
  }

  // New tokens' keys (or values), or all tokens'.
  TensorView Tokens(DeviceMemory& memory, bool keys, bool whole) const {
    std::vector<float> values;
    for (size_t s = 0; s < shapes_.size(); ++s) {
      const std::vector<float>& all = keys ? keys_[s] : values_[s];
      const int64_t first = whole ? 0 : shapes_[s].computed;
      values.insert(values.end(), all.begin() + first * kv_heads_ * kSize, all.end());
    }
    const auto rows = static_cast<int64_t>(values.size()) / (kv_heads_ * kSize);
    return memory.Upload(DType::kF16, values, {rows, kv_heads_, kSize});
  }

  // A cache with this rank's share of every token, written by its own slots.
  KvCacheView Cache(DeviceMemory& memory, int64_t rank) const {
    const KvCacheLayout layout = Layout();
    const TensorView bytes = memory.Poisoned(DType::kU8, {layout.bytes_per_block() * kBlocks});
    auto cache = KvCacheView::OneAllocation(layout, bytes.address(), kBlocks, bytes.device());
    CHECK_OK(cache.status());
    const AttentionMetadata metadata = Metadata(rank, true);
    ReshapeAndCacheArgs write;
    write.key = Tokens(memory, true, true);
    write.value = Tokens(memory, false, true);
    const absl::Span<const int64_t> slots = metadata.slot_mapping();
    std::vector<uint8_t> slot_bytes(slots.size() * 8);
    std::copy_n(reinterpret_cast<const uint8_t*>(slots.data()), slot_bytes.size(),
                slot_bytes.begin());
    write.slots = memory.UploadBytes(DType::kI64, slot_bytes, {static_cast<int64_t>(slots.size())});
    write.cache = *cache;
    CHECK_OK(memory.queue().ReshapeAndCache(write));
    return *cache;
  }

  // Rows of heads [first, first + count), against float64.
  void Check(int64_t first, int64_t count, const std::vector<float>& out, bool with_sinks) const {
    int64_t row = 0;
    for (size_t s = 0; s < shapes_.size(); ++s) {
      for (int64_t t = 0; t < shapes_[s].new_tokens; ++t, ++row) {
        const int64_t keys = shapes_[s].computed + t + 1;
        for (int64_t h = 0; h < count; ++h) {
          const int64_t head = first + h, kv = head * kv_heads_ / kHeads;
          std::vector<double> sum(kSize, 0.0);
          double denominator = with_sinks ? std::exp(double{sinks_[head]}) : 0.0;
          for (int64_t p = 0; p < keys; ++p) {
            double dot = 0.0;
            for (int64_t d = 0; d < kSize; ++d)
              dot += double{query_[(row * kHeads + head) * kSize + d]} *
                     keys_[s][(p * kv_heads_ + kv) * kSize + d];
            const double weight = std::exp(dot / std::sqrt(double{kSize}));
            denominator += weight;
            for (int64_t d = 0; d < kSize; ++d)
              sum[d] += weight * values_[s][(p * kv_heads_ + kv) * kSize + d];
          }
          for (int64_t d = 0; d < kSize; ++d) {
            ASSERT_NEAR(out[(row * count + h) * kSize + d], sum[d] / denominator, 2e-3)
                << "sequence " << s << ", token " << t << ", head " << head;
          }
        }
      }
    }
  }

 private:
  RequestKind kind_;
  std::vector<Sequence> shapes_;
  int64_t kv_heads_, world_, rows_ = 0;
  MetadataOptions options_;
  std::vector<std::vector<float>> keys_, values_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<float> query_, sinks_;
};

struct State {
  TensorView out;
  TensorView lse;
  bool partial = false;
};

// Attention of one layer for one plan.
State Attend(DeviceMemory& memory, const AttentionSpec& spec, const KvCacheView& cache,
             const AttentionMetadata& metadata, KeyScope keys, const TensorView& query) {
  auto layer = AttentionLayer::Create(memory.shared_backend(), spec, cache.layout());
  CHECK_OK(layer.status());
  PlanOptions options;
  options.keys = keys;
  auto plan = layer->MakePlan(metadata, options);
  CHECK_OK(plan.status());
  StepLimits limits;
  limits.max_slots = limits.max_blocks = limits.max_tiles = limits.max_decode_rows = 256;
  limits.max_decode_splits = 256;
  limits.workspace_bytes = (*plan)->workspace_bytes();
  auto step = StepBuffers::Create(memory.shared_backend(), limits);
  CHECK_OK(step.status());
  CHECK_OK((*step)->Update(memory.queue(), *plan));
  AttentionIo io;
  io.query = query;
  io.cache = cache;
  io.out = memory.Poisoned(DType::kF32, {query.extent(0), spec.num_heads, kSize});
  io.lse = memory.Poisoned(DType::kF32, {query.extent(0), spec.num_heads});
  CHECK_OK(layer->Attend(memory.queue(), **step, io));
  memory.Run();  // the layer and the step end here
  return {io.out, io.lse, (*plan)->partial()};
}

class DcpTest : public OpsTest {};

// Of own heads' queries and local keys: this rank's heads of the whole attention.
CpLseResult AttendShards(DeviceMemory& memory, Communicator& communicator, const DcpStep& step,
                         const KvCacheView& cache, KeyScope keys, DType result_dtype,
                         bool with_sinks) {
  const int64_t world = communicator.world_size(), rank = communicator.rank();
  const int64_t own = kHeads / world;
  const TensorView local = step.Query(memory, rank * own, own);
  const TensorView all = memory.Poisoned(DType::kF16, {step.rows(), kHeads, kSize});
  const TensorView gather_space =
      memory.Poisoned(DType::kU8, {*AllGatherHeadsWorkspaceBytes(world, local)});
  const auto query = AllGatherHeads(memory.queue(), communicator, local, all, gather_space, Soon());
  CHECK_OK(query.status());
  AttentionSpec spec = step.Spec(kHeads);
  if (with_sinks) spec.sinks = step.sinks();
  const State state = Attend(memory, spec, cache, step.Metadata(rank, false), keys, *query);
  CpLseArgs args;
  args.out = state.out;
  args.lse = state.lse;
  if (with_sinks && state.partial) args.sinks = memory.Upload(DType::kF32, step.sinks(), {kHeads});
  args.result = memory.Poisoned(result_dtype, {step.rows(), own, kSize});
  args.result_lse = memory.Poisoned(DType::kF32, {step.rows(), own});
  args.workspace =
      memory.Poisoned(DType::kU8, {*CpLseWorkspaceBytes(world, step.rows(), kHeads, kSize)});
  const auto merged = CpLseAllGatherReduceScatter(memory.queue(), communicator, args, Soon());
  CHECK_OK(merged.status());
  return *merged;
}

// Decodes of one token, of three (speculation), of a sequence shorter than the group, and of
// nothing.
TEST_F(DcpTest, DecodeEqualsOneDevice) {
  for (const int64_t world : {1, 2, 3, 4}) {
    for (const int64_t interleave : {1, 4}) {
      for (const bool sinks : {false, true}) {
        const DcpStep step(RequestKind::kDecode, {{1, 21}, {3, 6}, {1, 0}, {0, 9}, {2, 1}}, 2,
                           world, interleave);
        RunRanks(world, [&](DeviceMemory& memory, Communicator& communicator) {
          const KvCacheView cache = step.Cache(memory, communicator.rank());
          const CpLseResult merged =
              AttendShards(memory, communicator, step, cache, KeyScope::kAll, DType::kF16, sinks);
          const int64_t own = kHeads / world;
          step.Check(communicator.rank() * own, own, memory.Download(merged.out), sinks);
        });
      }
    }
  }
}

// Every rank of the group holds the same heads: the all-reduce form.
TEST_F(DcpTest, DecodeWithReplicatedHeads) {
  const DcpStep step(RequestKind::kDecode, {{1, 30}, {2, 5}}, 2, 3, 2);
  RunRanks(3, [&](DeviceMemory& memory, Communicator& communicator) {
    const int64_t rank = communicator.rank();
    const KvCacheView cache = step.Cache(memory, rank);
    const State state = Attend(memory, step.Spec(kHeads), cache, step.Metadata(rank, false),
                               KeyScope::kAll, step.Query(memory, 0, kHeads));
    CpLseArgs args;
    args.out = args.result = state.out;
    args.lse = state.lse;
    args.workspace =
        memory.Poisoned(DType::kU8, {*CpLseWorkspaceBytes(3, step.rows(), kHeads, kSize)});
    const auto merged = CpLseAllGatherAllReduce(memory.queue(), communicator, args, Soon());
    ASSERT_TRUE(merged.ok()) << merged.status();
    step.Check(0, kHeads, memory.Download(merged->out), false);
  });
}

// A prefill may also read all its keys from the shards: new tokens were written before.
TEST_F(DcpTest, PrefillOverShardsEqualsOneDevice) {
  for (const int64_t world : {2, 3}) {
    const DcpStep step(RequestKind::kPrefill, {{5, 9}, {7, 0}}, 1, world, 2);
    RunRanks(world, [&](DeviceMemory& memory, Communicator& communicator) {
      const KvCacheView cache = step.Cache(memory, communicator.rank());
      const CpLseResult merged =
          AttendShards(memory, communicator, step, cache, KeyScope::kAll, DType::kF16, false);
      const int64_t own = kHeads / world;
      step.Check(communicator.rank() * own, own, memory.Download(merged.out), false);
    });
  }
}

// Context from the shards, the chunk from its tensors, sinks at the last merge.
TEST_F(DcpTest, PrefillWithContextEqualsOneDevice) {
  for (const int64_t world : {1, 2, 3, 4}) {
    // The second request has no context, the third fewer tokens of it than there are ranks.
    const DcpStep step(RequestKind::kPrefill, {{6, 19}, {5, 0}, {3, 1}}, 1, world, 2);
    RunRanks(world, [&](DeviceMemory& memory, Communicator& communicator) {
      const int64_t rank = communicator.rank(), own = kHeads / world;
      const KvCacheView cache = step.Cache(memory, rank);
      const CpLseResult context =
          AttendShards(memory, communicator, step, cache, KeyScope::kContext, DType::kF32, false);
      const TensorView key = step.Tokens(memory, true, false);
      const TensorView value = step.Tokens(memory, false, false);
      const KvCacheLayout rows =
          *KvCacheLayout::Rows(DType::kF16, 1, kSize, kSize, kSize, kSize, kSize);
      const KvSegment segment = {key.address(), value.address(), step.rows()};
      const KvCacheView chunk = *KvCacheView::Create(rows, key.device(), {segment});
      const State fresh = Attend(memory, step.Spec(own), chunk, step.Metadata(rank, false),
                                 KeyScope::kNew, step.Query(memory, rank * own, own));
      MergeStatesArgs merge;
      merge.a = context.out;
      merge.a_lse = context.lse;
      merge.b = fresh.out;
      merge.b_lse = fresh.lse;
      merge.out = memory.Poisoned(DType::kF16, {step.rows(), own, kSize});
      const std::vector<float> sinks(step.sinks().begin() + rank * own,
                                     step.sinks().begin() + (rank + 1) * own);
      merge.sinks = memory.Upload(DType::kF32, sinks, {own});
      ASSERT_TRUE(memory.queue().MergeStates(merge).ok());
      step.Check(rank * own, own, memory.Download(merge.out), true);
    });
  }
}

}  // namespace
}  // namespace weft::testing
