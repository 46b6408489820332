// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/run.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "tools/bench/ceilings.h"
#include "tools/bench/host_cost.h"
#include "tools/bench/measure.h"
#include "tools/bench/workload.h"

namespace weft::bench {
namespace {

constexpr double kShortWarmUp = 0.05;

void SetError(Row& row, const absl::Status& status, std::string_view when) {
  const bool unsupported = absl::IsUnimplemented(status);
  row.verdict = unsupported ? Verdict::kUnsupported : Verdict::kFailed;
  row.note =
      unsupported ? std::string(status.message()) : absl::StrCat(when, ": ", status.ToString());
}

class Runner {
 public:
  Runner(Session& session, const RunOptions& options, Results& results)
      : session_(session), options_(options), results_(results) {}

  void Add(Row row) {
    options_.on_row(row);
    results_.rows.push_back(std::move(row));
  }

  void RunCase(const Case& c) {
    Row row;
    row.name = c.full_name();
    if (c.kind == CaseKind::kHostForward) {
      absl::StatusOr<std::vector<Row>> rows = MeasureHostCost(session_, c, options_.check);
      if (rows.ok()) {
        for (Row& host : *rows) Add(std::move(host));
      } else {
        SetError(row, rows.status(), "host cost");
        Add(std::move(row));
      }
      return;
    }
    const absl::StatusOr<std::unique_ptr<Workload>> workload = MakeWorkload(session_, c);
    absl::Status status = workload.status();
    if (!status.ok()) {
      SetError(row, status, "setting up");
    } else if (options_.check && !(status = (*workload)->Check()).ok()) {
      SetError(row, status, "check");
    }
    if (!status.ok()) return Add(std::move(row));
    if (c.group == Group::kPrefill) {
      Prefill(**workload, row);
    } else {
      Steady(**workload, row, c.group == Group::kDecode);
    }
  }

 private:
  static DeviceTools::RecordCall Recording(Workload& workload) {
    return [&workload](Queue& queue, int64_t set) { return workload.Record(queue, set); };
  }

  // What neither memory nor arithmetic allows to beat; 0 where a ceiling that counts is not known.
  double Floor(const Row& row, double matmul_flops) const {
    const double copy = results_.ceilings.copy_bytes;
    if ((row.flops > 0 && matmul_flops == 0) || (row.bytes > 0 && copy == 0)) return 0.0;
    return std::max(row.bytes > 0 ? row.bytes / copy : 0.0,
                    row.flops > 0 ? row.flops / matmul_flops : 0.0);
  }

  void Set(Row& row, const absl::StatusOr<Timing>& timing) {
    if (!timing.ok()) return SetError(row, timing.status(), "timing");
    row.seconds = timing->median;
    row.fastest = timing->fastest;
    row.slowest = timing->slowest;
    row.calls = timing->calls;
    row.replays = timing->replays;
  }

  void Prefill(Workload& workload, const Row& named) {
    const Preset& preset = session_.preset();
    Row cold = named;
    cold.name += ".cold";
    cold.bytes = workload.work().bytes;
    cold.flops = workload.work().flops;
    Set(cold, MeasureCold(session_.tools(), workload.num_sets(), Recording(workload),
                          preset.idle_seconds));
    cold.floor_seconds = Floor(cold, results_.ceilings.matmul_flops_cold);
    Row warm = named;
    warm.bytes = cold.bytes;
    warm.flops = cold.flops;
    Set(warm, MeasureWarm(session_.tools(), workload.num_sets(), Recording(workload),
                          preset.warm_seconds, preset.case_seconds));
    warm.floor_seconds = Floor(warm, results_.ceilings.matmul_flops_warm);
    Add(std::move(warm));
    Add(std::move(cold));
  }

  // Bound by memory: decodes are held against the read of their pages, if it can be measured.
  void Steady(Workload& workload, Row& row, bool decode) {
    const double warm = std::min(session_.preset().warm_seconds, kShortWarmUp);
    row.bytes = workload.work().bytes;
    Set(row, MeasureWarm(session_.tools(), workload.num_sets(), Recording(workload), warm,
                         session_.preset().case_seconds));
    row.floor_seconds = Floor(row, 0.0);
    if (!decode) return Add(std::move(row));
    Row read;
    read.name = absl::StrCat(row.name, ".read");
    read.bytes = row.bytes;
    const auto reading = [&](Queue&, int64_t set) {
      return session_.tools().PagedRead(*workload.cache(), workload.pages(set));
    };
    const absl::StatusOr<Timing> timing = MeasureWarm(
        session_.tools(), workload.num_sets(), reading, warm, session_.preset().case_seconds);
    Set(read, timing);
    if (absl::IsUnimplemented(timing.status())) read.verdict = Verdict::kNotMeasured;
    if (timing.ok()) {
      row.floor_seconds = timing->median;
    } else if (row.verdict == Verdict::kOk) {
      row.note = "floor: of the copy";
    }
    Add(std::move(row));
    Add(std::move(read));
  }

  Session& session_;
  const RunOptions& options_;
  Results& results_;
};

}  // namespace

absl::StatusOr<Results> RunCases(Session& session, const RunOptions& options) {
  Results results;
  results.device = session.backend().info();
  if (const std::string more = session.tools().driver(); !more.empty()) {
    absl::StrAppend(&results.device.driver, ", ", more);
  }
  results.method = std::string(session.tools().method());
  results.checked = options.check;
  RETURN_IF_ERROR(WarmUp(session));
  Runner runner(session, options, results);
  for (Row& row : MeasureCeilings(session, results.ceilings)) runner.Add(std::move(row));
  for (const Case& c : session.preset().cases) runner.RunCase(c);
  return results;
}

}  // namespace weft::bench
