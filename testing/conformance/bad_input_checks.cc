// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/bad_input_checks.h"

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/attention_layer.h"
#include "core/status_macros.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

constexpr int64_t kRows = 4;  // two requests: a decode and a prefill of three tokens
constexpr int64_t kHeads = 4;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kHeadSize = 64;
constexpr int64_t kBlockSize = 16;
constexpr int64_t kBlocks = 4;
constexpr DType kDtype = DType::kF16;

// A call that is right in everything, for a check to spoil one thing of.
struct Fixture {
  std::shared_ptr<Backend> backend;
  std::unique_ptr<Queue> queue;
  AttentionSpec spec;
  KvCacheLayout layout;
  std::shared_ptr<AttentionLayer> layer;
  std::vector<std::vector<int32_t>> block_ids = {{2, 0}, {1}};
  RequestBatch batch;
  std::shared_ptr<AttentionMetadata> metadata;
  std::shared_ptr<const Plan> plan;
  StepLimits limits;
  std::unique_ptr<StepBuffers> step;
  std::vector<std::unique_ptr<Buffer>> buffers;
  AttentionIo io;
  ReshapeAndCacheArgs reshape;

  DeviceId device() const { return backend->device(); }

  absl::StatusOr<TensorView> NewView(DType dtype, const std::vector<int64_t>& extents) {
    int64_t bytes = SizeOf(dtype);
    for (int64_t extent : extents) bytes *= extent;
    ASSIGN_OR_RETURN(auto buffer, AllocatePoisoned(*backend, *queue, (bytes + 3) / 4 * 4));
    buffers.push_back(std::move(buffer));
    return TensorView::Contiguous(buffers.back()->address(), dtype, extents, device());
  }

  AttentionArgs Args() const {
    AttentionArgs args;
    args.prepared = prepared.get();
    args.query = io.query;
    args.out = io.out;
    args.lse = io.lse;
    args.cache = io.cache;
    args.tables = step->tables();
    args.num_rows = plan->num_rows();
    return args;
  }
  std::shared_ptr<const PreparedAttention> prepared;
};

absl::Status MakeLayer(Fixture& f) {
  f.spec.num_heads = kHeads;
  f.spec.num_kv_heads = kKvHeads;
  f.spec.head_size = kHeadSize;
  f.spec.dtype = kDtype;
  f.spec.kv_dtype = kDtype;
  ASSIGN_OR_RETURN(f.layout, KvCacheLayout::Nhd(kDtype, kBlockSize, kKvHeads, kHeadSize));
  ASSIGN_OR_RETURN(AttentionLayer layer, AttentionLayer::Create(f.backend, f.spec, f.layout));
  f.layer = std::make_shared<AttentionLayer>(std::move(layer));
  ASSIGN_OR_RETURN(f.prepared, f.backend->Prepare(f.spec, f.layout));
  return absl::OkStatus();
}

absl::Status MakePlan(Fixture& f) {
  f.batch.requests = {{RequestKind::kDecode, 1, 17, f.block_ids[0]},
                      {RequestKind::kPrefill, 3, 2, f.block_ids[1]}};
  ASSIGN_OR_RETURN(AttentionMetadata metadata,
                   AttentionMetadataBuilder(f.layout, kBlocks).Build(f.batch));
  f.metadata = std::make_shared<AttentionMetadata>(std::move(metadata));
  ASSIGN_OR_RETURN(f.plan, f.layer->MakePlan(*f.metadata));
  f.limits.max_slots = static_cast<int64_t>(f.plan->slots().size());
  f.limits.max_blocks = static_cast<int64_t>(f.plan->blocks().size());
  f.limits.max_tiles = static_cast<int64_t>(f.plan->tiles().size());
  f.limits.max_decode_rows = static_cast<int64_t>(f.plan->decode_rows().size());
  f.limits.max_decode_splits = static_cast<int64_t>(f.plan->decode_splits().size());
  f.limits.workspace_bytes = f.plan->workspace_bytes();
  ASSIGN_OR_RETURN(f.step, StepBuffers::Create(f.backend, f.limits));
  return f.step->Update(*f.queue, f.plan);
}

