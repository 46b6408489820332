// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/operation_checks.h"

#include <cstring>
#include <memory>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/attention_layer.h"
#include "core/status_macros.h"
#include "core/step_buffers.h"
#include "testing/conformance/correct_checks.h"
#include "testing/conformance/merge_checks.h"
#include "testing/conformance/padded_checks.h"
#include "testing/conformance/quantize_checks.h"
#include "testing/conformance/random.h"
#include "testing/conformance/state_data.h"
#include "testing/conformance/strided_image.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

// ---- Capture -----------------------------------------------------------------------------------

constexpr int64_t kHeads = 4, kKvHeads = 2, kSize = 64, kBlock = 16;
constexpr int64_t kRequests = 3, kQueryLen = 4;

// What a captured step has: all requests read blocks 0, 1, ...
struct Captured {
  std::unique_ptr<Queue> queue;
  std::unique_ptr<StepBuffers> step;
  std::unique_ptr<Buffer> cache;
  StridedImage query, out;
  AttentionIo io;
  std::vector<uint8_t> values;  // f16 [kBlock, kKvHeads, kSize]
};

absl::Status FillCache(Backend& backend, const KvCacheLayout& layout, Captured& run) {
  RandomStream random({5, 0xcab});
  run.values = StateValues(DType::kF16, kBlock, kKvHeads, kSize, false, random);
  std::vector<uint8_t> block = StateValues(DType::kF16, kBlock, kKvHeads, kSize, false, random);
  block.insert(block.end(), run.values.begin(), run.values.end());
  ASSIGN_OR_RETURN(run.cache, Upload(backend, *run.queue, block));
  ASSIGN_OR_RETURN(run.io.cache,
                   KvCacheView::OneAllocation(layout, run.cache->address(), 1, backend.device()));
  return absl::OkStatus();
}

