// SPDX-License-Identifier: Apache-2.0
//
// weft info: the devices that there are, and why there are no others.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/registry.h"
#include "nlohmann/json.hpp"
#include "tools/weft/command.h"

namespace weft::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Flags {
  bool json = false;
};

std::string Gibibytes(int64_t bytes) {
  return absl::StrFormat("%.1f GiB", static_cast<double>(bytes) / (int64_t{1} << 30));
}

void Print(const std::vector<BackendListing>& listings) {
  for (const BackendListing& listing : listings) {
    if (!listing.status.ok()) {
      absl::PrintF("%-12s absent: %s\n", Name(listing.kind), listing.status.message());
    }
    for (const DeviceInfo& device : listing.devices) {
      const auto line = [](std::string_view name, std::string_view value) {
        if (!value.empty()) absl::PrintF("  %-22s %s\n", name, value);
      };
      absl::PrintF("%-12s %s%s\n", ToString(device.id), device.name,
                   device.is_software ? " (software)" : "");
      line("driver", device.driver);
      if (device.memory_bytes > 0) line("memory", Gibibytes(device.memory_bytes));
      if (device.max_allocation_bytes > 0) {
        line("largest allocation", Gibibytes(device.max_allocation_bytes));
      }
      for (const auto& [name, value] : device.limits) line(name, value);
    }
  }
}

Json ToJson(const std::vector<BackendListing>& listings) {
  Json backends = Json::array();
  for (const BackendListing& listing : listings) {
    Json backend;
    backend["backend"] = Name(listing.kind);
    backend["available"] = listing.status.ok();
    if (!listing.status.ok()) backend["why_absent"] = std::string(listing.status.message());
    backend["devices"] = Json::array();
    for (const DeviceInfo& info : listing.devices) {
      Json device;
      device["id"] = ToString(info.id);
      device["name"] = info.name;
      device["driver"] = info.driver;
      device["is_software"] = info.is_software;
      device["memory_bytes"] = info.memory_bytes;
      device["max_allocation_bytes"] = info.max_allocation_bytes;
      device["limits"] = Json::object();
      for (const auto& [name, value] : info.limits) device["limits"][name] = value;
      backend["devices"].push_back(std::move(device));
    }
    backends.push_back(std::move(backend));
  }
  Json json;
  json["backends"] = std::move(backends);
  return json;
}

int Run(const Flags& flags) {
  const std::vector<BackendListing> listings = Registry::Default().List();
  if (!flags.json) {
    Print(listings);
    return kOk;
  }
  // A driver's strings may be anything; `replace` keeps dump from throwing over them.
  const std::string text =
      ToJson(listings).dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  std::fputs(text.c_str(), stdout);
  return kOk;
}

}  // namespace

Command InfoCommand(const Arguments&) {
  auto flags = std::make_shared<Flags>();
  Command command;
  command.name = "info";
  command.description = "Show devices, their limits, and why a backend is absent";
  command.flags = {{"--json", "one JSON object on stdout", nullptr, &flags->json}};
  command.run = [flags] { return Run(*flags); };
  return command;
}

}  // namespace weft::cli
