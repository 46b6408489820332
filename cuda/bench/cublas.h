// SPDX-License-Identifier: Apache-2.0
//
// cuBLAS where it is: opened at run time, for one product that is a ceiling. Nothing links it.
#ifndef WEFT_CUDA_BENCH_CUBLAS_H_
#define WEFT_CUDA_BENCH_CUBLAS_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {

class Cublas {
 public:
  // For the current device. Looks for $WEFT_CUBLAS, libcublas.so.13, libcublas.so.12 and where a
  // toolkit has them. UNAVAILABLE: found nowhere, or it refuses.
  static absl::StatusOr<std::unique_ptr<Cublas>> Open(cudaStream_t stream);
  ~Cublas();
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;

  // Puts c = a * b on the stream: bf16 [n, n], row-major, sums in f32.
  absl::Status Multiply(uint64_t a, uint64_t b, uint64_t c, int64_t n);

 private:
  using Handle = void*;
  Cublas() = default;
  absl::Status Load(void* library, cudaStream_t stream);

  // As cublas_v2.h declares them; its enums are ints.
  int (*create_)(Handle*) = nullptr;
  int (*destroy_)(Handle) = nullptr;
  int (*set_stream_)(Handle, cudaStream_t) = nullptr;
  int (*set_workspace_)(Handle, void*, size_t) = nullptr;
  int (*gemm_)(Handle, int, int, int, int, int, const void*, const void*, int, int, const void*,
               int, int, const void*, void*, int, int, int, int) = nullptr;
  Handle handle_ = nullptr;
  void* workspace_ = nullptr;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_BENCH_CUBLAS_H_