// Row 0 of each request sees the first key alone; requests are alike.
absl::Status CheckCapturedRows(const Captured& run) {
  for (int64_t row = 0; row < kRequests * kQueryLen; ++row) {
    const std::vector<uint8_t> bytes = run.out.Row(row);
    if (bytes != run.out.Row(row % kQueryLen)) {
      return absl::FailedPreconditionError(
          absl::StrCat("row ", row, " of a captured step is not as in request 0"));
    }
    if (row % kQueryLen != 0) continue;
    for (int64_t head = 0; head < kHeads; ++head) {
      const size_t size = kSize * 2;
      const int64_t kv_head = head / (kHeads / kKvHeads);
      if (std::memcmp(&bytes[head * size], &run.values[kv_head * size], size) == 0) continue;
      return absl::FailedPreconditionError(absl::StrCat(
          "head ", head, " of row ", row, ", which sees one key alone, is not that key's value"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckCapture(Backend& backend) {
  AttentionSpec spec;
  spec.num_heads = kHeads;
  spec.num_kv_heads = kKvHeads;
  spec.head_size = kSize;
  spec.shares_kv_cache = true;  // a captured step's blocks are for reading only
  ASSIGN_OR_RETURN(const KvCacheLayout layout,
                   KvCacheLayout::Nhd(DType::kF16, kBlock, kKvHeads, kSize));
  ASSIGN_OR_RETURN(const AttentionLayer layer,
                   AttentionLayer::Create(backend.shared_from_this(), spec, layout));
  Captured run;
  ASSIGN_OR_RETURN(run.queue, backend.CreateQueue());
  const int64_t rows = kRequests * kQueryLen;
  ASSIGN_OR_RETURN(const StepLimits limits,
                   StepLimits::For(spec, layout, 1, rows, kRequests, kBlock, rows));
  ASSIGN_OR_RETURN(run.step, StepBuffers::Create(backend.shared_from_this(), limits));
  RETURN_IF_ERROR(FillCache(backend, layout, run));
  const std::vector<int64_t> extents = {rows, kHeads, kSize}, strides = {kHeads * kSize, kSize, 1};
  run.query = StridedImage(DType::kF16, extents, strides);
  run.out = StridedImage(DType::kF16, extents, strides);
  RandomStream random({6, 0xcab});
  const std::vector<uint8_t> one =
      StateValues(DType::kF16, kQueryLen, kHeads, kSize, false, random);
  const auto row_bytes = static_cast<size_t>(run.query.row_bytes());
  for (int64_t row = 0; row < rows; ++row) {
    const auto from = static_cast<size_t>(row % kQueryLen) * row_bytes;
    run.query.SetRow(row, absl::MakeConstSpan(one).subspan(from, row_bytes));
  }
  ASSIGN_OR_RETURN(run.io.query, run.query.ToDevice(backend, *run.queue));
  ASSIGN_OR_RETURN(run.io.out, run.out.ToDevice(backend, *run.queue));

  const AttentionMetadataBuilder builder(layout, 1);
  ASSIGN_OR_RETURN(const AttentionMetadata shapes,
                   builder.BuildForGraphCapture(kRequests, kQueryLen));
  ASSIGN_OR_RETURN(const std::shared_ptr<const Plan> plan, layer.MakePlan(shapes));
  RETURN_IF_ERROR(run.step->Update(*run.queue, plan));
  const AttentionTables before = run.step->tables();
  RETURN_IF_ERROR(layer.Forward(*run.queue, *run.step, run.io));
  RETURN_IF_ERROR(run.out.FromDevice(*run.queue));
  RETURN_IF_ERROR(CheckCapturedRows(run));

  // A real step at the same addresses: one row, whose bits are those of the captured row.
  const std::vector<uint8_t> captured = run.out.Row(kQueryLen - 1);
  const std::vector<int32_t> blocks = {0};
  RequestBatch batch;
  batch.requests = {{RequestKind::kPrefill, kQueryLen, 0, blocks}};
  ASSIGN_OR_RETURN(const AttentionMetadata metadata, builder.Build(batch));
  ASSIGN_OR_RETURN(const std::shared_ptr<const Plan> real, layer.MakePlan(metadata));
  RETURN_IF_ERROR(run.step->Update(*run.queue, real));
  if (run.step->tables().tiles.address() != before.tiles.address() ||
      run.step->tables().blocks.address() != before.blocks.address()) {
    return absl::FailedPreconditionError("the tables of a step have moved");
  }
  RETURN_IF_ERROR(run.queue->Fill(run.io.out.address(), run.io.out.span_bytes(), kPoison));
  RETURN_IF_ERROR(layer.Forward(*run.queue, *run.step, run.io));
  RETURN_IF_ERROR(run.out.FromDevice(*run.queue));
  if (run.out.Row(kQueryLen - 1) != captured) {
    return absl::FailedPreconditionError("a row differs from the same row of a captured step");
  }
  return run.out.CheckPoison("out", kQueryLen);
}

// ---- Bad arguments -----------------------------------------------------------------------------

// Buffers that views of any shape may be made on.
struct Scratch {
  Backend& backend;
  std::unique_ptr<Queue> queue;
  std::vector<std::unique_ptr<Buffer>> buffers;
  std::string failures;

  absl::StatusOr<TensorView> New(DType dtype, const std::vector<int64_t>& extents) {
    ASSIGN_OR_RETURN(buffers.emplace_back(), AllocatePoisoned(backend, *queue, 4096));
    return TensorView::Contiguous(buffers.back()->address(), dtype, extents, backend.device());
  }
  void Expect(std::string_view what, const absl::Status& status, std::string_view part) {
    if (absl::IsInvalidArgument(status) && absl::StrContains(status.message(), part)) return;
    absl::StrAppend(&failures, "\n  ", what, ": got ", status.ToString(),
                    ", expected INVALID_ARGUMENT with \"", part, "\"");
  }
};

absl::Status BadMerges(Scratch& s) {
  MergeStatesArgs right;
  ASSIGN_OR_RETURN(right.a, s.New(DType::kF16, {3, 2, 8}));
  ASSIGN_OR_RETURN(right.b, s.New(DType::kF16, {3, 2, 8}));
  ASSIGN_OR_RETURN(right.out, s.New(DType::kF16, {3, 2, 8}));
  ASSIGN_OR_RETURN(right.a_lse, s.New(DType::kF32, {3, 2}));
  ASSIGN_OR_RETURN(right.b_lse, s.New(DType::kF32, {3, 2}));
  MergeStatesArgs args = right;
  args.b = TensorView();
  s.Expect("merge without b", s.queue->MergeStates(args), "b");
  args = right;
  args.a_lse = TensorView();
  s.Expect("merge without an LSE", s.queue->MergeStates(args), "a_lse");
  args = right;
  ASSIGN_OR_RETURN(args.b, s.New(DType::kBF16, {3, 2, 8}));
  s.Expect("merge of two dtypes", s.queue->MergeStates(args), "b");
  args = right;
  ASSIGN_OR_RETURN(args.out, s.New(DType::kF8E5M2, {3, 2, 8}));
  s.Expect("merge into f8e5m2", s.queue->MergeStates(args), "out");
  args = right;
  args.out_scale = 2.0f;
  s.Expect("merge with a scale for f16", s.queue->MergeStates(args), "scale");
  args = right;
  ASSIGN_OR_RETURN(args.sinks, s.New(DType::kF32, {3}));
  s.Expect("merge with 3 sinks for 2 heads", s.queue->MergeStates(args), "sinks");
  args = right;
  ASSIGN_OR_RETURN(args.out, TensorView::Contiguous(right.a.address() + 2, DType::kF16, {3, 2, 8},
                                                    s.backend.device()));
  s.Expect("merge half on top of a", s.queue->MergeStates(args), "overlaps");
  return absl::OkStatus();
}

absl::Status BadCorrections(Scratch& s) {
  CorrectAttnOutArgs right;
  ASSIGN_OR_RETURN(right.out, s.New(DType::kF16, {3, 2, 8}));
  ASSIGN_OR_RETURN(right.lses, s.New(DType::kF32, {4, 3, 2}));
  right.corrected = right.out;
  CorrectAttnOutArgs args = right;
  args.rank = 4;
  s.Expect("rank 4 of 4", s.queue->CorrectAttnOut(args), "rank 4");
  args.rank = -1;
  s.Expect("rank -1", s.queue->CorrectAttnOut(args), "rank -1");
  args = right;
  ASSIGN_OR_RETURN(args.lses, s.New(DType::kF32, {4, 2, 2}));
  s.Expect("LSEs of other rows", s.queue->CorrectAttnOut(args), "lses");
  args = right;
  ASSIGN_OR_RETURN(args.lses, s.New(DType::kF16, {4, 3, 2}));
  s.Expect("LSEs of 16 bits", s.queue->CorrectAttnOut(args), "lses");
  args = right;
  ASSIGN_OR_RETURN(args.corrected, s.New(DType::kF32, {3, 2, 8}));
  s.Expect("corrected of another dtype", s.queue->CorrectAttnOut(args), "corrected");
  args = right;
  ASSIGN_OR_RETURN(args.corrected, TensorView::Create(right.out.address(), DType::kF16, {3, 2, 8},
                                                      {0, 8, 1}, s.backend.device()));
  s.Expect("corrected rows on top of each other", s.queue->CorrectAttnOut(args), "corrected");
  return absl::OkStatus();
}

absl::Status BadQuantizations(Scratch& s) {
  QuantizeFp8Args right;
  ASSIGN_OR_RETURN(right.source, s.New(DType::kF16, {3, 2, 8}));
  ASSIGN_OR_RETURN(right.destination, s.New(DType::kF8E4M3, {3, 2, 8}));
  QuantizeFp8Args args = right;
  args.scale = 0.0f;
  s.Expect("scale 0", s.queue->QuantizeFp8(args), "scale");
  args.scale = -1.0f;
  s.Expect("scale -1", s.queue->QuantizeFp8(args), "scale");
  args = right;
  ASSIGN_OR_RETURN(args.destination, s.New(DType::kU8, {3, 2, 8}));
  s.Expect("bytes", s.queue->QuantizeFp8(args), "destination");
  args = right;
  ASSIGN_OR_RETURN(args.source, s.New(DType::kF8E4M3, {3, 2, 8}));
  s.Expect("fp8 to fp8", s.queue->QuantizeFp8(args), "source");
  args = right;
  ASSIGN_OR_RETURN(args.head_scales, s.New(DType::kF32, {8}));
  s.Expect("8 scales for 2 heads", s.queue->QuantizeFp8(args), "head_scales");
  return absl::OkStatus();
}

absl::Status CheckMergeInput(Backend& backend) {
  Scratch s = {backend, nullptr, {}, {}};
  ASSIGN_OR_RETURN(s.queue, backend.CreateQueue());
  RETURN_IF_ERROR(BadMerges(s));
  RETURN_IF_ERROR(BadCorrections(s));
  RETURN_IF_ERROR(BadQuantizations(s));
  RETURN_IF_ERROR(Finish(*s.queue));
  if (s.failures.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("not refused as it must be:", s.failures));
}

}  // namespace

const std::vector<OperationCheck>& OperationChecks() {
  static const auto* const checks = new std::vector<OperationCheck>{
      {"merge_algebra", CheckMergeAlgebra},
      {"correct_table", CheckCorrectTable},
      {"all_codes", CheckAllCodes},
      {"capture", CheckCapture},
      {"padded", CheckPadded},
      {"merge_input", CheckMergeInput},
  };
  return *checks;
}

}  // namespace weft::testing
