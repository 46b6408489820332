// SPDX-License-Identifier: Apache-2.0
#include "cuda/bench/cublas.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "cuda/runtime/status.h"

namespace weft::cuda {
namespace {

// Values of cublas_v2.h and library_types.h.
constexpr int kNoTranspose = 0, kBF16 = 14, kCompute32F = 68, kDefaultAlgorithm = -1;
// What NVIDIA recommends for Hopper; without one of its own a captured call would allocate.
constexpr size_t kWorkspaceBytes = size_t{32} << 20;

void* OpenLibrary() {
  std::vector<std::string> names;
  if (const char* const named = std::getenv("WEFT_CUBLAS"); named != nullptr) {
    names.push_back(named);
  }
  for (const char* folder : {"", "/usr/local/cuda/lib64/"}) {
    for (const char* name : {"libcublas.so.13", "libcublas.so.12"}) {
      names.push_back(absl::StrCat(folder, name));
    }
  }
  for (const std::string& name : names) {
    // Never closed: a library with threads and contexts does not go away cleanly.
    if (void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL); library != nullptr) {
      return library;
    }
  }
  return nullptr;
}

absl::Status Check(int status, std::string_view what) {
  if (status == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cuBLAS: ", what, " fails with status ", status));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Cublas>> Cublas::Open(cudaStream_t stream) {
  void* const library = OpenLibrary();
  if (library == nullptr) {
    return absl::UnavailableError("no cuBLAS here (WEFT_CUBLAS=/path/libcublas.so names one)");
  }
  auto cublas = std::unique_ptr<Cublas>(new Cublas);
  RETURN_IF_ERROR(cublas->Load(library, stream));
  return cublas;
}

absl::Status Cublas::Load(void* library, cudaStream_t stream) {
  bool all = true;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
    all = all && function != nullptr;
  };
  find(create_, "cublasCreate_v2");
  find(destroy_, "cublasDestroy_v2");
  find(set_stream_, "cublasSetStream_v2");
  find(set_workspace_, "cublasSetWorkspace_v2");
  find(gemm_, "cublasGemmEx");
  if (!all) return absl::UnavailableError("cuBLAS: a function is missing in the library");
  RETURN_IF_ERROR(Check(create_(&handle_), "cublasCreate"));
  RETURN_IF_ERROR(Check(set_stream_(handle_, stream), "cublasSetStream"));
  RETURN_IF_ERROR(ToStatus(cudaMalloc(&workspace_, kWorkspaceBytes), "a workspace for cuBLAS"));
  return Check(set_workspace_(handle_, workspace_, kWorkspaceBytes), "cublasSetWorkspace");
}

Cublas::~Cublas() {
  if (handle_ != nullptr) destroy_(handle_);
  cudaFree(workspace_);
}

absl::Status Cublas::Multiply(uint64_t a, uint64_t b, uint64_t c, int64_t n) {
  const float one = 1.0f, zero = 0.0f;
  const int size = static_cast<int>(n);
  const auto pointer = [](uint64_t address) { return reinterpret_cast<void*>(address); };
  // Column-major there: the product of the transposes the other way round.
  return Check(gemm_(handle_, kNoTranspose, kNoTranspose, size, size, size, &one, pointer(b), kBF16,
                     size, pointer(a), kBF16, size, &zero, pointer(c), kBF16, size, kCompute32F,
                     kDefaultAlgorithm),
               "cublasGemmEx");
}

}  // namespace weft::cuda
