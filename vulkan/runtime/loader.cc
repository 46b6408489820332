// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/loader.h"

#include <dlfcn.h>

#include <string>
#include <utility>

#include "absl/base/no_destructor.h"
#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/status_macros.h"

namespace weft::vulkan {
namespace {

struct Loader {
  absl::Mutex mutex;
  std::string fallback ABSL_GUARDED_BY(mutex);
  bool open ABSL_GUARDED_BY(mutex) = false;
  GlobalApi api;  // written once, before `open`
};

Loader& TheLoader() {
  static absl::NoDestructor<Loader> loader;
  return *loader;
}

}  // namespace

void SetFallbackLoader(std::string path) {
  Loader& loader = TheLoader();
  absl::MutexLock lock(&loader.mutex);
  loader.fallback = std::move(path);
}

absl::StatusOr<const GlobalApi*> OpenLoader() {
  Loader& loader = TheLoader();
  absl::MutexLock lock(&loader.mutex);
  if (loader.open) return &loader.api;

  std::string reason;
  void* library = nullptr;
  for (const std::string& name : {std::string("libvulkan.so.1"), loader.fallback}) {
    if (name.empty()) continue;
    library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) break;
    absl::StrAppend(&reason, reason.empty() ? "" : "; ", dlerror());
  }
  if (library == nullptr) {
    return absl::UnavailableError(absl::StrCat("no Vulkan loader: ", reason));
  }
  auto get = reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"));
  if (get == nullptr) {
    return absl::UnavailableError("the Vulkan loader has no vkGetInstanceProcAddr");
  }
  RETURN_IF_ERROR(LoadGlobalApi(get, loader.api));
  loader.open = true;
  return &loader.api;
}

}  // namespace weft::vulkan
