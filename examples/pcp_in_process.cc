// SPDX-License-Identifier: Apache-2.0
//
// Prefill context parallelism with two ranks, which are threads here: each computes half of the
// rows of a step, so dealt that both have the same work, and both end with all of the result. It is
// bit by bit what one rank alone computes.
//
//   bazel run //examples:pcp_in_process -- vulkan
#include <thread>

#include "collectives/in_process.h"
#include "collectives/pcp_manager.h"
#include "core/attention_layer.h"
#include "core/registry.h"
#include "examples/tensors.h"
#include "vulkan/software_device.h"

namespace {

using weft::examples::Check;
using weft::examples::Tensors;

constexpr int64_t kHeads = 4, kKvHeads = 2, kSize = 32, kBlocks = 16;
// A prompt of 11 tokens, and one of 6.
constexpr int64_t kTokens = 17;

absl::Time Soon() { return absl::Now() + absl::Seconds(60); }

weft::RequestBatch Batch() {
  static const auto* const first = new std::vector<int32_t>{3, 9, 1};
  static const auto* const second = new std::vector<int32_t>{0, 12};
  weft::RequestBatch batch;
  batch.requests.resize(2);
  batch.requests[0].num_new_tokens = 11;
  batch.requests[0].block_ids = *first;
  batch.requests[1].num_new_tokens = 6;
  batch.requests[1].block_ids = *second;
  return batch;
}

// The rows of this rank, out of those of the whole step. Padding rows are copies that nobody reads.
std::vector<float> Take(const std::vector<float>& all, const std::vector<weft::PcpRow>& rows) {
  const int64_t width = static_cast<int64_t>(all.size()) / kTokens;
  std::vector<float> mine;
  for (const weft::PcpRow& row : rows) {
    const auto begin = all.begin() + row.source * width;
    mine.insert(mine.end(), begin, begin + width);
  }
  return mine;
}

// One rank's step; returns the attention of all tokens.
std::vector<float> Run(const std::shared_ptr<weft::Backend>& backend,
                       weft::Communicator& communicator) {
  const int64_t world = communicator.world_size(), rank = communicator.rank();
  auto queue = Check(backend->CreateQueue());
  Tensors tensors(*backend, *queue);
  weft::AttentionSpec spec;
  spec.num_heads = kHeads, spec.num_kv_heads = kKvHeads, spec.head_size = kSize;
  spec.dtype = spec.kv_dtype = weft::DType::kF32;
  const auto layout = Check(weft::KvCacheLayout::Nhd(spec.kv_dtype, 4, kKvHeads, kSize));
  const auto layer = Check(weft::AttentionLayer::Create(backend, spec, layout));
  const auto memory = Check(backend->Allocate(kBlocks * layout.bytes_per_block()));

  // Once a step: who computes what.
  const auto metadata = Check(weft::AttentionMetadataBuilder(layout, kBlocks).Build(Batch()));
  const auto partition = Check(weft::PcpPartition::Build(ShapesOf(metadata), world));
  const int64_t rows = partition.local_total();
  weft::PcpManagerOptions options;
  options.max_padded_tokens = 64;
  options.max_hidden_row_bytes = kHeads * kSize * 4;
  auto manager = Check(weft::PcpManager::Create(backend, &communicator, options));
  Check(manager->SetPartition(*queue, partition));
  const auto limits = Check(weft::StepLimits::For(spec, layout, world, 64, 8, 32, 8));
  auto step = Check(weft::StepBuffers::Create(backend, limits));
  Check(step->Update(*queue, Check(layer.MakePlan(metadata, &partition, rank))));

  // Each layer: the rank's rows of query, key and value; keys and values go to everyone.
  const std::vector<weft::PcpRow> mine = partition.Rows(rank);
  const auto upload = [&](int64_t heads, uint32_t seed) {
    return tensors.Upload(Take(weft::examples::Numbers(kTokens * heads * kSize, seed), mine),
                          {rows, heads, kSize});
  };
  weft::AttentionIo io;
  io.query = upload(kHeads, 1);
  io.key = tensors.New({world * rows, kKvHeads, kSize});
  io.value = tensors.New({world * rows, kKvHeads, kSize});
  Check(communicator.AllGather(*queue, upload(kKvHeads, 2), io.key, Soon()));
  Check(communicator.AllGather(*queue, upload(kKvHeads, 3), io.value, Soon()));
  io.out = tensors.New({rows, kHeads, kSize});
  io.cache =
      Check(weft::KvCacheView::OneAllocation(layout, memory->address(), kBlocks, memory->device()));
  Check(layer.Forward(*queue, *step, io));

  // Once a step: everyone's rows, in the order of the step, without padding.
  const weft::TensorView all = tensors.New({kTokens, kHeads, kSize});
  Check(manager->RestoreHiddenStates(*queue, io.out, all, Soon()));
  return tensors.Download(all);
}

std::vector<float> RunGroup(const std::shared_ptr<weft::Backend>& backend, int64_t world) {
  auto group = weft::CreateInProcessGroup(world);
  std::vector<std::vector<float>> results(world);
  std::vector<std::thread> ranks;
  for (auto& communicator : group) {
    ranks.emplace_back([&backend, &results, end = communicator.get()] {
      results[end->rank()] = Run(backend, *end);
    });
  }
  for (std::thread& rank : ranks) rank.join();
  for (const std::vector<float>& result : results) {
    if (result != results[0]) Check(absl::InternalError("the ranks do not agree"));
  }
  return results[0];
}

}  // namespace

int main(int argc, char** argv) {
  weft::vulkan::UseBundledSoftwareDevice().IgnoreError();
  const auto backend = Check(weft::Registry::Default().Create(argc > 1 ? argv[1] : "reference"));
  const auto metadata =
      Check(weft::AttentionMetadataBuilder(
                Check(weft::KvCacheLayout::Nhd(weft::DType::kF32, 4, kKvHeads, kSize)), kBlocks)
                .Build(Batch()));
  std::cout << Check(weft::PcpPartition::Build(ShapesOf(metadata), 2)).ToString() << "\n";
  return weft::examples::Compare(RunGroup(backend, 2), RunGroup(backend, 1), 0.0f);
}
