// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/chrome_trace.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace weft::replay {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kProcess = 1;
constexpr int64_t kStepsTrack = 0;

int64_t HostTrack(int64_t rank) { return 1 + 2 * rank; }
int64_t DeviceTrack(int64_t rank) { return 2 + 2 * rank; }

// Whole nanoseconds, in microseconds: what ends where another one begins does so exactly.
double Microseconds(double seconds) { return std::round(seconds * 1e9) / 1e3; }

class Writer {
 public:
  // A name that a viewer shows for a track, and its place from the top.
  void Track(int64_t track, std::string_view name) {
    Emit({{"ph", "M"},
          {"name", "thread_name"},
          {"pid", kProcess},
          {"tid", track},
          {"args", {{"name", name}}}});
    Emit({{"ph", "M"},
          {"name", "thread_sort_index"},
          {"pid", kProcess},
          {"tid", track},
          {"args", {{"sort_index", track}}}});
  }

  void Process(std::string_view name) {
    Emit({{"ph", "M"}, {"name", "process_name"}, {"pid", kProcess}, {"args", {{"name", name}}}});
  }

  void Slice(int64_t track, std::string_view category, std::string_view name, double begin_s,
             double end_s, const Json& args = Json::object()) {
    const double begin = Microseconds(begin_s);
    Emit({{"ph", "X"},
          {"cat", category},
          {"name", name},
          {"pid", kProcess},
          {"tid", track},
          {"ts", begin},
          {"dur", std::max(0.0, Round(Microseconds(end_s) - begin))},
          {"args", args}});
  }

  // Async events of one id nest, and stand in order.
  void Begin(int64_t id, std::string_view name, double at_s, const Json& args = Json::object()) {
    Emit({{"ph", "b"},
          {"cat", "request"},
          {"id", id},
          {"name", name},
          {"pid", kProcess},
          {"tid", kStepsTrack},
          {"ts", Microseconds(at_s)},
          {"args", args}});
  }

  void End(int64_t id, std::string_view name, double at_s) {
    Emit({{"ph", "e"},
          {"cat", "request"},
          {"id", id},
          {"name", name},
          {"pid", kProcess},
          {"tid", kStepsTrack},
          {"ts", Microseconds(at_s)}});
  }

  void Counter(std::string_view name, double at_s, const Json& values) {
    Emit({{"ph", "C"},
          {"name", name},
          {"pid", kProcess},
          {"ts", Microseconds(at_s)},
          {"args", values}});
  }

  std::string Finish(const Json& about) {
    return absl::StrCat("{\"displayTimeUnit\":\"ms\",\"otherData\":", Dump(about),
                        ",\"traceEvents\":[\n", events_, "\n]}\n");
  }

 private:
  static double Round(double microseconds) { return std::round(microseconds * 1e3) / 1e3; }

