// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/quantize/arguments.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/divisor.h"
#include "core/tensor_view.h"
#include "cuda/kernels/element_type.h"
#include "cuda/kernels/places_of.h"
#include "cuda/kernels/row_groups.h"

namespace weft::cuda {

absl::StatusOr<QuantizeFp8Params> MapQuantizeFp8(const QuantizeFp8Args& args) {
  const TensorView& source = args.source;
  const int64_t heads = source.extent(1), head_size = source.extent(2);
  QuantizeFp8Params p = {};
  p.rows = source.extent(0);
  p.source = PlacesOf(source, p.rows);
  p.destination = PlacesOf(args.destination, p.rows);
  p.head_scales = args.head_scales.address();
  p.scale = args.scale;
  p.source_type = ToElementType(source.dtype());
  p.destination_type = ToElementType(args.destination.dtype());

  const int64_t count = kVectorBytes / ElementBytes(p.source_type);
  p.whole = head_size % count == 0 && IsAligned(p.source, kVectorBytes) &&
            IsAligned(p.destination, count);
  const int64_t vectors = p.whole ? head_size / count : head_size;
  const int64_t parts = (vectors - 1) / kQuantizeVectorsOfPart + 1;
  if (head_size > kMaxItems || heads > kMaxItems / parts) {
    return absl::OutOfRangeError(absl::StrCat("quantize_fp8: ", heads, " heads of ", head_size,
                                              " elements, more than 31 bits count"));
  }
  p.heads = static_cast<uint32_t>(heads);
  p.parts = static_cast<uint32_t>(parts);
  p.by_heads = MakeDivisor(p.heads);
  p.by_parts = MakeDivisor(p.parts);
  p.vectors = static_cast<uint32_t>(vectors);
  p.lanes_log2 = LanesLog2(vectors, kQuantizeVectorsInFlight);
  return p;
}

}  // namespace weft::cuda
