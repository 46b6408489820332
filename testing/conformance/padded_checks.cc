// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/padded_checks.h"

#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/attention_layer.h"
#include "core/attention_metadata.h"
#include "core/status_macros.h"
#include "core/step_buffers.h"
#include "testing/compare.h"
#include "testing/conformance/random.h"
#include "testing/conformance/state_data.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

constexpr int64_t kHeads = 4, kKvHeads = 2, kSize = 64, kBlock = 16;
constexpr int64_t kBlocks = 80, kMaxRows = 40, kMaxSlots = kMaxRows;
constexpr DType kDType = DType::kF16;

AttentionSpec Spec() {
  AttentionSpec spec;
  spec.num_heads = kHeads;
  spec.num_kv_heads = kKvHeads;
  spec.head_size = kSize;
  return spec;
}

// Tensors of kMaxRows rows, full of numbers, and a cache.
struct Bench {
  std::unique_ptr<Queue> queue;
  std::unique_ptr<Buffer> query, key, value, out, lse, cache;
  AttentionIo io;

  static absl::StatusOr<Bench> Create(Backend& backend, const KvCacheLayout& layout) {
    Bench bench;
    ASSIGN_OR_RETURN(bench.queue, backend.CreateQueue());
    RandomStream random({7, 0xfade});
    const auto fill = [&](int64_t rows, int64_t heads) {
      return Upload(backend, *bench.queue, StateValues(kDType, rows, heads, kSize, false, random));
    };
    ASSIGN_OR_RETURN(bench.query, fill(kMaxRows, kHeads));
    ASSIGN_OR_RETURN(bench.key, fill(kMaxRows, kKvHeads));
    ASSIGN_OR_RETURN(bench.value, fill(kMaxRows, kKvHeads));
    ASSIGN_OR_RETURN(bench.cache, fill(2 * kBlocks * kBlock, kKvHeads));
    ASSIGN_OR_RETURN(bench.out,
                     AllocatePoisoned(backend, *bench.queue, kMaxRows * kHeads * kSize * 2));
    ASSIGN_OR_RETURN(bench.lse, AllocatePoisoned(backend, *bench.queue, kMaxRows * kHeads * 4));
    const auto rows = [&](const Buffer& buffer, int64_t heads) {
      return TensorView::Contiguous(buffer.address(), kDType, {kMaxRows, heads, kSize},
                                    backend.device());
    };
    ASSIGN_OR_RETURN(bench.io.query, rows(*bench.query, kHeads));
    ASSIGN_OR_RETURN(bench.io.out, rows(*bench.out, kHeads));
    ASSIGN_OR_RETURN(bench.io.key, rows(*bench.key, kKvHeads));
    ASSIGN_OR_RETURN(bench.io.value, rows(*bench.value, kKvHeads));
    ASSIGN_OR_RETURN(bench.io.lse, TensorView::Contiguous(bench.lse->address(), DType::kF32,
                                                          {kMaxRows, kHeads}, backend.device()));
    ASSIGN_OR_RETURN(bench.io.cache, KvCacheView::OneAllocation(layout, bench.cache->address(),
                                                                kBlocks, backend.device()));
    RETURN_IF_ERROR(Finish(*bench.queue));
    return bench;
  }

  // Everything that a step may write: out, LSE and cache, one after the other.
  absl::StatusOr<std::vector<uint8_t>> Run(const AttentionLayer& layer, StepBuffers& step,
                                           std::shared_ptr<const Plan> plan) {
    RETURN_IF_ERROR(queue->Fill(out->address(), out->size_bytes(), kPoison));
    RETURN_IF_ERROR(queue->Fill(lse->address(), lse->size_bytes(), kPoison));
    RETURN_IF_ERROR(step.Update(*queue, std::move(plan)));
    RETURN_IF_ERROR(layer.Forward(*queue, step, io));
    std::vector<uint8_t> all;
    for (const Buffer* buffer : {out.get(), lse.get(), cache.get()}) {
      ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes,
                       Download(*queue, buffer->address(), buffer->size_bytes()));
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
  }
};

