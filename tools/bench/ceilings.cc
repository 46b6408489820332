// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/ceilings.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/backend.h"
#include "core/status_macros.h"
#include "core/tensor_view.h"
#include "testing/device_io.h"
#include "tools/bench/measure.h"

namespace weft::bench {
namespace {

struct TwoBuffers {
  std::unique_ptr<Buffer> source, destination;
};

absl::StatusOr<TwoBuffers> CopyBuffers(Session& session) {
  const DeviceInfo& info = session.backend().info();
  int64_t bytes = session.preset().copy_bytes;
  if (info.memory_bytes > 0) bytes = std::min(bytes, info.memory_bytes / 8);
  if (info.max_allocation_bytes > 0) bytes = std::min(bytes, info.max_allocation_bytes);
  bytes = bytes / 4096 * 4096;
  const Noise& noise = session.noise(DType::kBF16, Session::kOther);
  TwoBuffers buffers;
  ASSIGN_OR_RETURN(buffers.source, session.NoiseBuffer(noise, bytes));
  ASSIGN_OR_RETURN(buffers.destination, session.PoisonedBuffer(bytes));
  return buffers;
}

DeviceTools::RecordCall Copying(DeviceTools& tools, const TwoBuffers& buffers) {
  return [&tools, &buffers](Queue& queue, int64_t) {
    return tools.StreamCopy(queue, buffers.destination->address(), buffers.source->address(),
                            buffers.source->size_bytes());
  };
}

Row RowOf(std::string name, const absl::StatusOr<Timing>& timing, double bytes, double flops) {
  Row row;
  row.name = std::move(name);
  if (!timing.ok()) {
    row.verdict = Verdict::kNotMeasured;
    row.note = std::string(timing.status().message());
    return row;
  }
  row.seconds = timing->median;
  row.fastest = timing->fastest;
  row.slowest = timing->slowest;
  row.calls = timing->calls;
  row.replays = timing->replays;
  row.bytes = bytes;
  row.flops = flops;
  return row;
}

// That the copy's first and last bytes are those of its source.
absl::Status CheckCopied(Session& session, const TwoBuffers& buffers) {
  const int64_t bytes = buffers.source->size_bytes();
  const int64_t checked = std::min<int64_t>(bytes, int64_t{1} << 16);
  for (const int64_t from : {int64_t{0}, bytes - checked}) {
    ASSIGN_OR_RETURN(const std::vector<uint8_t> source,
                     testing::Download(session.queue(), buffers.source->address() + from, checked));
    ASSIGN_OR_RETURN(
        const std::vector<uint8_t> copy,
        testing::Download(session.queue(), buffers.destination->address() + from, checked));
    const auto [at, other] = std::mismatch(source.begin(), source.end(), copy.begin());
    if (at == source.end()) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("byte ", from + (at - source.begin()), " of ", bytes, " was not copied"));
  }
  return absl::OkStatus();
}

Row CopyRow(Session& session) {
  const absl::StatusOr<TwoBuffers> buffers = CopyBuffers(session);
  if (!buffers.ok()) return RowOf("ceiling/copy", buffers.status(), 0, 0);
  const absl::StatusOr<Timing> timing = MeasureWarm(
      session.tools(), 1, Copying(session.tools(), *buffers), 0.05, session.preset().case_seconds);
  if (const absl::Status status = CheckCopied(session, *buffers); timing.ok() && !status.ok()) {
    Row row = RowOf("ceiling/copy", status, 0, 0);
    row.verdict = Verdict::kFailed;
    return row;
  }
  return RowOf("ceiling/copy", timing, 2.0 * static_cast<double>(buffers->source->size_bytes()), 0);
}

absl::Status MatmulRows(Session& session, std::vector<Row>& rows) {
  const int64_t n = session.preset().matmul_size;
  const auto size = static_cast<double>(n);
  const Noise& noise = session.noise(DType::kBF16, Session::kOther);
  ASSIGN_OR_RETURN(const auto a, session.NoiseBuffer(noise, 2 * n * n));
  ASSIGN_OR_RETURN(const auto b,
                   session.NoiseBuffer(session.noise(DType::kBF16, Session::kQuery), 2 * n * n));
  ASSIGN_OR_RETURN(const auto c, session.PoisonedBuffer(2 * n * n));
  const auto view = [&](const std::unique_ptr<Buffer>& buffer) {
    return TensorView::Contiguous(buffer->address(), DType::kBF16, {n, n}, buffer->device());
  };
  ASSIGN_OR_RETURN(const TensorView a_view, view(a));
  ASSIGN_OR_RETURN(const TensorView b_view, view(b));
  ASSIGN_OR_RETURN(const TensorView c_view, view(c));
  const auto multiply = [&](Queue&, int64_t) {
    return session.tools().Matmul(a_view, b_view, c_view);
  };
  const double flops = 2.0 * size * size * size, bytes = 6.0 * size * size;
  rows.push_back(RowOf("ceiling/matmul.cold",
                       MeasureCold(session.tools(), 1, multiply, session.preset().idle_seconds),
                       bytes, flops));
  if (rows.back().verdict != Verdict::kOk) {
    rows.back().name = "ceiling/matmul";
    return absl::OkStatus();
  }
  rows.push_back(RowOf("ceiling/matmul",
                       MeasureWarm(session.tools(), 1, multiply, session.preset().warm_seconds,
                                   session.preset().case_seconds),
                       bytes, flops));
  return absl::OkStatus();
}

}  // namespace

absl::Status WarmUp(Session& session) {
  ASSIGN_OR_RETURN(const TwoBuffers buffers, CopyBuffers(session));
  ASSIGN_OR_RETURN(const auto replay, session.tools().Record(1, Copying(session.tools(), buffers)));
  const absl::Time end = absl::Now() + absl::Seconds(session.preset().warm_up_seconds);
  while (absl::Now() < end) RETURN_IF_ERROR(replay->Run().status());
  return absl::OkStatus();
}

std::vector<Row> MeasureCeilings(Session& session, Ceilings& ceilings) {
  std::vector<Row> rows = {CopyRow(session)};
  ceilings.copy_bytes = rows[0].bytes_per_second();
  if (absl::Status status = MatmulRows(session, rows); !status.ok()) {
    rows.push_back(RowOf("ceiling/matmul", status, 0, 0));
  }
  for (const Row& row : rows) {
    if (row.name == "ceiling/matmul.cold") ceilings.matmul_flops_cold = row.flops_per_second();
    if (row.name == "ceiling/matmul") ceilings.matmul_flops_warm = row.flops_per_second();
  }
  return rows;
}

}  // namespace weft::bench
