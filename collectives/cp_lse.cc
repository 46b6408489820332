// SPDX-License-Identifier: Apache-2.0
#include "collectives/cp_lse.h"

#include <cmath>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/status_macros.h"
#include "core/view_check.h"

namespace weft {
namespace {

constexpr int64_t kAlignment = 256;
constexpr uint32_t kMinusInfinity = 0xff800000u;

enum class Share { kScatter, kReduce };

std::string_view Name(Share share) {
  return share == Share::kScatter ? "cp_lse_ag_out_rs" : "cp_lse_ag_out_ar";
}

std::optional<int64_t> Aligned(std::optional<int64_t> bytes) {
  if (!bytes) return std::nullopt;
  const std::optional<int64_t> more = CheckedAdd(*bytes, kAlignment - 1);
  if (!more) return std::nullopt;
  return *more / kAlignment * kAlignment;
}

std::optional<int64_t> Product(std::initializer_list<int64_t> factors) {
  std::optional<int64_t> product = 1;
  for (const int64_t factor : factors) {
    if (product) product = CheckedMul(*product, factor);
  }
  return product;
}

// Everything that both forms work on.
struct Work {
  Share share;
  Queue& queue;
  Communicator& communicator;
  const CpLseArgs& args;
  absl::Time deadline;

  int64_t world = 1, rank = 0;
  int64_t rows = 0, heads = 0, head_size = 0;
  int64_t result_heads = 0;  // of `result`
  uint64_t next = 0;         // free workspace
  TensorView lses;           // [N, B, H]

  bool converts() const { return args.result.dtype() != args.out.dtype(); }

  template <typename... T>
  absl::Status Invalid(const T&... text) const {
    return absl::InvalidArgumentError(absl::StrCat(Name(share), ": ", text...));
  }