struct Part {
  RequestKind kind;
  int64_t new_tokens, computed;
};

absl::StatusOr<std::shared_ptr<const Plan>> PlanOf(const AttentionLayer& layer,
                                                   const std::vector<Part>& parts,
                                                   int64_t num_blocks = kBlocks) {
  std::vector<int32_t> ids(static_cast<size_t>(kBlocks));
  std::iota(ids.rbegin(), ids.rend(), 0);
  RequestBatch batch;
  size_t next = 0;
  for (const Part& part : parts) {
    const auto blocks =
        static_cast<size_t>((part.new_tokens + part.computed + kBlock - 1) / kBlock);
    batch.requests.push_back({part.kind, part.new_tokens, part.computed,
                              absl::MakeConstSpan(ids).subspan(next, blocks)});
    next += blocks;
  }
  ASSIGN_OR_RETURN(const AttentionMetadata metadata,
                   AttentionMetadataBuilder(layer.layout(), num_blocks).Build(batch));
  return layer.MakePlan(metadata);
}

}  // namespace

absl::Status CheckPadded(Backend& backend) {
  ASSIGN_OR_RETURN(const KvCacheLayout layout, KvCacheLayout::Nhd(kDType, kBlock, kKvHeads, kSize));
  const std::shared_ptr<Backend> shared = backend.shared_from_this();
  ASSIGN_OR_RETURN(const AttentionLayer layer, AttentionLayer::Create(shared, Spec(), layout));
  ASSIGN_OR_RETURN(Bench bench, Bench::Create(backend, layout));
  ASSIGN_OR_RETURN(StepLimits limits,
                   StepLimits::For(Spec(), layout, 1, kMaxRows, 4, kBlocks * kBlock, 4));
  ASSIGN_OR_RETURN(const auto plain, StepBuffers::Create(shared, limits));
  limits.pad = true;
  ASSIGN_OR_RETURN(const auto padded, StepBuffers::Create(shared, limits));

  constexpr RequestKind kDecode = RequestKind::kDecode, kPrefill = RequestKind::kPrefill;
  const std::vector<std::vector<Part>> steps = {
      {{kDecode, 1, 600}, {kPrefill, 20, 0}},
      {{kPrefill, 7, 9}, {kDecode, 1, 30}, {kDecode, 1, 529}},
      {{kPrefill, 33, 3}},
      {{kDecode, 1, 700}},
      {},
  };
  for (size_t i = 0; i < steps.size(); ++i) {
    ASSIGN_OR_RETURN(const auto plan, PlanOf(layer, steps[i]));
    ASSIGN_OR_RETURN(const std::vector<uint8_t> expected, bench.Run(layer, *plain, plan));
    ASSIGN_OR_RETURN(const std::vector<uint8_t> actual, bench.Run(layer, *padded, plan));
    if (actual != expected) {
      return absl::FailedPreconditionError(
          absl::StrCat("step ", i, " has other bits when its tables are filled up"));
    }
    const AttentionTables& tables = padded->tables();
    if (tables.tiles.extent(0) != limits.max_tiles ||
        tables.decode_rows.extent(0) != limits.max_decode_rows ||
        tables.decode_splits.extent(0) != limits.max_decode_splits ||
        tables.num_partials != limits.max_decode_splits || padded->slots().extent(0) != kMaxSlots ||
        padded->num_rows() != kMaxRows) {
      return absl::FailedPreconditionError(
          absl::StrCat("step ", i, " does not show the numbers of its limits"));
    }
  }
  ASSIGN_OR_RETURN(const auto other, PlanOf(layer, steps[3], kBlocks + 1));
  const absl::Status refused = padded->Update(*bench.queue, other);
  if (refused.code() != absl::StatusCode::kFailedPrecondition) {
    return absl::FailedPreconditionError(
        absl::StrCat("a plan for another cache than the captured one: ", refused.ToString()));
  }
  return absl::OkStatus();
}

}  // namespace weft::testing
