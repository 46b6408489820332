// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/element_type.h"

#include "core/dtype.h"

namespace weft::cuda {

ElementType ToElementType(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return ElementType::kF16;
    case DType::kBF16:
      return ElementType::kBF16;
    case DType::kF8E4M3:
      return ElementType::kE4M3;
    case DType::kF8E5M2:
      return ElementType::kE5M2;
    case DType::kF32:
    case DType::kI32:
    case DType::kI64:
    case DType::kU8:
      break;
  }
  return ElementType::kF32;
}

}  // namespace weft::cuda
