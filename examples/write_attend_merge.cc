// SPDX-License-Identifier: Apache-2.0
//
// Write, attend, merge: a row's keys may be attended to in parts, and the parts merged. Six tokens
// of a request are in the cache; four new ones come. Once everything is read through the cache in
// one operation, once the context and the new tokens are attended to apart: the same result.
//
//   bazel run //examples:write_attend_merge -- vulkan
#include "core/attention_layer.h"
#include "core/registry.h"
#include "examples/tensors.h"
#include "vulkan/software_device.h"

namespace {

using weft::examples::Check;
using weft::examples::Tensors;

constexpr int64_t kContext = 6, kNew = 4, kHeads = 4, kKvHeads = 2, kSize = 32;

struct Device {
  std::shared_ptr<weft::Backend> backend;
  std::unique_ptr<weft::Queue> queue;
  std::unique_ptr<weft::StepBuffers> step;  // one is enough: a queue runs things in order
};

// Plans for a part of the keys and attends to them. `io` has query, cache, out and lse, and key and
// value where they are to be written to the cache before.
void Attend(Device& device, const weft::AttentionLayer& layer,
            const weft::AttentionMetadata& metadata, weft::KeyScope keys,
            const weft::AttentionIo& io) {
  weft::PlanOptions options;
  options.keys = keys;
  Check(device.step->Update(*device.queue, Check(layer.MakePlan(metadata, options))));
  Check(io.key.given() ? layer.Forward(*device.queue, *device.step, io)
                       : layer.Attend(*device.queue, *device.step, io));
}

}  // namespace

int main(int argc, char** argv) {
  weft::vulkan::UseBundledSoftwareDevice().IgnoreError();
  Device device;
  device.backend = Check(weft::Registry::Default().Create(argc > 1 ? argv[1] : "reference"));
  device.queue = Check(device.backend->CreateQueue());
  Tensors tensors(*device.backend, *device.queue);

  weft::AttentionSpec spec;
  spec.num_heads = kHeads, spec.num_kv_heads = kKvHeads, spec.head_size = kSize;
  spec.dtype = spec.kv_dtype = weft::DType::kF32;
  const auto layout = Check(weft::KvCacheLayout::Nhd(spec.kv_dtype, 4, kKvHeads, kSize));
  const auto layer = Check(weft::AttentionLayer::Create(device.backend, spec, layout));
  // The new tokens' own tensors are a cache, too: of blocks of one token.
  const auto rows = Check(weft::KvCacheLayout::Rows(spec.dtype, kKvHeads, kSize, kKvHeads * kSize,
                                                    kSize, kKvHeads * kSize, kSize));
  const auto fresh_layer = Check(weft::AttentionLayer::Create(device.backend, spec, rows));
  device.step = Check(weft::StepBuffers::Create(
      device.backend, Check(weft::StepLimits::For(spec, layout, 1, 16, 4, 16, 4))));
  const auto memory = Check(device.backend->Allocate(4 * layout.bytes_per_block()));
  const auto cache =
      Check(weft::KvCacheView::OneAllocation(layout, memory->address(), 4, memory->device()));

  const std::vector<int32_t> blocks = {2, 0, 3};
  weft::RequestBatch batch;
  batch.requests.resize(1);
  batch.requests[0].block_ids = blocks;
  const weft::AttentionMetadataBuilder builder(layout, 4);

  // The context, by a step of its own; its result does not matter here.
  batch.requests[0].num_new_tokens = kContext;
  weft::AttentionIo io;
  io.query = tensors.New({kContext, kHeads, kSize});
  io.key = tensors.Upload(weft::examples::Numbers(kContext * kKvHeads * kSize, 1),
                          {kContext, kKvHeads, kSize});
  io.value = tensors.Upload(weft::examples::Numbers(kContext * kKvHeads * kSize, 2),
                            {kContext, kKvHeads, kSize});
  io.out = tensors.New({kContext, kHeads, kSize});
  io.cache = cache;
  Attend(device, layer, Check(builder.Build(batch)), weft::KeyScope::kAll, io);

  batch.requests[0].num_computed_tokens = kContext;
  batch.requests[0].num_new_tokens = kNew;
  const auto metadata = Check(builder.Build(batch));
  const weft::TensorView key =
      tensors.Upload(weft::examples::Numbers(kNew * kKvHeads * kSize, 3), {kNew, kKvHeads, kSize});
  const weft::TensorView value =
      tensors.Upload(weft::examples::Numbers(kNew * kKvHeads * kSize, 4), {kNew, kKvHeads, kSize});
  io.query =
      tensors.Upload(weft::examples::Numbers(kNew * kHeads * kSize, 5), {kNew, kHeads, kSize});

  // The parts: each a result of its own, and the logarithm of what it summed.
  weft::AttentionIo context = io;
  context.key = context.value = {};
  context.out = tensors.New({kNew, kHeads, kSize});
  context.lse = tensors.New({kNew, kHeads});
  Attend(device, layer, metadata, weft::KeyScope::kContext, context);
  weft::AttentionIo fresh = context;
  fresh.out = tensors.New({kNew, kHeads, kSize});
  fresh.lse = tensors.New({kNew, kHeads});
  fresh.cache = Check(weft::KvCacheView::Create(
      rows, key.device(), {weft::KvSegment{key.address(), value.address(), kNew}}));
  Attend(device, fresh_layer, metadata, weft::KeyScope::kNew, fresh);

  weft::MergeStatesArgs merge;
  merge.a = context.out, merge.a_lse = context.lse;
  merge.b = fresh.out, merge.b_lse = fresh.lse;
  merge.out = tensors.New({kNew, kHeads, kSize});
  Check(device.queue->MergeStates(merge));

  // All at once: the new tokens are written first, and then read with the others.
  io.key = key, io.value = value;
  io.out = tensors.New({kNew, kHeads, kSize});
  Attend(device, layer, metadata, weft::KeyScope::kAll, io);

  const std::vector<float> merged = tensors.Download(merge.out), whole = tensors.Download(io.out);
  std::cout << "last row, merged: " << merged.back() << ", at once: " << whole.back() << "\n";
  return weft::examples::Compare(merged, whole, 1e-5f);
}
