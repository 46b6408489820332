// SPDX-License-Identifier: Apache-2.0
//
// A stranger's engine: two requests share a paged cache over four steps, on each backend that this
// program links. It sees of weft only what every other workspace sees.
//
// The data are such that the answer is known: with a query of e0, a scale of 1 and the logarithm of
// j + 1 in dimension 0 of key j, key j has the weight j + 1. Its value is j everywhere. A row at
// position p then is (sum of j (j + 1)) / (sum of (j + 1)) over j <= p = 2p / 3, and its LSE is the
// logarithm of (p + 1)(p + 2) / 2.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/attention_layer.h"
#include "core/attention_metadata.h"
#include "core/attention_spec.h"
#include "core/backend.h"
#include "core/dtype.h"
#include "core/kv_cache.h"
#include "core/plan.h"
#include "core/queue.h"
#include "core/registry.h"
#include "core/request_batch.h"
#include "core/step_buffers.h"
#include "core/tensor_view.h"
#include "vulkan/software_device.h"

namespace {

constexpr int64_t kHeads = 4, kKvHeads = 2, kHeadSize = 64;
constexpr int64_t kBlockSize = 4, kNumBlocks = 8, kMaxRows = 16, kMaxSeqLen = 32;

// This program ends at the first error.
void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << "\n";
  std::exit(1);
}

template <typename T>
T Check(absl::StatusOr<T> result) {
  Check(result.status());
  return *std::move(result);
}

// A request and the blocks that the engine gave to it.
struct Sequence {
  int64_t num_computed = 0;
  std::vector<int32_t> blocks;
};

class Engine {
 public:
  explicit Engine(std::shared_ptr<weft::Backend> backend)
      : backend_(std::move(backend)),
        layout_(
            Check(weft::KvCacheLayout::Nhd(weft::DType::kF32, kBlockSize, kKvHeads, kHeadSize))),
        layer_(Check(weft::AttentionLayer::Create(backend_, Spec(), layout_))),
        step_(Check(weft::StepBuffers::Create(
            backend_, Check(weft::StepLimits::For(Spec(), layout_, /*world_size=*/1, kMaxRows,
                                                  /*max_requests=*/2, kMaxSeqLen,
                                                  /*max_decode_tokens=*/2))))),
        queue_(Check(backend_->CreateQueue())) {
    io_.query = Tensor({kMaxRows, kHeads, kHeadSize});
    io_.key = Tensor({kMaxRows, kKvHeads, kHeadSize});
    io_.value = Tensor({kMaxRows, kKvHeads, kHeadSize});
    io_.out = Tensor({kMaxRows, kHeads, kHeadSize});
    io_.lse = Tensor({kMaxRows, kHeads});
    const int64_t cache_bytes = kNumBlocks * layout_.bytes_per_block();
    const uint64_t cache = Allocate(cache_bytes);
    Check(queue_->Fill(cache, cache_bytes, 0x7fc00000u));  // NaN, should anybody read too far
    io_.cache =
        Check(weft::KvCacheView::OneAllocation(layout_, cache, kNumBlocks, backend_->device()));
  }

  // Runs `num_new` more tokens of each sequence, given as (sequence, num_new).
  void Step(const std::vector<std::pair<Sequence*, int64_t>>& work) {
    weft::RequestBatch batch;
    std::vector<int64_t> positions;
    for (const auto& [sequence, num_new] : work) {
      weft::Request request;
      request.kind = sequence->num_computed > 0 && num_new == 1 ? weft::RequestKind::kDecode
                                                                : weft::RequestKind::kPrefill;
      request.num_new_tokens = num_new;
      request.num_computed_tokens = sequence->num_computed;
      while (static_cast<int64_t>(sequence->blocks.size()) * kBlockSize <
             sequence->num_computed + num_new) {
        sequence->blocks.push_back(next_block_--);
      }
      request.block_ids = sequence->blocks;
      batch.requests.push_back(request);
      for (int64_t i = 0; i < num_new; ++i) positions.push_back(sequence->num_computed + i);
      sequence->num_computed += num_new;
    }
    const weft::AttentionMetadata metadata =
        Check(weft::AttentionMetadataBuilder(layout_, kNumBlocks).Build(batch));
    const std::shared_ptr<const weft::Plan> plan = Check(layer_.MakePlan(metadata));

    Upload(positions);
    Check(step_->Update(*queue_, plan));
    Check(layer_.Forward(*queue_, *step_, io_));
    Verify(positions);
  }

 private:
  static weft::AttentionSpec Spec() {
    weft::AttentionSpec spec;
    spec.num_heads = kHeads;
    spec.num_kv_heads = kKvHeads;
    spec.head_size = kHeadSize;
    spec.dtype = spec.kv_dtype = weft::DType::kF32;
    spec.scale = 1.0f;
    return spec;
  }