absl::Status MakeTensors(Fixture& f) {
  ASSIGN_OR_RETURN(f.io.query, f.NewView(kDtype, {kRows, kHeads, kHeadSize}));
  ASSIGN_OR_RETURN(f.io.out, f.NewView(kDtype, {kRows, kHeads, kHeadSize}));
  ASSIGN_OR_RETURN(f.io.lse, f.NewView(DType::kF32, {kRows, kHeads}));
  ASSIGN_OR_RETURN(f.io.key, f.NewView(kDtype, {kRows, kKvHeads, kHeadSize}));
  ASSIGN_OR_RETURN(f.io.value, f.NewView(kDtype, {kRows, kKvHeads, kHeadSize}));
  ASSIGN_OR_RETURN(const TensorView cache,
                   f.NewView(kDtype, {kBlocks * f.layout.bytes_per_block() / 2}));
  ASSIGN_OR_RETURN(f.io.cache,
                   KvCacheView::OneAllocation(f.layout, cache.address(), kBlocks, f.device()));
  f.reshape.key = f.io.key;
  f.reshape.value = f.io.value;
  f.reshape.cache = f.io.cache;
  ASSIGN_OR_RETURN(f.reshape.slots, f.NewView(DType::kI64, {kRows}));
  return absl::OkStatus();
}

// `attention` false: only what ReshapeAndCache needs, which every backend has.
absl::StatusOr<std::shared_ptr<Fixture>> MakeFixture(Backend& backend, bool attention = true) {
  auto f = std::make_shared<Fixture>();
  f->backend = backend.shared_from_this();
  ASSIGN_OR_RETURN(f->queue, backend.CreateQueue());
  ASSIGN_OR_RETURN(f->layout, KvCacheLayout::Nhd(kDtype, kBlockSize, kKvHeads, kHeadSize));
  RETURN_IF_ERROR(MakeTensors(*f));
  if (attention) {
    RETURN_IF_ERROR(MakeLayer(*f));
    RETURN_IF_ERROR(MakePlan(*f));
  }
  RETURN_IF_ERROR(Finish(*f->queue));
  return f;
}

// Collects what was not refused as it must be.
class Refusals {
 public:
  void Expect(std::string_view what, const absl::Status& status, absl::StatusCode code,
              std::string_view part = "") {
    if (status.code() == code && absl::StrContains(status.message(), part)) return;
    absl::StrAppend(&failures_, "\n  ", what, ": got ", status.ToString(), ", expected ",
                    absl::StatusCodeToString(code),
                    part.empty() ? "" : absl::StrCat(" with \"", part, "\""));
  }

  absl::Status Verdict() const {
    if (failures_.empty()) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("not refused as it must be:", failures_));
  }

 private:
  std::string failures_;
};

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kOutOfRange = absl::StatusCode::kOutOfRange;
constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;
constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;

absl::StatusOr<TensorView> OnDevice(const TensorView& view, DeviceId device) {
  std::vector<int64_t> extents;
  for (int axis = 0; axis < view.rank(); ++axis) extents.push_back(view.extent(axis));
  return TensorView::Contiguous(view.address(), view.dtype(), extents, device);
}

absl::StatusOr<TensorView> Reshaped(const TensorView& view, DType dtype,
                                    const std::vector<int64_t>& extents) {
  return TensorView::Contiguous(view.address(), dtype, extents, view.device());
}

DeviceId OtherDevice(DeviceId device) {
  device.ordinal += 1;
  return device;
}

// out must still hold what it held before a refused call.
absl::Status CheckOutUntouched(Fixture& f) {
  ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes,
                   Download(*f.queue, f.io.out.address(), f.io.out.span_bytes()));
  if (bytes == PoisonBytes(f.io.out.span_bytes())) return absl::OkStatus();
  return absl::FailedPreconditionError("a refused call has written to out");
}