  absl::Status Check();
  absl::Status CheckRanges() const;
  absl::Status CheckResult(const ViewCheck& check) const;
  absl::StatusOr<TensorView> Take(DType dtype, absl::Span<const int64_t> extents);
  absl::Status GatherLses();
  absl::Status CopyLse(const TensorView& own);
  absl::Status MaskLse(const TensorView& own) const;
  absl::Status Correct(int64_t first_head, int64_t count, const TensorView& corrected,
                       const TensorView& lse) const;
  absl::Status ScatterSum(const TensorView& sum);
  absl::Status ReduceSum(const TensorView& sum);
  absl::Status Convert(const TensorView& sum);
  absl::StatusOr<CpLseResult> Run();
};

absl::Status Work::CheckRanges() const {
  if (args.seq_lens.empty() && args.query_start_loc.empty()) return absl::OkStatus();
  if (args.query_start_loc.size() != args.seq_lens.size() + 1) {
    return Invalid("query_start_loc has ", args.query_start_loc.size(), " entries for ",
                   args.seq_lens.size(), " seq_lens, must be one more");
  }
  int64_t before = 0;
  for (size_t i = 0; i < args.query_start_loc.size(); ++i) {
    const int64_t start = args.query_start_loc[i];
    if (i == 0 ? start != 0 : start < before || start > rows) {
      return Invalid("query_start_loc[", i, "] is ", start, ", must rise from 0 to at most ", rows);
    }
    before = start;
  }
  for (size_t i = 0; i < args.seq_lens.size(); ++i) {
    if (args.seq_lens[i] < 0) return Invalid("seq_lens[", i, "] is ", args.seq_lens[i]);
  }
  return absl::OkStatus();
}

absl::Status Work::CheckResult(const ViewCheck& check) const {
  const DType dtype = args.result.dtype();
  const bool fits = args.result.rank() == 3 && args.result.extent(0) == rows &&
                    args.result.extent(1) == result_heads && args.result.extent(2) == head_size &&
                    (dtype == args.out.dtype() || (args.out.dtype() == DType::kF32 &&
                                                   (IsFloat(dtype) || dtype == DType::kF8E4M3)));
  if (!fits || (!args.result.empty() && !args.result.contiguous())) {
    return Invalid("result is ", args.result.ToString(), " for ", args.out.ToString(),
                   ", must be [", rows, ", ", result_heads, ", ", head_size,
                   "] without gaps, of the same dtype or, of f32, f16, bf16 or f8e4m3");
  }
  RETURN_IF_ERROR(check.Memory(absl::StrCat(Name(share), ": result"), args.result));
  const bool scaled = args.result_scale != 1.0f;
  if (!std::isfinite(args.result_scale) || args.result_scale <= 0.0f ||
      (scaled && dtype != DType::kF8E4M3)) {
    return Invalid("result_scale is ", args.result_scale, " for a ", weft::Name(dtype), " result");
  }
  if (!args.result_lse.given()) return absl::OkStatus();
  RETURN_IF_ERROR(
      check.Lse(absl::StrCat(Name(share), ": result_lse"), args.result_lse, rows, result_heads));
  return CheckNoOverlapInside(absl::StrCat(Name(share), ": result_lse"), args.result_lse);
}

absl::Status Work::Check() {
  const ViewCheck check = {queue.allocations(), queue.device()};
  const auto named = [this](std::string_view name) {
    return absl::StrCat(Name(share), ": ", name);
  };
  if (args.out.rank() != 3 || !IsFloat(args.out.dtype())) {
    return Invalid("out is ", args.out.ToString(), ", must be f32, f16 or bf16 [B, H, D]");
  }
  rows = args.out.extent(0);
  heads = args.out.extent(1);
  head_size = args.out.extent(2);
  if (share == Share::kScatter && heads % world != 0) {
    return Invalid(heads, " heads cannot be shared by ", world, " ranks");
  }
  result_heads = share == Share::kScatter ? heads / world : heads;
  RETURN_IF_ERROR(check.Memory(named("out"), args.out));
  RETURN_IF_ERROR(check.Lse(named("lse"), args.lse, rows, heads));
  if (args.lse.extent(0) != rows)
    return Invalid("lse is ", args.lse.ToString(), " for ", rows, " rows");
  RETURN_IF_ERROR(check.OptionalFloats(named("sinks"), args.sinks, heads));
  RETURN_IF_ERROR(CheckRanges());
  RETURN_IF_ERROR(CheckResult(check));
  RETURN_IF_ERROR(check.Table(named("workspace"), args.workspace, DType::kU8, 0));
  ASSIGN_OR_RETURN(const int64_t need, CpLseWorkspaceBytes(world, rows, heads, head_size));
  if (args.workspace.span_bytes() < need) {
    return absl::ResourceExhaustedError(absl::StrCat(
        Name(share), ": workspace has ", args.workspace.span_bytes(), " bytes, needs ", need));
  }
  if (args.workspace.address() % kAlignment != 0)
    return Invalid("workspace is not aligned to ", kAlignment, " bytes");
  for (const auto& [name, view] :
       {std::pair("out", &args.out), std::pair("lse", &args.lse), std::pair("sinks", &args.sinks),
        std::pair("result", &args.result), std::pair("result_lse", &args.result_lse)}) {
    RETURN_IF_ERROR(CheckDisjoint(named("workspace"), args.workspace, name, *view));
    if (view == &args.result || view == &args.result_lse) continue;
    RETURN_IF_ERROR(CheckDisjoint(named("result_lse"), args.result_lse, name, *view));
    if (view == &args.out) continue;
    RETURN_IF_ERROR(CheckDisjoint(named("result"), args.result, name, *view));
  }
  RETURN_IF_ERROR(CheckDisjoint(named("result_lse"), args.result_lse, "result", args.result));
  return CheckDisjointOrSame(named("result"), args.result, "out", args.out);
}

absl::StatusOr<TensorView> Work::Take(DType dtype, absl::Span<const int64_t> extents) {
  ASSIGN_OR_RETURN(const TensorView view,
                   TensorView::Contiguous(next, dtype, extents, queue.device()));
  next += static_cast<uint64_t>(*Aligned(view.span_bytes()));
  return view;
}

// Into `own`, without gaps. A state of one rank corrected by itself gives its own LSE back: that is
// how the numbers of any strides are moved.
absl::Status Work::CopyLse(const TensorView& own) {
  if (args.lse.empty()) return absl::OkStatus();
  if (args.lse.contiguous()) return queue.Copy(own.address(), args.lse.address(), own.span_bytes());
  CorrectAttnOutArgs copy;
  ASSIGN_OR_RETURN(copy.out, Take(DType::kF32, {rows, heads, 1}));
  copy.corrected = copy.out;
  ASSIGN_OR_RETURN(copy.lses, TensorView::Create(args.lse.address(), DType::kF32, {1, rows, heads},
                                                 {0, args.lse.stride(0), args.lse.stride(1)},
                                                 args.lse.device()));
  copy.lse = own;
  copy.base = args.base;
  return queue.CorrectAttnOut(copy);
}

absl::Status Work::MaskLse(const TensorView& own) const {
  if (args.query_start_loc.empty() || own.empty()) return absl::OkStatus();
  const auto mask = [&](int64_t begin, int64_t end) {
    const int64_t row_bytes = heads * 4;
    return queue.Fill(own.address() + static_cast<uint64_t>(begin * row_bytes),
                      (end - begin) * row_bytes, kMinusInfinity);
  };
  for (size_t i = 0; i < args.seq_lens.size(); ++i) {
    if (args.seq_lens[i] > 0) continue;
    RETURN_IF_ERROR(mask(args.query_start_loc[i], args.query_start_loc[i + 1]));
  }
  return mask(args.query_start_loc.back(), rows);
}

absl::Status Work::GatherLses() {
  ASSIGN_OR_RETURN(const TensorView gathered, Take(DType::kF32, {world * rows, heads}));
  ASSIGN_OR_RETURN(lses, TensorView::Contiguous(gathered.address(), DType::kF32,
                                                {world, rows, heads}, queue.device()));
  const auto offset = static_cast<uint64_t>(rank * rows * heads * 4);
  ASSIGN_OR_RETURN(const TensorView own,
                   TensorView::Contiguous(gathered.address() + offset, DType::kF32, {rows, heads},
                                          queue.device()));
  RETURN_IF_ERROR(CopyLse(own));
  RETURN_IF_ERROR(MaskLse(own));
  return communicator.AllGather(queue, own, gathered, deadline);
}

// This rank's share of heads [first_head, first_head + count).
absl::Status Work::Correct(int64_t first_head, int64_t count, const TensorView& corrected,
                           const TensorView& lse) const {
  const TensorView& out = args.out;
  const auto at = [first_head](const TensorView& view, int axis) {
    return view.address() +
           static_cast<uint64_t>(first_head * view.stride(axis) * SizeOf(view.dtype()));
  };
  CorrectAttnOutArgs correct;
  ASSIGN_OR_RETURN(correct.out,
                   TensorView::Create(at(out, 1), out.dtype(), {rows, count, head_size},
                                      {out.stride(0), out.stride(1), out.stride(2)}, out.device()));
  ASSIGN_OR_RETURN(
      correct.lses,
      TensorView::Create(at(lses, 2), DType::kF32, {world, rows, count},
                         {lses.stride(0), lses.stride(1), lses.stride(2)}, lses.device()));
  if (args.sinks.given()) {
    ASSIGN_OR_RETURN(correct.sinks, TensorView::Contiguous(at(args.sinks, 0), DType::kF32, {count},
                                                           args.sinks.device()));
  }
  correct.rank = rank;
  correct.corrected = corrected;
  correct.lse = lse;
  correct.base = args.base;
  return queue.CorrectAttnOut(correct);
}

// The heads of a rank must lie together to be sent: a correction for each.
absl::Status Work::ScatterSum(const TensorView& sum) {
  const DType dtype = args.out.dtype();
  ASSIGN_OR_RETURN(const TensorView parts, Take(dtype, {world * rows, result_heads, head_size}));
  const int64_t part_bytes = rows * result_heads * head_size * SizeOf(dtype);
  for (int64_t peer = 0; peer < world; ++peer) {
    ASSIGN_OR_RETURN(
        const TensorView part,
        TensorView::Contiguous(parts.address() + static_cast<uint64_t>(peer * part_bytes), dtype,
                               {rows, result_heads, head_size}, queue.device()));
    RETURN_IF_ERROR(Correct(peer * result_heads, result_heads, part,
                            peer == rank ? args.result_lse : TensorView()));
  }
  return communicator.ReduceScatter(queue, parts, sum, deadline);
}

absl::Status Work::ReduceSum(const TensorView& sum) {
  RETURN_IF_ERROR(Correct(0, heads, sum, args.result_lse));
  return communicator.AllReduce(queue, sum, sum, deadline);
}

// A merge with nothing: what rounds f32 to the other types.
absl::Status Work::Convert(const TensorView& sum) {
  if (sum.empty()) return absl::OkStatus();
  MergeStatesArgs merge;
  merge.a = sum;
  merge.b = sum;
  ASSIGN_OR_RETURN(merge.a_lse, Take(DType::kF32, {rows, result_heads}));
  ASSIGN_OR_RETURN(merge.b_lse, Take(DType::kF32, {rows, result_heads}));
  RETURN_IF_ERROR(queue.Fill(merge.a_lse.address(), merge.a_lse.span_bytes(), 0));
  RETURN_IF_ERROR(queue.Fill(merge.b_lse.address(), merge.b_lse.span_bytes(), kMinusInfinity));
  merge.out = args.result;
  merge.out_scale = args.result_scale;
  return queue.MergeStates(merge);
}

absl::StatusOr<CpLseResult> Work::Run() {
  world = communicator.world_size();
  rank = communicator.rank();
  const bool same_dtype = !args.result.given() || !converts();
  if (world == 1 && !args.sinks.given() && same_dtype) return CpLseResult{args.out, args.lse};
  RETURN_IF_ERROR(communicator.status());
  RETURN_IF_ERROR(Check());
  next = args.workspace.address();
  absl::Status status = GatherLses();
  TensorView sum = args.result;
  if (status.ok() && converts()) {
    ASSIGN_OR_RETURN(sum, Take(DType::kF32, {rows, result_heads, head_size}));
  }
  if (status.ok()) status = share == Share::kScatter ? ScatterSum(sum) : ReduceSum(sum);
  if (status.ok() && converts()) status = Convert(sum);
  if (status.ok()) return CpLseResult{args.result, args.result_lse};
  // The peers wait for this rank, which does not come. (Nothing new if the group has failed.)
  communicator.Abort(status);
  return status;
}

}  // namespace

absl::StatusOr<int64_t> CpLseWorkspaceBytes(int64_t world_size, int64_t rows, int64_t heads,
                                            int64_t head_size) {
  // The gathered LSEs; a row of numbers to move an LSE with, and two of the conversion; the shares
  // of all heads; the sum before conversion. In f32, whatever the dtype.
  const std::optional<int64_t> lses = Aligned(Product({world_size, rows, heads, 4}));
  const std::optional<int64_t> lse = Aligned(Product({rows, heads, 4}));
  const std::optional<int64_t> states = Aligned(Product({rows, heads, head_size, 4}));
  std::optional<int64_t> sum = 0;
  for (const std::optional<int64_t>& part : {lses, lse, lse, lse, states, states}) {
    sum = sum && part ? CheckedAdd(*sum, *part) : std::nullopt;
  }
  if (sum) return *sum;
  return absl::OutOfRangeError(absl::StrCat("cp_lse: workspace for ", world_size, " ranks, ", rows,
                                            " rows, ", heads, " heads of ", head_size));
}

absl::StatusOr<CpLseResult> CpLseAllGatherReduceScatter(Queue& queue, Communicator& communicator,
                                                        const CpLseArgs& args,
                                                        absl::Time deadline) {
  return Work{Share::kScatter, queue, communicator, args, deadline}.Run();
}

absl::StatusOr<CpLseResult> CpLseAllGatherAllReduce(Queue& queue, Communicator& communicator,
                                                    const CpLseArgs& args, absl::Time deadline) {
  return Work{Share::kReduce, queue, communicator, args, deadline}.Run();
}

absl::StatusOr<int64_t> AllGatherHeadsWorkspaceBytes(int64_t world_size, const TensorView& local) {
  const std::optional<int64_t> rows = Aligned(Product({world_size, local.span_bytes()}));
  const std::optional<int64_t> index =
      Product({world_size, local.given() ? local.extent(0) : 0, 8});
  const std::optional<int64_t> sum = rows && index ? CheckedAdd(*rows, *index) : std::nullopt;
  if (sum) return *sum;
  return absl::OutOfRangeError(
      absl::StrCat("all_gather_heads: workspace for ", world_size, " ranks, ", local.ToString()));
}

absl::StatusOr<TensorView> AllGatherHeads(Queue& queue, Communicator& communicator,
                                          const TensorView& local, const TensorView& all,
                                          const TensorView& workspace, absl::Time deadline) {
  const int64_t world = communicator.world_size();
  if (world == 1) return local;
  RETURN_IF_ERROR(communicator.status());
  const ViewCheck check = {queue.allocations(), queue.device()};
  const bool fits = local.rank() == 3 && all.rank() == 3 && local.dtype() == all.dtype() &&
                    all.extent(0) == local.extent(0) && all.extent(2) == local.extent(2) &&
                    CheckedMul(world, local.extent(1)) == all.extent(1) &&
                    (local.empty() || (local.contiguous() && all.contiguous()));
  if (!fits) {
    return absl::InvalidArgumentError(
        absl::StrCat("all_gather_heads: local is ", local.ToString(), ", all is ", all.ToString(),
                     "; must be contiguous [B, h, D] and [B, ", world, " * h, D] of one dtype"));
  }
  RETURN_IF_ERROR(check.Memory("all_gather_heads: all", all));
  RETURN_IF_ERROR(check.Table("all_gather_heads: workspace", workspace, DType::kU8, 0));
  ASSIGN_OR_RETURN(const int64_t need, AllGatherHeadsWorkspaceBytes(world, local));
  if (workspace.span_bytes() < need || workspace.address() % kAlignment != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("all_gather_heads: workspace has ",
                                                     workspace.span_bytes(), " bytes, needs ", need,
                                                     " on a multiple of ", kAlignment));
  }
  RETURN_IF_ERROR(CheckDisjoint("all_gather_heads: workspace", workspace, "local", local));
  RETURN_IF_ERROR(CheckDisjoint("all_gather_heads: workspace", workspace, "all", all));

  const int64_t rows = local.extent(0), heads = local.extent(1), size = local.extent(2);
  ASSIGN_OR_RETURN(const TensorView gathered,
                   TensorView::Contiguous(workspace.address(), local.dtype(),
                                          {world * rows, heads, size}, local.device()));
  RETURN_IF_ERROR(communicator.AllGather(queue, local, gathered, deadline));
  if (local.empty()) return all;
  std::vector<int64_t> index;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t peer = 0; peer < world; ++peer) index.push_back(peer * rows + row);
  }
  GatherRowsArgs reorder;
  reorder.source = gathered;
  ASSIGN_OR_RETURN(reorder.destination,
                   TensorView::Contiguous(all.address(), all.dtype(), {rows * world, heads, size},
                                          all.device()));
  const uint64_t index_address =
      workspace.address() + static_cast<uint64_t>(*Aligned(world * local.span_bytes()));
  ASSIGN_OR_RETURN(reorder.index, TensorView::Contiguous(index_address, DType::kI64, {rows * world},
                                                         all.device()));
  RETURN_IF_ERROR(queue.CopyFromHost(
      index_address,
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(index.data()), index.size() * 8)));
  RETURN_IF_ERROR(queue.GatherRows(reorder));
  return all;
}

}  // namespace weft
