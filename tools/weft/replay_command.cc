// SPDX-License-Identifier: Apache-2.0
//
// weft replay: real traffic through the attention of a model.
#include <charconv>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/kv_cache.h"
#include "core/registry.h"
#include "core/status_macros.h"
#include "tools/replay/chrome_trace.h"
#include "tools/replay/dcp_rank.h"
#include "tools/replay/defaults.h"
#include "tools/replay/engine.h"
#include "tools/replay/generator.h"
#include "tools/replay/preset.h"
#include "tools/replay/progress.h"
#include "tools/replay/recorder.h"
#include "tools/replay/report.h"
#include "tools/replay/report_page.h"
#include "tools/replay/trace.h"
#include "tools/weft/command.h"

namespace weft::cli {
namespace {

using replay::Preset;
using replay::TraceRequest;

struct Flags {
  std::string trace, requests = "200", pcp = "1", dcp = "1", kv_dtype, backend = "auto",
                     preset = "llama-8b", layers = "2", scale, check_every = "16", seed = "0",
                     deadline = "600", report, trace_out;
  bool json = false;
};

// What the flags say, checked.
struct Options {
  int64_t requests = 0, pcp = 0, dcp = 0, layers = 0, check_every = 0, seed = 0, deadline = 0;
  double scale = 0;  // 0: by the device
  Preset preset;
};

absl::StatusOr<Options> ParseFlags(const Flags& flags, const Arguments& arguments) {
  constexpr int64_t kMany = 1000000;
  const auto bad = [&](std::string_view flag, std::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(arguments.AsTyped(flag), ": ", why));
  };
  Options options;
  ASSIGN_OR_RETURN(options.requests, arguments.Int("--requests", flags.requests, 1, kMany));
  ASSIGN_OR_RETURN(options.pcp, arguments.Int("--pcp", flags.pcp, 1, 64));
  ASSIGN_OR_RETURN(options.dcp, arguments.Int("--dcp", flags.dcp, 1, 64));
  if (options.pcp > 1 && options.dcp > 1) {
    return bad("--dcp", absl::StrCat("not together with ", arguments.AsTyped("--pcp")));
  }
  ASSIGN_OR_RETURN(options.layers, arguments.Int("--layers", flags.layers, 1, 1000));
  ASSIGN_OR_RETURN(options.check_every,
                   arguments.Int("--check-every", flags.check_every, 1, kMany));
  ASSIGN_OR_RETURN(options.seed,
                   arguments.Int("--seed", flags.seed, 0, std::numeric_limits<int64_t>::max()));
  ASSIGN_OR_RETURN(options.deadline, arguments.Int("--deadline", flags.deadline, 1, kMany));
  if (!flags.scale.empty() || arguments.AsTyped("--scale") != "--scale") {
    const bool number = absl::SimpleAtod(flags.scale, &options.scale);
    if (!number || !(options.scale > 0 && options.scale <= 1)) {
      return bad("--scale", "not a number above 0 and up to 1");
    }
  }
  const absl::StatusOr<Preset> preset = replay::FindPreset(flags.preset);
  if (!preset.ok()) return bad("--preset", preset.status().message());
  options.preset = *preset;
  if (!flags.kv_dtype.empty()) {
    const absl::Status status = replay::SetKvDType(flags.kv_dtype, options.preset);
    if (!status.ok()) return bad("--kv-dtype", status.message());
  }
  for (const AttentionSpec& kind : options.preset.Kinds()) {
    if (options.dcp == 1) break;
    const auto layers = replay::DcpLayers::For(kind, options.dcp, /*rank=*/0);
    if (!layers.ok()) return bad("--dcp", layers.status().message());
  }
  const absl::Status backend = CheckBackendName(flags.backend, /*allow_auto=*/true);
  if (!backend.ok()) return bad("--backend", backend.message());
  for (const auto& [flag, path] :
       {std::pair("--report", &flags.report), std::pair("--trace-out", &flags.trace_out)}) {
    const absl::Status writable = path->empty() ? absl::OkStatus() : CheckWritable(*path);
    if (!writable.ok()) return bad(flag, writable.message());
  }
  return options;
}

// All of the file is checked, also what lies behind --requests.
absl::StatusOr<std::vector<TraceRequest>> LoadTrace(const Flags& flags, const Options& options,
                                                    const Arguments& arguments) {
  if (arguments.AsTyped("--trace") == "--trace") {
    return replay::GenerateTrace(options.requests, options.seed);
  }
  ASSIGN_OR_RETURN(std::vector<TraceRequest> trace, replay::ReadTrace(ResolvePath(flags.trace)));
  if (static_cast<int64_t>(trace.size()) > options.requests) trace.resize(options.requests);
  return trace;
}

absl::Status Supports(const Backend& backend, const Preset& preset) {
  for (const AttentionSpec& spec : preset.Kinds()) {
    ASSIGN_OR_RETURN(const KvCacheLayout layout,
                     KvCacheLayout::Nhd(spec.kv_dtype, 16, spec.num_kv_heads, spec.head_size));
    RETURN_IF_ERROR(backend.Supports(spec, layout));
  }
  return absl::OkStatus();
}

// The first backend that supports the preset; the reasons of all otherwise.
absl::StatusOr<std::shared_ptr<Backend>> OpenAny(const Preset& preset) {
  std::string reasons;
  for (const BackendListing& listing : Registry::Default().List()) {
    if (!listing.status.ok()) absl::StrAppend(&reasons, "; ", listing.status.message());
    for (const DeviceInfo& device : listing.devices) {
      absl::StatusOr<std::shared_ptr<Backend>> backend =
          Registry::Default().Create(ToString(device.id));
      const absl::Status status = backend.ok() ? Supports(**backend, preset) : backend.status();
      if (status.ok()) return backend;
      absl::StrAppend(&reasons, "; ", ToString(device.id), ": ", status.message());
    }
  }
  return absl::UnavailableError(absl::StrCat("no backend here can run ", preset.name, reasons));
}

absl::StatusOr<std::shared_ptr<Backend>> OpenBackend(const std::string& name,
                                                     const Preset& preset) {
  if (name == "auto") return OpenAny(preset);
  ASSIGN_OR_RETURN(std::shared_ptr<Backend> backend, Registry::Default().Create(name));
  const absl::Status status = Supports(*backend, preset);
  if (status.ok()) return backend;
  return absl::Status(status.code(), absl::StrCat(ToString(backend->device()), " cannot run ",
                                                  preset.name, ": ", status.message()));
}

// The fewest digits that give the same number when they are read.
std::string Shortest(double number) {
  char text[32];
  const std::to_chars_result result = std::to_chars(text, text + sizeof(text), number);
  return std::string(text, result.ptr);
}

// What gives the same run when it is typed in.
std::string CommandLine(const Flags& flags, const Options& options, double scale,
                        const Backend& backend) {
  std::string line = "weft replay";
  if (!flags.trace.empty()) absl::StrAppend(&line, " --trace=", absl::CHexEscape(flags.trace));
  return absl::StrCat(line, " --requests=", options.requests, " --pcp=", options.pcp,
                      " --dcp=", options.dcp,
                      flags.kv_dtype.empty() ? "" : absl::StrCat(" --kv-dtype=", flags.kv_dtype),
                      " --backend=", ToString(backend.device()), " --preset=", options.preset.name,
                      " --layers=", options.layers, " --scale=", Shortest(scale),
                      " --check-every=", options.check_every, " --seed=", options.seed);
}

// The page and the trace, as far as they were asked for.
absl::Status WriteFiles(const Flags& flags, const replay::RunLabel& label,
                        const replay::EngineConfig& config, const replay::RunStats& stats,
                        const replay::Recorder& recorder) {
  if (!flags.report.empty()) {
    RETURN_IF_ERROR(WriteFile(
        flags.report, replay::ReportPage(replay::ReportPageData(label, config, stats, recorder))));
  }
  if (flags.trace_out.empty()) return absl::OkStatus();
  return WriteFile(flags.trace_out, replay::ChromeTrace(label, config, recorder));
}

int RunEngine(const Flags& flags, const Options& options, const std::vector<TraceRequest>& trace,
              const std::shared_ptr<Backend>& backend) {
  replay::RunLabel label;
  label.device = backend->info();
  label.source = flags.trace.empty() ? "built-in" : flags.trace;
  label.requests = static_cast<int64_t>(trace.size());
  label.scale = options.scale > 0
                    ? options.scale
                    : replay::DefaultScale(backend->info(), trace, options.preset, options.layers);
  const replay::Workload workload = replay::ScaleTrace(trace, label.scale);
  replay::EngineConfig config;
  config.preset = options.preset;
  config.scheduler = replay::DefaultSchedulerConfig(workload, label.scale, options.dcp);
  config.world_size = options.pcp;
  config.dcp = options.dcp;
  config.num_layers = options.layers;
  config.check_every = options.check_every;
  config.seed = static_cast<uint64_t>(options.seed);
  config.timeout = absl::Seconds(options.deadline);
  config.run = CommandLine(flags, options, label.scale, *backend);

  absl::StatusOr<std::unique_ptr<replay::Engine>> engine =
      replay::Engine::Create(config, backend, workload);
  if (!engine.ok()) {
    const bool input = engine.status().code() == absl::StatusCode::kOutOfRange;
    return Report({input ? kUsage : kFailed, std::string(engine.status().message())});
  }
  absl::StatusOr<replay::RunStats> stats = absl::UnknownError("");
  replay::Recorder recorder(workload);
  {
    replay::ProgressBar bar;
    stats = (*engine)->Run([&](int64_t done, int64_t total) { bar.Update(done, total); },
                           recorder.Observer());
  }
  if (!stats.ok()) return Report({kFailed, std::string(stats.status().message())});
  const std::string report = flags.json
                                 ? absl::StrCat(replay::ReportJson(label, config, *stats), "\n")
                                 : replay::ReportTable(label, config, *stats);
  std::fputs(report.c_str(), stdout);
  std::fflush(stdout);
  for (const std::string& mismatch : stats->mismatches) {
    absl::FPrintF(stderr, "mismatch: %s\n", mismatch);
  }
  const absl::Status written = WriteFiles(flags, label, config, *stats, recorder);
  if (!written.ok()) return Report({kFailed, std::string(written.message())});
  return stats->mismatches.empty() ? kOk : kFailed;
}

int Run(const Flags& flags, const Arguments& arguments) {
  const absl::StatusOr<Options> options = ParseFlags(flags, arguments);
  if (!options.ok()) return Report({kUsage, std::string(options.status().message())});
  const absl::StatusOr<std::vector<TraceRequest>> trace = LoadTrace(flags, *options, arguments);
  if (!trace.ok()) return Report({kUsage, std::string(trace.status().message())});
  const absl::StatusOr<std::shared_ptr<Backend>> backend =
      OpenBackend(flags.backend, options->preset);
  if (!backend.ok()) {
    return Report({CodeForBackendError(backend.status()),
                   absl::StrCat(arguments.AsTyped("--backend"), ": ", backend.status().message())});
  }
  return RunEngine(flags, *options, *trace, *backend);
}

}  // namespace