absl::Status CheckForward(Backend& backend) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Fixture> f, MakeFixture(backend));
  Refusals refusals;
  const auto expect = [&](std::string_view what, std::function<absl::Status(AttentionIo&)> spoil,
                          absl::StatusCode code, std::string_view part) {
    AttentionIo io = f->io;
    absl::Status status = spoil(io);
    if (status.ok()) status = f->layer->Forward(*f->queue, *f->step, io);
    refusals.Expect(what, status, code, part);
  };
  const auto swap = [](TensorView AttentionIo::*member, absl::StatusOr<TensorView> view) {
    return [member, view](AttentionIo& io) {
      if (view.ok()) io.*member = *view;
      return view.status();
    };
  };
  expect("no query", swap(&AttentionIo::query, TensorView()), kInvalid, "query");
  expect("query of another device",
         swap(&AttentionIo::query, OnDevice(f->io.query, OtherDevice(f->device()))), kInvalid,
         "query");
  expect("query of another dtype",
         swap(&AttentionIo::query, Reshaped(f->io.query, DType::kBF16, {kRows, kHeads, kHeadSize})),
         kInvalid, "query");
  expect("query with too few rows",
         swap(&AttentionIo::query, Reshaped(f->io.query, kDtype, {kRows - 1, kHeads, kHeadSize})),
         kInvalid, "query");
  expect("query with other heads",
         swap(&AttentionIo::query, Reshaped(f->io.query, kDtype, {kRows, kHeads / 2, kHeadSize})),
         kInvalid, "query");
  expect("out with another head size",
         swap(&AttentionIo::out, Reshaped(f->io.out, kDtype, {kRows, kHeads, kHeadSize / 2})),
         kInvalid, "out");
  expect("out larger than its memory",
         swap(&AttentionIo::out, Reshaped(f->io.out, kDtype, {1 << 20, kHeads, kHeadSize})),
         kOutOfRange, "out");
  expect("out on top of query", swap(&AttentionIo::out, f->io.query), kInvalid, "overlaps");
  expect("lse of another dtype",
         swap(&AttentionIo::lse, Reshaped(f->io.lse, kDtype, {kRows, kHeads})), kInvalid, "lse");
  expect("lse with too few rows",
         swap(&AttentionIo::lse, Reshaped(f->io.lse, DType::kF32, {kRows - 1, kHeads})), kInvalid,
         "lse");
  expect("key of another dtype",
         swap(&AttentionIo::key, Reshaped(f->io.key, DType::kBF16, {kRows, kKvHeads, kHeadSize})),
         kInvalid, "key");
  expect("value with too few rows",
         swap(&AttentionIo::value, Reshaped(f->io.value, kDtype, {1, kKvHeads, kHeadSize})),
         kInvalid, "value");
  expect(
      "no cache",
      [](AttentionIo& io) {
        io.cache = KvCacheView();
        return absl::OkStatus();
      },
      absl::StatusCode::kFailedPrecondition, "cache");
  const auto cache_of = [&](int64_t block_size, int64_t blocks) {
    return [&, block_size, blocks](AttentionIo& io) -> absl::Status {
      ASSIGN_OR_RETURN(const KvCacheLayout layout,
                       KvCacheLayout::Nhd(kDtype, block_size, kKvHeads, kHeadSize));
      ASSIGN_OR_RETURN(
          io.cache, KvCacheView::OneAllocation(layout, f->io.cache.segments()[0].key_base, blocks,
                                               f->device()));
      return absl::OkStatus();
    };
  };
  expect("a cache of another layout", cache_of(kBlockSize / 2, kBlocks), kPrecondition, "");
  expect("a cache with fewer blocks", cache_of(kBlockSize, kBlocks - 1), kPrecondition, "blocks");
  expect("a cache larger than its memory", cache_of(kBlockSize, 1 << 20), kOutOfRange, "cache");
  RETURN_IF_ERROR(refusals.Verdict());
  RETURN_IF_ERROR(CheckOutUntouched(*f));
  RETURN_IF_ERROR(f->layer->Forward(*f->queue, *f->step, f->io));
  return Finish(*f->queue);
}

