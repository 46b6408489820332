// SPDX-License-Identifier: Apache-2.0
//
// Attention in 60 lines: a prompt of 5 tokens goes through one layer. All keys are 0, so that a row
// weighs what it sees evenly, and the value of token j is j: row p must be the mean of 0 .. p.
//
//   bazel run //examples:attention -- vulkan
#include "core/attention_layer.h"
#include "core/registry.h"
#include "examples/tensors.h"
#include "vulkan/software_device.h"

using weft::examples::Check;

int main(int argc, char** argv) {
  weft::vulkan::UseBundledSoftwareDevice().IgnoreError();  // a machine without a GPU has one then
  auto backend = Check(weft::Registry::Default().Create(argc > 1 ? argv[1] : "reference"));
  auto queue = Check(backend->CreateQueue());

  // What is constant for a layer: 4 query heads of 32 dimensions share 2 heads of keys and values.
  weft::AttentionSpec spec;
  spec.num_heads = 4, spec.num_kv_heads = 2, spec.head_size = 32;
  spec.dtype = spec.kv_dtype = weft::DType::kF32;
  // A cache of 8 blocks, each of which holds 4 tokens.
  auto layout = Check(weft::KvCacheLayout::Nhd(spec.kv_dtype, 4, 2, 32));
  auto memory = Check(backend->Allocate(8 * layout.bytes_per_block()));
  auto layer = Check(weft::AttentionLayer::Create(backend, spec, layout));  // compiles its kernels

  // What is new in a step: one request, 5 tokens of it, in the blocks 6 and 1.
  const std::vector<int32_t> blocks = {6, 1};
  weft::RequestBatch batch;
  batch.requests.resize(1);
  batch.requests[0].num_new_tokens = 5;
  batch.requests[0].block_ids = blocks;
  auto metadata = Check(weft::AttentionMetadataBuilder(layout, 8).Build(batch));  // checks it all
  auto plan = Check(layer.MakePlan(metadata));
  auto limits = Check(weft::StepLimits::For(spec, layout, 1, 64, 8, 32, 8));  // of any step
  auto step = Check(weft::StepBuffers::Create(backend, limits));
  Check(step->Update(*queue, plan));

  std::vector<float> values;
  for (int token = 0; token < 5; ++token) values.insert(values.end(), 2 * 32, float(token));
  weft::examples::Tensors tensors(*backend, *queue);
  weft::AttentionIo io;
  io.query = tensors.Upload(weft::examples::Numbers(5 * 4 * 32, 1), {5, 4, 32});
  io.key = tensors.Upload(std::vector<float>(5 * 2 * 32, 0.0f), {5, 2, 32});
  io.value = tensors.Upload(values, {5, 2, 32});
  io.out = tensors.New({5, 4, 32});
  io.cache =
      Check(weft::KvCacheView::OneAllocation(layout, memory->address(), 8, memory->device()));
  Check(layer.Forward(*queue, *step, io));  // for each layer; records only

  const std::vector<float> out = tensors.Download(io.out);  // submits, and waits
  std::vector<float> expected;
  for (int row = 0; row < 5; ++row) expected.insert(expected.end(), 4 * 32, float(row) / 2);
  for (int row = 0; row < 5; ++row) std::cout << "row " << row << ": " << out[row * 128] << "\n";
  return weft::examples::Compare(out, expected, 1e-6f);
}