Command ReplayCommand(const Arguments& arguments) {
  auto flags = std::make_shared<Flags>();
  std::string presets;
  for (const Preset& preset : replay::Presets()) {
    absl::StrAppend(&presets, presets.empty() ? "" : "; ", preset.name, ": ", preset.description);
  }
  Command command;
  command.name = "replay";
  command.description = "Replay a serving trace through a model's attention";
  command.flags = {
      {"--trace",
       "Mooncake JSONL or Azure CSV (made up on the spot, like Mooncake's conversations)",
       &flags->trace},
      {"--requests", "replay the first N requests (200)", &flags->requests},
      {"--pcp", "ranks that share each prefill, 1 to 64 (1)", &flags->pcp},
      {"--dcp", "ranks that share cache and heads, and merge by LSE; 1 to 64, not with --pcp (1)",
       &flags->dcp},
      {"--kv-dtype",
       "type of the cache: f16, bf16 (of the whole model then), fp8_e4m3, fp8_e5m2 (the model's)",
       &flags->kv_dtype},
      {"--backend",
       "auto, cuda, vulkan, reference; vulkan:1, vulkan:llvmpipe (auto: the first of cuda, vulkan, "
       "reference that supports the preset)",
       &flags->backend},
      {"--preset", presets + " (llama-8b)", &flags->preset},
      {"--layers", "layers to run; all cost the same (2)", &flags->layers},
      {"--scale",
       "shrink all lengths, above 0 and up to 1 (1 on a GPU; what ends in about a minute on a "
       "software device)",
       &flags->scale},
      {"--check-every", "hold 64 answers of every N-th step against float64 (16)",
       &flags->check_every},
      {"--seed", "of the made-up trace, the content and the samples (0)", &flags->seed},
      {"--deadline", "seconds that one step may take (600)", &flags->deadline},
      {"--json", "one JSON object on stdout", nullptr, &flags->json},
      {"--report", "write a page with plots: FILE.html", &flags->report},
      {"--trace-out", "write a trace for Perfetto or chrome://tracing: FILE.json",
       &flags->trace_out},
  };
  command.footer =
      "Examples:\n"
      "  weft replay\n"
      "  weft replay --trace=mooncake_conversation.jsonl --requests=60 --pcp=4 --report=run.html";
  command.run = [flags, &arguments] { return Run(*flags, arguments); };
  return command;
}

}  // namespace weft::cli