absl::Status CheckStepAndPlan(Backend& backend) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Fixture> f, MakeFixture(backend));
  Refusals refusals;
  ASSIGN_OR_RETURN(const auto empty_step, StepBuffers::Create(f->backend, f->limits));
  refusals.Expect("no plan yet", f->layer->Forward(*f->queue, *empty_step, f->io), kPrecondition,
                  "plan");

  AttentionSpec other_spec = f->spec;
  other_spec.scale = 0.5f;
  ASSIGN_OR_RETURN(const AttentionLayer other,
                   AttentionLayer::Create(f->backend, other_spec, f->layout));
  refusals.Expect("the plan of another layer", other.Forward(*f->queue, *f->step, f->io),
                  kPrecondition, "plan");

  const std::pair<std::string_view, int64_t StepLimits::*> limits[] = {
      {"slots", &StepLimits::max_slots},
      {"blocks", &StepLimits::max_blocks},
      {"tiles", &StepLimits::max_tiles},
      {"decode rows", &StepLimits::max_decode_rows},
      {"decode splits", &StepLimits::max_decode_splits},
      {"workspace", &StepLimits::workspace_bytes}};
  for (const auto& [name, limit] : limits) {
    StepLimits less = f->limits;
    less.*limit -= 1;
    ASSIGN_OR_RETURN(const auto small, StepBuffers::Create(f->backend, less));
    refusals.Expect(absl::StrCat("one too few: ", name), small->Update(*f->queue, f->plan),
                    kExhausted, name);
    if (small->plan() != nullptr) return absl::InternalError("a refused plan stays");
    less.*limit = -1;
    refusals.Expect(absl::StrCat("negative limit: ", name),
                    StepBuffers::Create(f->backend, less).status(), kInvalid);
  }

  refusals.Expect("rank without ranks", f->layer->MakePlan(*f->metadata, nullptr, 1).status(),
                  kInvalid, "rank");
  ASSIGN_OR_RETURN(const PcpPartition right, PcpPartition::Build(ShapesOf(*f->metadata), 2));
  refusals.Expect("rank 2 of 2", f->layer->MakePlan(*f->metadata, &right, 2).status(), kInvalid,
                  "rank 2");
  std::vector<RequestShape> shapes = ShapesOf(*f->metadata);
  shapes[1].num_new_tokens += 1;
  ASSIGN_OR_RETURN(const PcpPartition wrong, PcpPartition::Build(shapes, 2));
  refusals.Expect("the partition of another batch",
                  f->layer->MakePlan(*f->metadata, &wrong, 0).status(), kPrecondition, "request 1");
  return refusals.Verdict();
}

absl::Status CheckWorkspace(Backend& backend) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Fixture> f, MakeFixture(backend));
  Refusals refusals;
  AttentionArgs args = f->Args();
  const TensorView workspace = args.tables.workspace;
  ASSIGN_OR_RETURN(args.tables.workspace,
                   Reshaped(workspace, DType::kF32, {workspace.extent(0) - 1}));
  refusals.Expect("a workspace one float short", f->queue->Attention(args), kExhausted,
                  "workspace");
  args.tables.workspace = TensorView();
  refusals.Expect("no workspace", f->queue->Attention(args), kInvalid, "workspace");
  args = f->Args();
  args.prepared = nullptr;
  refusals.Expect("no prepared kernels", f->queue->Attention(args), kInvalid);
  args = f->Args();
  args.num_rows = -1;
  refusals.Expect("a negative number of rows", f->queue->Attention(args), kInvalid);
  args = f->Args();
  args.tables.tiles = f->io.lse;
  refusals.Expect("tiles that are floats", f->queue->Attention(args), kInvalid, "tiles");
  RETURN_IF_ERROR(refusals.Verdict());
  return CheckOutUntouched(*f);
}

