// SPDX-License-Identifier: Apache-2.0
//
// The merges of softmax states: "correct" (one rank's share of N) and "merge" (two states).
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/ops/correct_attn_out.h"
#include "core/ops/merge_attn_states.h"
#include "core/status_macros.h"
#include "testing/compare.h"
#include "testing/golden/golden_args.h"
#include "testing/golden/golden_data.h"
#include "testing/golden/judges.h"

namespace weft::testing {
namespace {

// `text` with the expected tensor where it is NaN replaced by the reference: the seed's text of
// 2025-10 answers NaN where every rank is empty, and weft does better (docs/design.md, semantics
// 5).
HostTensor WithoutNan(HostTensor kernel, const HostTensor& reference,
                      const HostTensor& reference_lse) {
  if (reference_lse.values.empty()) return kernel;
  const size_t row = reference.values.size() / reference_lse.values.size();
  for (size_t i = 0; i < kernel.values.size(); ++i) {
    const bool empty = std::isinf(reference_lse.values[i / row]);
    if (empty && std::isnan(kernel.values[i])) kernel.values[i] = reference.values[i];
  }
  return kernel;
}

absl::Status CompareWithKernel(const HostTensor& out, const HostTensor& lse,
                               const HostTensor& reference, const HostTensor& reference_lse,
                               const SafeTensorsFile& file, const GoldenCase& golden,
                               const char* version, const char* error, CompareContext context) {
  const std::string out_name = absl::StrCat("out_", version);
  const std::string lse_name = absl::StrCat("out_lse_", version);
  ASSIGN_OR_RETURN(const SafeTensor kernel,
                   file.Get(out_name, SafeTensorsName(out.dtype), out.extents));
  ASSIGN_OR_RETURN(const HostTensor kernel_lse,
                   ReadReference(file, lse_name, DType::kF32, lse.extents));
  context.tensor = absl::StrCat(out_name, " of the seed's kernel");
  const HostTensor decoded = DecodeTensor(out.dtype, kernel.shape, kernel.data);
  RETURN_IF_ERROR(
      CompareTensors(out, WithoutNan(decoded, reference, reference_lse),
                     WithKernelDistance(ToleranceFor(out.dtype), golden, {error, "out"}), context));
  context.tensor = absl::StrCat(lse_name, " of the seed's kernel");
  return CompareMergedLse(lse, WithoutNan(kernel_lse, reference_lse, reference_lse), context);
}

}  // namespace

absl::Status JudgeCorrect(Backend& backend, const GoldenCase& golden) {
  const GoldenArgs args(golden);
  ASSIGN_OR_RETURN(const SafeTensorsFile file, SafeTensorsFile::Read(golden.path));
  ASSIGN_OR_RETURN(const DType dtype, args.Dtype("dtype"));
  ASSIGN_OR_RETURN(const int64_t world, args.Integer("N"));
  ASSIGN_OR_RETURN(const int64_t rows, args.Integer("B"));
  ASSIGN_OR_RETURN(const int64_t heads, args.Integer("H"));
  ASSIGN_OR_RETURN(const int64_t size, args.Integer("D"));
  ASSIGN_OR_RETURN(const bool base2, args.Flag("base2"));
  const std::vector<int64_t> out_shape = {rows, heads, size}, lse_shape = {rows, heads};
  ASSIGN_OR_RETURN(const SafeTensor input, file.Get("attn_out", SafeTensorsName(dtype), out_shape));
  ASSIGN_OR_RETURN(const SafeTensor lses, file.Get("lses", "F32", {world, rows, heads}));
  ASSIGN_OR_RETURN(const HostTensor reference, ReadReference(file, "ref_out", dtype, out_shape));
  ASSIGN_OR_RETURN(const HostTensor reference_lse,
                   ReadReference(file, "ref_lse", DType::kF32, lse_shape));

  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  ASSIGN_OR_RETURN(const int64_t rank, args.Integer("rank"));
  ASSIGN_OR_RETURN(const DeviceTensor device_out,
                   UploadTensor(backend, *queue, dtype, out_shape, input.data));
  ASSIGN_OR_RETURN(const DeviceTensor device_lses,
                   UploadTensor(backend, *queue, DType::kF32, lses.shape, lses.data));
  ASSIGN_OR_RETURN(const DeviceTensor corrected, NewTensor(backend, *queue, dtype, out_shape));
  ASSIGN_OR_RETURN(const DeviceTensor lse, NewTensor(backend, *queue, DType::kF32, lse_shape));
  CorrectAttnOutOptions options;
  options.base = base2 ? LseBase::k2 : LseBase::kE;
  options.corrected = corrected.view;
  RETURN_IF_ERROR(
      CorrectAttnOut(*queue, device_out.view, device_lses.view, rank, lse.view, options));
  ASSIGN_OR_RETURN(const HostTensor out, DownloadTensor(*queue, corrected));
  ASSIGN_OR_RETURN(const HostTensor out_lse, DownloadTensor(*queue, lse));

  CompareContext context;
  context.case_line = absl::StrCat("golden ", golden.name);
  context.tensor = "out against the float64 reference";
  RETURN_IF_ERROR(CompareTensors(out, reference, ToleranceFor(dtype), context));
  context.tensor = "lse against the float64 reference";
  RETURN_IF_ERROR(CompareMergedLse(out_lse, reference_lse, context));
  RETURN_IF_ERROR(CompareWithKernel(out, out_lse, reference, reference_lse, file, golden, "main",
                                    "error", context));
  if (!file.Has("out_oct2025")) return absl::OkStatus();
  return CompareWithKernel(out, out_lse, reference, reference_lse, file, golden, "oct2025",
                           "error_oct2025", context);
}

absl::Status JudgeMerge(Backend& backend, const GoldenCase& golden) {
  const GoldenArgs args(golden);
  ASSIGN_OR_RETURN(const SafeTensorsFile file, SafeTensorsFile::Read(golden.path));
  ASSIGN_OR_RETURN(const DType dtype, args.Dtype("dtype"));
  ASSIGN_OR_RETURN(const int64_t rows, args.Integer("num_tokens"));
  ASSIGN_OR_RETURN(const int64_t heads, args.Integer("num_heads"));
  ASSIGN_OR_RETURN(const int64_t size, args.Integer("head_size"));
  // LSEs stand as [heads, tokens].
  const std::vector<int64_t> shape = {rows, heads, size}, lse_shape = {heads, rows};
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  DeviceTensor states[2], lses[2];
  for (int i : {0, 1}) {
    const std::string name = i == 0 ? "prefix" : "suffix";
    ASSIGN_OR_RETURN(const SafeTensor output,
                     file.Get(name + "_output", SafeTensorsName(dtype), shape));
    ASSIGN_OR_RETURN(const SafeTensor lse, file.Get(name + "_lse", "F32", lse_shape));
    ASSIGN_OR_RETURN(states[i], UploadTensor(backend, *queue, dtype, shape, output.data));
    ASSIGN_OR_RETURN(lses[i], UploadTensor(backend, *queue, DType::kF32, lse_shape, lse.data));
  }
  ASSIGN_OR_RETURN(const DeviceTensor merged, NewTensor(backend, *queue, dtype, shape));
  ASSIGN_OR_RETURN(const DeviceTensor merged_lse,
                   NewTensor(backend, *queue, DType::kF32, lse_shape));
  RETURN_IF_ERROR(MergeAttnStates(*queue, merged.view, states[0].view, lses[0].view, states[1].view,
                                  lses[1].view, merged_lse.view));
  ASSIGN_OR_RETURN(const HostTensor out, DownloadTensor(*queue, merged));
  ASSIGN_OR_RETURN(const HostTensor out_lse, DownloadTensor(*queue, merged_lse));

  CompareContext context;
  context.case_line = absl::StrCat("golden ", golden.name);
  ASSIGN_OR_RETURN(const HostTensor reference, ReadReference(file, "ref", dtype, shape));
  context.tensor = "out against the float64 reference";
  RETURN_IF_ERROR(CompareTensors(out, reference, ToleranceFor(dtype), context));
  ASSIGN_OR_RETURN(const SafeTensor kernel, file.Get("out", SafeTensorsName(dtype), shape));
  context.tensor = "out against the seed's kernel";
  RETURN_IF_ERROR(CompareTensors(out, DecodeTensor(dtype, shape, kernel.data),
                                 WithKernelDistance(ToleranceFor(dtype), golden, {"error", "out"}),
                                 context));
  for (const char* name : {"ref_lse", "out_lse"}) {
    ASSIGN_OR_RETURN(const HostTensor expected, ReadReference(file, name, DType::kF32, lse_shape));
    context.tensor = absl::StrCat("lse against ", name);
    RETURN_IF_ERROR(CompareMergedLse(out_lse, expected, context));
  }
  return absl::OkStatus();
}

}  // namespace weft::testing
