// SPDX-License-Identifier: Apache-2.0
#include "core/view_check.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace weft {
namespace {

template <typename... T>
absl::Status Invalid(const T&... text) {
  return absl::InvalidArgumentError(absl::StrCat(text...));
}

struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;
};

Range RangeOf(const TensorView& view) {
  return {view.address(), view.address() + static_cast<uint64_t>(view.span_bytes())};
}

bool Overlap(Range a, Range b) { return a.begin < b.end && b.begin < a.end; }

bool SameView(const TensorView& a, const TensorView& b) {
  if (a.address() != b.address() || a.dtype() != b.dtype() || a.rank() != b.rank()) return false;
  for (int axis = 0; axis < a.rank(); ++axis) {
    if (a.extent(axis) > 1 && b.extent(axis) > 1 && a.stride(axis) != b.stride(axis)) return false;
  }
  return true;
}

}  // namespace

absl::Status ViewCheck::Memory(std::string_view name, const TensorView& view) const {
  if (!view.given()) return Invalid(name, " is not given");
  if (view.device() != device) {
    return Invalid(name, " lies on ", ToString(view.device()), ", the queue's device is ",
                   ToString(device));
  }
  absl::Status found = allocations.Check(view.address(), view.span_bytes());
  if (found.ok()) return found;
  return absl::Status(found.code(), absl::StrCat(name, ": ", found.message()));
}

absl::Status ViewCheck::Rows(std::string_view name, const TensorView& view, DType dtype,
                             int64_t rows, int64_t heads, int64_t head_size) const {
  if (!view.given()) return Invalid(name, " is not given");
  const bool fits = view.rank() == 3 && view.extent(0) >= rows && view.extent(1) == heads &&
                    view.extent(2) == head_size && view.dtype() == dtype;
  if (!fits) {
    return Invalid(name, " is ", view.ToString(), ", must be ", Name(dtype), "[>= ", rows, ", ",
                   heads, ", ", head_size, "]");
  }
  if (head_size > 1 && view.stride(2) != 1) {
    return Invalid(name, " has stride ", view.stride(2), " along the head, must be 1");
  }
  return Memory(name, view);
}

absl::Status ViewCheck::Lse(std::string_view name, const TensorView& view, int64_t rows,
                            int64_t heads) const {
  if (view.rank() != 2 || view.dtype() != DType::kF32 || view.extent(0) < rows ||
      view.extent(1) != heads) {
    return Invalid(name, view.given() ? absl::StrCat(" is ", view.ToString()) : " is not given",
                   ", must be f32[>= ", rows, ", ", heads, "]");
  }
  return Memory(name, view);
}

absl::Status ViewCheck::Table(std::string_view name, const TensorView& view, DType dtype,
                              int64_t width) const {
  const int rank = width == 0 ? 1 : 2;
  if (!view.given() || view.rank() != rank || view.dtype() != dtype ||
      (width > 0 && view.extent(1) != width) || !view.contiguous()) {
    return Invalid(name, " is ", view.ToString(), ", must be contiguous ", Name(dtype), "[n",
                   width > 0 ? absl::StrCat(", ", width) : "", "]");
  }
  return Memory(name, view);
}

absl::Status ViewCheck::OptionalFloats(std::string_view name, const TensorView& view,
                                       int64_t n) const {
  if (!view.given()) return absl::OkStatus();
  RETURN_IF_ERROR(Table(name, view, DType::kF32, 0));
  if (view.extent(0) == n) return absl::OkStatus();
  return Invalid(name, " is ", view.ToString(), ", must be f32[", n, "]");
}

absl::Status ViewCheck::Cache(std::string_view name, const KvCacheView& cache) const {
  if (cache.segments().empty()) return Invalid(name, " is not given");
  if (cache.device() != device) {
    return Invalid(name, " lies on ", ToString(cache.device()), ", the queue's device is ",
                   ToString(device));
  }
  for (size_t i = 0; i < cache.segments().size(); ++i) {
    const KvSegment& segment = cache.segments()[i];
    ASSIGN_OR_RETURN(const int64_t key_bytes, cache.layout().KeySpanBytes(segment.num_blocks));
    ASSIGN_OR_RETURN(const int64_t value_bytes, cache.layout().ValueSpanBytes(segment.num_blocks));
    for (const auto& [base, bytes] :
         {std::pair(segment.key_base, key_bytes), std::pair(segment.value_base, value_bytes)}) {
      const absl::Status found = allocations.Check(base, bytes);
      if (!found.ok())
        return absl::Status(found.code(),
                            absl::StrCat(name, ", segment ", i, ": ", found.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckDisjoint(std::string_view a_name, const TensorView& a, std::string_view b_name,
                           const TensorView& b) {
  if (a.empty() || b.empty() || !Overlap(RangeOf(a), RangeOf(b))) return absl::OkStatus();
  return Invalid(a_name, " overlaps ", b_name);
}

absl::Status CheckDisjointOrSame(std::string_view a_name, const TensorView& a,
                                 std::string_view b_name, const TensorView& b) {
  return SameView(a, b) ? absl::OkStatus() : CheckDisjoint(a_name, a, b_name, b);
}

absl::Status CheckDisjointFromCache(std::string_view name, const TensorView& view,
                                    const KvCacheView& cache) {
  if (view.empty()) return absl::OkStatus();
  for (const KvSegment& segment : cache.segments()) {
    ASSIGN_OR_RETURN(const int64_t key_bytes, cache.layout().KeySpanBytes(segment.num_blocks));
    ASSIGN_OR_RETURN(const int64_t value_bytes, cache.layout().ValueSpanBytes(segment.num_blocks));
    if (Overlap(RangeOf(view), {segment.key_base, segment.key_base + key_bytes}) ||
        Overlap(RangeOf(view), {segment.value_base, segment.value_base + value_bytes})) {
      return Invalid(name, " overlaps the KV cache");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckNoOverlapInside(std::string_view name, const TensorView& view) {
  std::vector<std::pair<int64_t, int64_t>> axes;  // stride, extent
  for (int axis = 0; axis < view.rank(); ++axis) {
    if (view.extent(axis) == 0) return absl::OkStatus();
    if (view.extent(axis) > 1) axes.emplace_back(view.stride(axis), view.extent(axis));
  }
  std::sort(axes.begin(), axes.end());
  int64_t reach = 1;
  for (const auto& [stride, extent] : axes) {
    if (stride < reach) {
      return Invalid(name, ", ", view.ToString(), ", has stride ", stride,
                     ", so that its elements overlap");
    }
    reach += stride * (extent - 1);
  }
  return absl::OkStatus();
}

}  // namespace weft