absl::Status CheckSpecs(Backend& backend) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Fixture> f, MakeFixture(backend));
  Refusals refusals;
  const auto expect = [&](std::string_view what, std::function<void(AttentionSpec&)> spoil,
                          std::string_view part) {
    AttentionSpec spec = f->spec;
    spoil(spec);
    refusals.Expect(what, AttentionLayer::Create(f->backend, spec, f->layout).status(), kInvalid,
                    part);
    refusals.Expect(what, f->backend->Supports(spec, f->layout), kInvalid, part);
  };
  expect(
      "3 heads over 2", [](AttentionSpec& s) { s.num_heads = 3; }, "3");
  expect(
      "no heads", [](AttentionSpec& s) { s.num_heads = 0; }, "0");
  expect(
      "head size 0", [](AttentionSpec& s) { s.head_size = 0; }, "0");
  expect(
      "another head size than the cache's", [](AttentionSpec& s) { s.head_size = 32; }, "32");
  expect(
      "softcap -1", [](AttentionSpec& s) { s.softcap = -1.0f; }, "-1");
  expect(
      "scale NaN", [](AttentionSpec& s) { s.scale = std::nanf(""); }, "nan");
  expect(
      "3 slopes for 4 heads",
      [](AttentionSpec& s) {
        s.alibi_slopes = {1, 1, 1};
      },
      "3");
  expect(
      "5 sinks for 4 heads", [](AttentionSpec& s) { s.sinks.assign(5, 0.0f); }, "5");
  expect(
      "k_scale 2 on a plain cache", [](AttentionSpec& s) { s.k_scales = {2.0f}; }, "2");
  expect(
      "v_scale 0", [](AttentionSpec& s) { s.v_scales = {0.0f}; }, "0");
  expect(
      "integers", [](AttentionSpec& s) { s.dtype = DType::kI32; }, "i32");
  return refusals.Verdict();
}

absl::Status CheckReshapeInput(Backend& backend) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Fixture> f, MakeFixture(backend, false));
  Refusals refusals;
  ReshapeAndCacheArgs args = f->reshape;
  ASSIGN_OR_RETURN(args.slots, Reshaped(f->reshape.slots, DType::kI32, {kRows}));
  refusals.Expect("slots of 32 bits", f->queue->ReshapeAndCache(args), kInvalid, "slots");
  ASSIGN_OR_RETURN(args.slots, f->NewView(DType::kI64, {kRows + 1}));
  refusals.Expect("more slots than rows", f->queue->ReshapeAndCache(args), kInvalid, "key");
  args = f->reshape;
  ASSIGN_OR_RETURN(args.value, Reshaped(f->reshape.value, kDtype, {kRows, kKvHeads, 32}));
  refusals.Expect("another head size", f->queue->ReshapeAndCache(args), kInvalid, "value");
  args = f->reshape;
  ASSIGN_OR_RETURN(args.key, OnDevice(f->reshape.key, OtherDevice(f->device())));
  refusals.Expect("key of another device", f->queue->ReshapeAndCache(args), kInvalid, "key");
  args = f->reshape;
  ASSIGN_OR_RETURN(args.key, TensorView::Contiguous(f->reshape.cache.segments()[0].key_base, kDtype,
                                                    {kRows, kKvHeads, kHeadSize}, f->device()));
  refusals.Expect("key in the cache", f->queue->ReshapeAndCache(args), kInvalid, "overlaps");
  args = f->reshape;
  args.cache = KvCacheView();
  refusals.Expect("no cache", f->queue->ReshapeAndCache(args), kInvalid, "cache");
  return refusals.Verdict();
}

