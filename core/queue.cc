// SPDX-License-Identifier: Apache-2.0
#include "core/queue.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/status_macros.h"

namespace weft {
namespace {

template <typename... T>
absl::Status Invalid(const T&... text) {
  return absl::InvalidArgumentError(absl::StrCat(text...));
}

// What every view of an operation must satisfy. `name` reads "attention: query".
struct ViewCheck {
  const AddressMap& allocations;
  DeviceId device;

  absl::Status Memory(std::string_view name, const TensorView& view) const {
    if (!view.given()) return Invalid(name, " is not given");
    if (view.device() != device) {
      return Invalid(name, " lies on ", ToString(view.device()), ", the queue's device is ",
                     ToString(device));
    }
    absl::Status found = allocations.Check(view.address(), view.span_bytes());
    if (found.ok()) return found;
    return absl::Status(found.code(), absl::StrCat(name, ": ", found.message()));
  }

  // [>= rows, heads, head_size], head_size adjacent.
  absl::Status Rows(std::string_view name, const TensorView& view, DType dtype, int64_t rows,
                    int64_t heads, int64_t head_size) const {
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

  // Contiguous i32 [n, width] (width 0: [n]) or another element type.
  absl::Status Table(std::string_view name, const TensorView& view, DType dtype,
                     int64_t width) const {
    const int rank = width == 0 ? 1 : 2;
    if (!view.given() || view.rank() != rank || view.dtype() != dtype ||
        (width > 0 && view.extent(1) != width) || !view.contiguous()) {
      return Invalid(name, " is ", view.ToString(), ", must be contiguous ", Name(dtype), "[n",
                     width > 0 ? absl::StrCat(", ", width) : "", "]");
    }
    return Memory(name, view);
  }

  absl::Status Cache(std::string_view name, const KvCacheView& cache) const {
    if (cache.segments().empty()) return Invalid(name, " is not given");
    if (cache.device() != device) {
      return Invalid(name, " lies on ", ToString(cache.device()), ", the queue's device is ",
                     ToString(device));
    }
    for (size_t i = 0; i < cache.segments().size(); ++i) {
      const KvSegment& segment = cache.segments()[i];
      ASSIGN_OR_RETURN(const int64_t key_bytes, cache.layout().KeySpanBytes(segment.num_blocks));
      ASSIGN_OR_RETURN(const int64_t value_bytes,
                       cache.layout().ValueSpanBytes(segment.num_blocks));
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
};

struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;
};

Range RangeOf(const TensorView& view) {
  return {view.address(), view.address() + static_cast<uint64_t>(view.span_bytes())};
}

bool Overlap(Range a, Range b) { return a.begin < b.end && b.begin < a.end; }

absl::Status CheckDisjoint(std::string_view a_name, const TensorView& a, std::string_view b_name,
                           const TensorView& b) {
  if (a.empty() || b.empty() || !Overlap(RangeOf(a), RangeOf(b))) return absl::OkStatus();
  return Invalid(a_name, " overlaps ", b_name);
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

absl::Status CheckAttentionTables(const ViewCheck& check, const AttentionArgs& args) {
  const AttentionTables& tables = args.tables;
  RETURN_IF_ERROR(check.Table("attention: tiles", tables.tiles, DType::kI32, 4));
  RETURN_IF_ERROR(check.Table("attention: decode rows", tables.decode_rows, DType::kI32, 4));
  RETURN_IF_ERROR(check.Table("attention: decode splits", tables.decode_splits, DType::kI32, 2));
  RETURN_IF_ERROR(check.Table("attention: blocks", tables.blocks, DType::kI32, 0));
  const AttentionSpec& spec = args.prepared->spec();
  ASSIGN_OR_RETURN(const int64_t need,
                   WorkspaceBytes(tables.num_partials, spec.num_heads, spec.head_size));
  if (need == 0) return absl::OkStatus();
  RETURN_IF_ERROR(check.Table("attention: workspace", tables.workspace, DType::kF32, 0));
  if (tables.workspace.span_bytes() < need) {
    return absl::ResourceExhaustedError(absl::StrCat("attention: workspace has ",
                                                     tables.workspace.span_bytes(),
                                                     " bytes, the plan needs ", need));
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view Name(OpKind kind) {
  switch (kind) {
    case OpKind::kCopy:
      return "copy";
    case OpKind::kFill:
      return "fill";
    case OpKind::kReshapeAndCache:
      return "reshape_and_cache";
    case OpKind::kAttention:
      return "attention";
    case OpKind::kGatherRows:
      return "gather_rows";
  }
  return "?";
}

absl::Status Queue::CopyFromHost(uint64_t destination, absl::Span<const uint8_t> source) {
  RETURN_IF_ERROR(allocations_->Check(destination, static_cast<int64_t>(source.size())));
  return source.empty() ? absl::OkStatus() : DoCopyFromHost(destination, source);
}

absl::Status Queue::CopyToHost(absl::Span<uint8_t> destination, uint64_t source) {
  RETURN_IF_ERROR(allocations_->Check(source, static_cast<int64_t>(destination.size())));
  return destination.empty() ? absl::OkStatus() : DoCopyToHost(destination, source);
}

absl::Status Queue::Copy(uint64_t destination, uint64_t source, int64_t bytes) {
  if (bytes < 0) return Invalid("copy: ", bytes, " bytes");
  RETURN_IF_ERROR(allocations_->Check(destination, bytes));
  RETURN_IF_ERROR(allocations_->Check(source, bytes));
  if (Overlap({destination, destination + bytes}, {source, source + bytes})) {
    return Invalid("copy: source and destination overlap");
  }
  return bytes == 0 ? absl::OkStatus() : DoCopy(destination, source, bytes);
}

absl::Status Queue::Fill(uint64_t destination, int64_t bytes, uint32_t pattern) {
  if (bytes < 0 || bytes % 4 != 0 || destination % 4 != 0) {
    return Invalid("fill: ", bytes, " bytes at 0x", absl::Hex(destination),
                   ", both must be multiples of 4");
  }
  RETURN_IF_ERROR(allocations_->Check(destination, bytes));
  return bytes == 0 ? absl::OkStatus() : DoFill(destination, bytes, pattern);
}

absl::Status Queue::CheckReshapeAndCache(const ReshapeAndCacheArgs& args) const {
  const ViewCheck check = {*allocations_, device_};
  const KvCacheLayout& layout = args.cache.layout();
  RETURN_IF_ERROR(check.Cache("reshape_and_cache: cache", args.cache));
  RETURN_IF_ERROR(check.Table("reshape_and_cache: slots", args.slots, DType::kI64, 0));
  const int64_t rows = args.slots.extent(0);
  RETURN_IF_ERROR(check.Rows("reshape_and_cache: key", args.key, layout.dtype(), rows,
                             layout.num_kv_heads(), layout.head_size()));
  RETURN_IF_ERROR(check.Rows("reshape_and_cache: value", args.value, layout.dtype(), rows,
                             layout.num_kv_heads(), layout.head_size()));
  RETURN_IF_ERROR(CheckDisjointFromCache("reshape_and_cache: key", args.key, args.cache));
  RETURN_IF_ERROR(CheckDisjointFromCache("reshape_and_cache: value", args.value, args.cache));
  return CheckDisjointFromCache("reshape_and_cache: slots", args.slots, args.cache);
}

absl::Status Queue::ReshapeAndCache(const ReshapeAndCacheArgs& args) {
  RETURN_IF_ERROR(CheckReshapeAndCache(args));
  return args.slots.empty() ? absl::OkStatus() : DoReshapeAndCache(args);
}

absl::Status Queue::CheckAttention(const AttentionArgs& args) const {
  const ViewCheck check = {*allocations_, device_};
  if (args.prepared == nullptr) return Invalid("attention: no prepared kernels");
  if (args.prepared->device() != device_) {
    return absl::FailedPreconditionError(
        absl::StrCat("attention: prepared for ", ToString(args.prepared->device()),
                     ", the queue's device is ", ToString(device_)));
  }
  if (&args.prepared->allocations() != allocations_) {
    return absl::FailedPreconditionError(
        absl::StrCat("attention: prepared by another backend object of ", ToString(device_),
                     " than the queue's"));
  }
  if (args.num_rows < 0) return Invalid("attention: ", args.num_rows, " rows");
  const AttentionSpec& spec = args.prepared->spec();
  RETURN_IF_ERROR(CheckAttentionTables(check, args));
  if (args.tables.tiles.empty() && args.tables.decode_rows.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(check.Cache("attention: cache", args.cache));
  if (args.cache.layout().fingerprint() != args.prepared->layout().fingerprint()) {
    return absl::FailedPreconditionError(
        absl::StrCat("attention: cache is ", args.cache.layout().ToString(), ", prepared for ",
                     args.prepared->layout().ToString()));
  }
  RETURN_IF_ERROR(check.Rows("attention: query", args.query, spec.dtype, args.num_rows,
                             spec.num_heads, spec.head_size));
  RETURN_IF_ERROR(check.Rows("attention: out", args.out, spec.dtype, args.num_rows, spec.num_heads,
                             spec.head_size));
  RETURN_IF_ERROR(CheckDisjoint("attention: out", args.out, "query", args.query));
  RETURN_IF_ERROR(CheckDisjointFromCache("attention: out", args.out, args.cache));
  if (args.lse.given()) {
    if (args.lse.rank() != 2 || args.lse.dtype() != DType::kF32 ||
        args.lse.extent(0) < args.num_rows || args.lse.extent(1) != spec.num_heads) {
      return Invalid("attention: lse is ", args.lse.ToString(), ", must be f32[>= ", args.num_rows,
                     ", ", spec.num_heads, "]");
    }
    RETURN_IF_ERROR(check.Memory("attention: lse", args.lse));
    RETURN_IF_ERROR(CheckDisjoint("attention: lse", args.lse, "query", args.query));
    RETURN_IF_ERROR(CheckDisjoint("attention: lse", args.lse, "out", args.out));
    RETURN_IF_ERROR(CheckDisjointFromCache("attention: lse", args.lse, args.cache));
  }
  return absl::OkStatus();
}

absl::Status Queue::Attention(const AttentionArgs& args) {
  RETURN_IF_ERROR(CheckAttention(args));
  return args.tables.tiles.empty() && args.tables.decode_rows.empty() ? absl::OkStatus()
                                                                      : DoAttention(args);
}

absl::Status Queue::GatherRows(const GatherRowsArgs& args) {
  const ViewCheck check = {*allocations_, device_};
  RETURN_IF_ERROR(check.Table("gather_rows: index", args.index, DType::kI64, 0));
  RETURN_IF_ERROR(check.Memory("gather_rows: source", args.source));
  RETURN_IF_ERROR(check.Memory("gather_rows: destination", args.destination));
  const TensorView& source = args.source;
  const TensorView& destination = args.destination;
  bool alike = source.rank() == destination.rank() && source.dtype() == destination.dtype() &&
               destination.extent(0) == args.index.extent(0);
  for (int axis = 1; alike && axis < source.rank(); ++axis)
    alike = source.extent(axis) == destination.extent(axis);
  if (!alike) {
    return Invalid("gather_rows: destination is ", destination.ToString(), " for ",
                   args.index.extent(0), " indices into ", source.ToString());
  }
  for (const TensorView* view : {&source, &destination}) {
    int64_t expected = 1;
    for (int axis = view->rank(); axis-- > 1;) {
      if (view->extent(axis) != 1 && view->stride(axis) != expected) {
        return Invalid("gather_rows: a row of ", view->ToString(), " has gaps, along axis ", axis);
      }
      expected *= view->extent(axis);
    }
    if (view == &destination && view->extent(0) > 1 && view->stride(0) < expected) {
      return Invalid("gather_rows: destination rows overlap, stride ", view->stride(0), " for ",
                     expected, " elements");
    }
  }
  RETURN_IF_ERROR(CheckDisjoint("gather_rows: destination", destination, "source", source));
  RETURN_IF_ERROR(CheckDisjoint("gather_rows: destination", destination, "index", args.index));
  return destination.empty() ? absl::OkStatus() : DoGatherRows(args);
}

}  // namespace weft
