// SPDX-License-Identifier: Apache-2.0
#include "vulkan/software_device.h"

#include <limits.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/status_macros.h"
#include "vulkan/runtime/loader.h"

#if !defined(WEFT_SOFTWARE_VULKAN_PRESENT) || !defined(WEFT_SOFTWARE_ICD_RLOCATION) || \
    !defined(WEFT_SOFTWARE_LOADER_RLOCATION) || !defined(WEFT_VALIDATION_LAYER_RLOCATION)
#error "SOFTWARE_VULKAN_DEFINES of //tools/build_defs/vulkan:defs.bzl are missing"
#endif

namespace weft::vulkan {
namespace {

bool IsSet(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

std::string Executable() {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  return length < 0 ? std::string() : std::string(path, static_cast<size_t>(length));
}

std::vector<std::string> RunfilesRoots() {
  std::vector<std::string> roots;
  for (const char* variable : {"RUNFILES_DIR", "TEST_SRCDIR"}) {
    if (IsSet(variable)) roots.push_back(std::getenv(variable));
  }
  const std::string executable = Executable();
  if (executable.empty()) return roots;
  roots.push_back(absl::StrCat(executable, ".runfiles"));
  constexpr std::string_view kInside = ".runfiles/";
  if (const size_t at = executable.rfind(kInside); at != std::string::npos) {
    roots.push_back(executable.substr(0, at + kInside.size() - 1));
  }
  return roots;
}

absl::Status CheckPresent() {
  if (WEFT_SOFTWARE_VULKAN_PRESENT) return absl::OkStatus();
  return absl::NotFoundError("this build carries no software Vulkan device");
}

// Mesa keeps compiled shaders under XDG_CACHE_HOME or HOME, and compiles them anew in each process
// where it can write to neither.
void ChooseShaderCache() {
  for (const char* variable : {"MESA_SHADER_CACHE_DIR", "MESA_SHADER_CACHE_DISABLE"}) {
    if (IsSet(variable)) return;
  }
  for (const char* variable : {"XDG_CACHE_HOME", "HOME"}) {
    if (IsSet(variable) && access(std::getenv(variable), W_OK) == 0) return;
  }
  setenv("MESA_SHADER_CACHE_DIR", absl::StrCat("/tmp/weft-mesa-shader-cache-", getuid()).c_str(),
         /*overwrite=*/1);
}

}  // namespace

absl::StatusOr<std::string> FindRunfile(const std::string& rlocation) {
  const std::vector<std::string> roots = RunfilesRoots();
  for (const std::string& root : roots) {
    std::string path = absl::StrCat(root, "/", rlocation);
    if (access(path.c_str(), R_OK) == 0) return path;
  }
  return absl::NotFoundError(
      absl::StrCat("no runfile ", rlocation, " under ", absl::StrJoin(roots, ", ")));
}

absl::Status UseBundledSoftwareDevice() {
  RETURN_IF_ERROR(CheckPresent());
  ASSIGN_OR_RETURN(std::string driver, FindRunfile(WEFT_SOFTWARE_ICD_RLOCATION));
  ASSIGN_OR_RETURN(std::string loader, FindRunfile(WEFT_SOFTWARE_LOADER_RLOCATION));
  SetFallbackLoader(std::move(loader));
  ChooseShaderCache();
  if (IsSet("VK_DRIVER_FILES") || IsSet("VK_ICD_FILENAMES")) return absl::OkStatus();
  if (IsSet("VK_ADD_DRIVER_FILES")) {
    driver = absl::StrCat(std::getenv("VK_ADD_DRIVER_FILES"), ":", driver);
  }
  setenv("VK_ADD_DRIVER_FILES", driver.c_str(), /*overwrite=*/1);
  return absl::OkStatus();
}

absl::Status UseBundledValidationLayer() {
  RETURN_IF_ERROR(CheckPresent());
  if (IsSet("VK_LAYER_PATH")) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string manifest, FindRunfile(WEFT_VALIDATION_LAYER_RLOCATION));
  setenv("VK_LAYER_PATH", manifest.substr(0, manifest.rfind('/')).c_str(), /*overwrite=*/1);
  return absl::OkStatus();
}

}  // namespace weft::vulkan