absl::Status CheckGatherInput(Backend& backend) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Fixture> f, MakeFixture(backend, false));
  Refusals refusals;
  GatherRowsArgs right;
  ASSIGN_OR_RETURN(right.source, f->NewView(kDtype, {5, 8}));
  ASSIGN_OR_RETURN(right.index, f->NewView(DType::kI64, {3}));
  ASSIGN_OR_RETURN(right.destination, f->NewView(kDtype, {3, 8}));
  GatherRowsArgs args = right;
  args.destination = right.source;
  refusals.Expect("another number of rows", f->queue->GatherRows(args), kInvalid);
  ASSIGN_OR_RETURN(args.destination, Reshaped(right.source, kDtype, {3, 8}));
  refusals.Expect("destination on top of source", f->queue->GatherRows(args), kInvalid, "overlaps");
  args = right;
  ASSIGN_OR_RETURN(args.destination, Reshaped(right.destination, DType::kBF16, {3, 8}));
  refusals.Expect("another dtype", f->queue->GatherRows(args), kInvalid);
  args = right;
  ASSIGN_OR_RETURN(args.index, Reshaped(right.index, DType::kI32, {3}));
  refusals.Expect("indices of 32 bits", f->queue->GatherRows(args), kInvalid, "index");
  args = right;
  ASSIGN_OR_RETURN(args.source, TensorView::Create(right.source.address(), kDtype, {2, 8}, {16, 2},
                                                   f->device()));
  refusals.Expect("a row with gaps", f->queue->GatherRows(args), kInvalid, "gaps");
  args = right;
  ASSIGN_OR_RETURN(args.destination, TensorView::Create(right.destination.address(), kDtype, {3, 8},
                                                        {4, 1}, f->device()));
  refusals.Expect("destination rows on top of each other", f->queue->GatherRows(args), kInvalid);
  args = right;
  ASSIGN_OR_RETURN(args.source, Reshaped(right.source, kDtype, {1 << 20, 8}));
  refusals.Expect("source larger than its memory", f->queue->GatherRows(args), kOutOfRange,
                  "source");
  return refusals.Verdict();
}

absl::Status CheckMemory(Backend& backend) {
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend.Allocate(1024));
  const uint64_t address = buffer->address();
  Refusals refusals;
  if (address % 256 != 0) return absl::FailedPreconditionError("memory is not aligned to 256");
  refusals.Expect("0 bytes", backend.Allocate(0).status(), kInvalid);
  refusals.Expect("-1 bytes", backend.Allocate(-1).status(), kInvalid);
  refusals.Expect("more than there can be",
                  backend.Allocate(std::numeric_limits<int64_t>::max() / 2).status(), kExhausted);
  std::vector<uint8_t> bytes(1025);
  refusals.Expect("copy in past the end", queue->CopyFromHost(address, bytes), kOutOfRange);
  refusals.Expect("copy out past the end", queue->CopyToHost(absl::MakeSpan(bytes), address),
                  kOutOfRange);
  refusals.Expect("copy out of nowhere", queue->CopyToHost(absl::MakeSpan(bytes), 64), kOutOfRange);
  refusals.Expect("copy onto itself", queue->Copy(address, address + 16, 32), kInvalid);
  refusals.Expect("copy of -1 bytes", queue->Copy(address, address + 512, -1), kInvalid);
  refusals.Expect("fill of 6 bytes", queue->Fill(address, 6, 0), kInvalid);
  refusals.Expect("fill at an odd address", queue->Fill(address + 2, 4, 0), kInvalid);
  refusals.Expect("fill past the end", queue->Fill(address + 1020, 8, 0), kOutOfRange);
  buffer.reset();
  refusals.Expect("freed memory", queue->Fill(address, 4, 0), kOutOfRange);
  RETURN_IF_ERROR(refusals.Verdict());
  return Finish(*queue);
}

}  // namespace

const std::vector<BadInputCheck>& BadInputChecks() {
  static const auto* const checks = new std::vector<BadInputCheck>{
      {"forward", CheckForward}, {"step_and_plan", CheckStepAndPlan}, {"workspace", CheckWorkspace},
      {"spec", CheckSpecs},      {"reshape", CheckReshapeInput},      {"gather", CheckGatherInput},
      {"memory", CheckMemory},
  };
  return *checks;
}

}  // namespace weft::testing