  // A device's name may be anything; `replace` keeps dump from throwing over it.
  static std::string Dump(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  void Emit(const Json& event) {
    absl::StrAppend(&events_, events_.empty() ? "" : ",\n", Dump(event));
  }

  std::string events_;
};

void WriteStep(const StepSample& step, int64_t index, Writer& writer) {
  const std::string name = absl::StrCat("step ", index);
  writer.Slice(kStepsTrack, "step", name, step.start_s, step.end_s,
               {{"prefill_tokens", step.prefill_tokens},
                {"decode_tokens", step.decode_tokens},
                {"reused_tokens", step.reused_tokens},
                {"virtual_start_ms", step.virtual_start_ms},
                {"virtual_end_ms", step.virtual_end_ms}});
  writer.Slice(kStepsTrack, "step", "prepare", step.start_s, step.prepared_s);
  writer.Slice(kStepsTrack, "step", "ranks", step.prepared_s, step.ran_s);
  writer.Slice(kStepsTrack, "step", "digest", step.ran_s, step.end_s);
  if (step.samples > 0) {
    writer.Slice(kStepsTrack, "oracle", "oracle", step.end_s, step.judged_s,
                 {{"samples", step.samples}});
  }
  writer.Counter("tokens of a step", step.start_s,
                 {{"prefill", step.prefill_tokens}, {"decode", step.decode_tokens}});
  writer.Counter("requests", step.start_s,
                 {{"prefill", step.prefills}, {"decode", step.decodes}, {"waiting", step.waiting}});
  const BlockCounts& blocks = step.blocks;
  writer.Counter("cache blocks", step.start_s,
                 {{"used", blocks.used},
                  {"cached", blocks.cached},
                  {"free", blocks.total - blocks.used - blocks.cached}});
}

// `free_s`: where the rank's device track ends so far. A step's sums may be longer than its wait,
// where a device works on several things at once.
void WriteRank(const RankSample& rank, int64_t step, int64_t number, double& free_s,
               Writer& writer) {
  const int64_t host = HostTrack(number);
  writer.Slice(host, "rank", absl::StrCat("step ", step), rank.start_s, rank.done_s,
               {{"rows", rank.rows},
                {"padding_rows", rank.padding_rows},
                {"causal_pairs", rank.causal_pairs}});
  writer.Slice(host, "rank", "plan", rank.start_s, rank.planned_s);
  writer.Slice(host, "rank", "record", rank.planned_s, rank.recorded_s);
  writer.Slice(host, "rank", "wait", rank.recorded_s, rank.done_s);
  free_s = std::max(free_s, rank.planned_s);
  for (int kind = 0; kind < kNumOpKinds; ++kind) {
    const OpTime& op = rank.ops[kind];
    if (op.calls == 0) continue;
    const double end_s = free_s + absl::ToDoubleSeconds(op.time);
    writer.Slice(DeviceTrack(number), "device", Name(static_cast<OpKind>(kind)), free_s, end_s,
                 {{"calls", op.calls}, {"place", "made up; the length is measured"}});
    free_s = end_s;
  }
}

void WriteRequest(const RequestSample& request, int64_t index, const std::vector<StepSample>& steps,
                  Writer& writer) {
  if (request.first_step < 0) return;
  // What a stopped run has not finished ends with the run.
  const auto end_of = [&](int64_t step) {
    return step < 0 ? steps.back().end_s : steps[step].end_s;
  };
  const std::string name = absl::StrCat("request ", index);
  const double begin_s = steps[request.first_step].start_s;
  const double token_s = end_of(request.first_token_step);
  const double end_s = end_of(request.last_step);
  writer.Begin(index, name, begin_s,
               {{"prompt_tokens", request.prompt_length},
                {"output_tokens", request.output_length},
                {"reused_tokens", request.reused_tokens},
                {"virtual_arrival_ms", request.arrival_ms},
                {"finished", request.last_step >= 0}});
  writer.Begin(index, "prefill", begin_s);
  writer.End(index, "prefill", token_s);
  if (request.first_token_step >= 0) {
    writer.Begin(index, "decode", token_s);
    writer.End(index, "decode", end_s);
  }
  writer.End(index, name, end_s);
}

}  // namespace

std::string ChromeTrace(const RunLabel& label, const EngineConfig& config,
                        const Recorder& recorder) {
  Writer writer;
  writer.Process("weft replay (wall clock)");
  writer.Track(kStepsTrack, "steps");
  for (int64_t rank = 0; rank < config.num_ranks(); ++rank) {
    writer.Track(HostTrack(rank), absl::StrCat("rank ", rank));
    writer.Track(DeviceTrack(rank), absl::StrCat("rank ", rank, " on the device (sums of a step)"));
  }
  std::vector<double> free_s(config.num_ranks(), 0);
  const std::vector<StepSample>& steps = recorder.steps();
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    WriteStep(steps[i], index, writer);
    for (size_t rank = 0; rank < steps[i].ranks.size(); ++rank) {
      WriteRank(steps[i].ranks[rank], index, static_cast<int64_t>(rank), free_s[rank], writer);
    }
  }
  for (size_t i = 0; i < recorder.requests().size(); ++i) {
    WriteRequest(recorder.requests()[i], static_cast<int64_t>(i), steps, writer);
  }
  return writer.Finish({{"run", config.run},
                        {"device", label.device.name},
                        {"trace", label.source},
                        {"clock", "wall, from the first step; virtual_* is the scheduler's"}});
}

}  // namespace weft::replay