  uint64_t Allocate(int64_t bytes) {
    memory_.push_back(Check(backend_->Allocate(bytes)));
    return memory_.back()->address();
  }

  weft::TensorView Tensor(const std::vector<int64_t>& shape) {
    int64_t bytes = sizeof(float);
    for (int64_t extent : shape) bytes *= extent;
    return Check(weft::TensorView::Contiguous(Allocate(bytes), weft::DType::kF32, shape,
                                              backend_->device()));
  }

  void Copy(const std::vector<float>& from, const weft::TensorView& to) {
    Check(queue_->CopyFromHost(to.address(), {reinterpret_cast<const uint8_t*>(from.data()),
                                              from.size() * sizeof(float)}));
  }

  // The rows of this step, made up from their positions.
  void Upload(const std::vector<int64_t>& positions) {
    std::vector<float> query(positions.size() * kHeads * kHeadSize);
    for (size_t i = 0; i < query.size(); i += kHeadSize) query[i] = 1.0f;
    std::vector<float> key(positions.size() * kKvHeads * kHeadSize);
    std::vector<float> value(key.size());
    for (size_t i = 0; i < key.size(); ++i) {
      const int64_t position = positions[i / (kKvHeads * kHeadSize)];
      if (i % kHeadSize == 0) key[i] = std::log(static_cast<float>(position + 1));
      value[i] = static_cast<float>(position);
    }
    Copy(query, io_.query);
    Copy(key, io_.key);
    Copy(value, io_.value);
  }

  std::vector<float> Download(const weft::TensorView& from, size_t count) {
    std::vector<float> to(count);
    Check(queue_->CopyToHost({reinterpret_cast<uint8_t*>(to.data()), count * sizeof(float)},
                             from.address()));
    Check(queue_->Submit());
    Check(queue_->Wait(absl::Now() + absl::Seconds(120)));
    return to;
  }

  void Verify(const std::vector<int64_t>& positions) {
    const std::vector<float> out = Download(io_.out, positions.size() * kHeads * kHeadSize);
    const std::vector<float> lse = Download(io_.lse, positions.size() * kHeads);
    for (size_t i = 0; i < out.size(); ++i) {
      const double p = static_cast<double>(positions[i / (kHeads * kHeadSize)]);
      Expect("out", i, out[i], 2.0 * p / 3.0);
    }
    for (size_t i = 0; i < lse.size(); ++i) {
      const double p = static_cast<double>(positions[i / kHeads]);
      Expect("lse", i, lse[i], std::log((p + 1) * (p + 2) / 2));
    }
  }

  static void Expect(const char* what, size_t place, double got, double want) {
    if (std::abs(got - want) <= 1e-4 * (1.0 + want)) return;  // false for NaN
    std::cerr << what << "[" << place << "] is " << got << ", not " << want << "\n";
    std::exit(1);
  }

  std::shared_ptr<weft::Backend> backend_;
  weft::KvCacheLayout layout_;
  weft::AttentionLayer layer_;
  std::unique_ptr<weft::StepBuffers> step_;
  std::unique_ptr<weft::Queue> queue_;
  std::vector<std::unique_ptr<weft::Buffer>> memory_;
  weft::AttentionIo io_;
  int32_t next_block_ = kNumBlocks - 1;  // from the end, so that ids are no positions
};

void Run(std::shared_ptr<weft::Backend> backend) {
  Engine engine(std::move(backend));
  Sequence a, b;
  engine.Step({{&a, 6}});           // a prompt
  engine.Step({{&a, 1}, {&b, 3}});  // a decode beside another prompt
  engine.Step({{&b, 4}, {&a, 1}});  // its second chunk, over what the cache holds
  engine.Step({{&a, 1}, {&b, 1}});  // two decodes, each with a block of its own to begin
}

bool IsRequired(std::string_view backend) {
  const char* required = std::getenv("WEFT_REQUIRE_BACKENDS");
  return required != nullptr && std::string_view(required).find(backend) != std::string_view::npos;
}

}  // namespace

int main() {
  // For a machine without a GPU whose build carries a device in software; otherwise it changes
  // nothing, and says why.
  std::cerr << "bundled Vulkan device: " << weft::vulkan::UseBundledSoftwareDevice() << "\n";
  for (const char* name : {"reference", "vulkan"}) {
    absl::StatusOr<std::shared_ptr<weft::Backend>> backend = weft::Registry::Default().Create(name);
    if (absl::IsUnavailable(backend.status()) && !IsRequired(name)) {
      std::cerr << name << ": not here: " << backend.status() << "\n";
      continue;
    }
    Run(Check(std::move(backend)));
    std::cerr << name << ": all rows as computed by hand\n";
  }
  return 0;
}
