// SPDX-License-Identifier: Apache-2.0
//
// From the arguments of Queue::QuantizeFp8 to those of the kernel's launches.
#ifndef WEFT_CUDA_KERNELS_QUANTIZE_ARGUMENTS_H_
#define WEFT_CUDA_KERNELS_QUANTIZE_ARGUMENTS_H_

#include "absl/status/statusor.h"
#include "core/queue.h"
#include "cuda/kernels/quantize/params.h"

namespace weft::cuda {

// `args` are as Queue::QuantizeFp8 passes them on: checked, with at least one element.
// OUT_OF_RANGE: a head of 2^31 elements or more, or a row of as many parts.
absl::StatusOr<QuantizeFp8Params> MapQuantizeFp8(const QuantizeFp8Args& args);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_QUANTIZE_ARGUMENTS_H_
