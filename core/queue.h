// SPDX-License-Identifier: Apache-2.0
//
// Queue: in-order work on one device, recorded by one thread. An operation sees the results of
// those before it; nothing runs before Submit, and nothing but Wait waits.
//
//   RETURN_IF_ERROR(queue->CopyFromHost(query.address(), bytes));
//   RETURN_IF_ERROR(layer.Forward(*queue, step, io));
//   RETURN_IF_ERROR(queue->CopyToHost(result, out.address()));
//   RETURN_IF_ERROR(queue->Submit());
//   RETURN_IF_ERROR(queue->Wait(absl::Now() + absl::Seconds(10)));
//
// Every public call checks its arguments here, once for all backends, before a backend hears of it:
// INVALID_ARGUMENT for a wrong shape, dtype, stride or device, OUT_OF_RANGE for memory that no live
// allocation holds. After a device error every call answers with that same error.
#ifndef WEFT_CORE_QUEUE_H_
#define WEFT_CORE_QUEUE_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/address_map.h"
#include "core/device.h"
#include "core/head_values.h"
#include "core/kv_cache.h"
#include "core/prepared_attention.h"
#include "core/tensor_view.h"

namespace weft {

// Writes one row of keys and values for each slot (seed 002, triton_reshape_and_cache_flash). The
// slots say how many tokens are written; key and value may hold more rows.
struct ReshapeAndCacheArgs {
  // [>= n, num_kv_heads, head_size], any strides, head_size adjacent. The cache's dtype, and
  // copied; or, into an fp8 cache, f32, f16 or bf16, and stored as x / scale, rounded and
  // saturated.
  TensorView key;
  TensorView value;  // the same
  TensorView slots;  // i64 [n]: -1 is skipped; a slot outside the cache is never written
  KvCacheView cache;
  TensorView k_scales;  // contiguous f32 [num_kv_heads]; not given: 1
  TensorView v_scales;
};

// The device arrays of a Plan (core/step_buffers.h makes them).
struct AttentionTables {
  TensorView tiles;          // i32 [T, kTileInts], PrefillTile
  TensorView decode_rows;    // i32 [N, kDecodeRowInts], DecodeRow
  TensorView decode_splits;  // i32 [S, kDecodeSplitInts], DecodeSplit
  TensorView blocks;         // i32 [B]
  TensorView workspace;      // f32, WorkspaceBytes(num_partials, ...) bytes of it are used
  int64_t num_partials = 0;
  bool padded = false;  // entries that name nothing may fill up the arrays (StepLimits::pad)
};

// Causal attention of the rows that the tables name, over a paged cache (seed 002,
// unified_attention). Rows that no tile and no decode row names are untouched.
struct AttentionArgs {
  const PreparedAttention* prepared = nullptr;
  TensorView query;  // [rows, num_heads, head_size], spec.query_dtype(), any row and head stride,
                     // head_size adjacent
  TensorView out;    // the same, spec.output_dtype()
  TensorView lse;    // f32 [rows, num_heads], any strides, natural log; or not given
  KvCacheView cache;
  AttentionTables tables;
  int64_t num_rows = 0;     // rows the tables may name; query, out and lse hold at least as many
  HeadValues head_values;   // those of the spec (core/head_values.h)
  bool apply_sinks = true;  // false: a partial state; the merge applies them, once
};

// Merges two normalised states of the same rows (seeds 000 and 003, merge_attn_states): with L =
// log(exp(a_lse) + exp(b_lse)), out = a * exp(a_lse - L) + b * exp(b_lse - L). A state of LSE -inf
// (or +inf: so the seeds' peers mark an empty one) adds nothing, whatever its output holds; two of
// them give 0 and -inf. With sinks, the denominator gains exp(sink); the LSE does not.
struct MergeStatesArgs {
  TensorView a;      // [n, heads, head_size], f32, f16 or bf16, any row and head stride
  TensorView a_lse;  // f32 [n, heads], any strides
  TensorView b;      // as a
  TensorView b_lse;
  TensorView out;          // [n, heads, head_size], f32, f16, bf16 or f8e4m3; may be a or b itself
  TensorView lse;          // f32 [n, heads]; may be a_lse or b_lse itself; or not given
  TensorView sinks;        // contiguous f32 [heads], or not given
  float out_scale = 1.0f;  // of an f8e4m3 out: stored = out / out_scale, saturated to +-448
};

enum class LseBase : uint8_t { kE, k2 };

// The share of one rank of N in a softmax that is spread over them (seeds 000 and 001,
// correct_attn_out): corrected = out * exp(lses[rank] - L), L = log(sum over ranks of exp(lses)).
// NaN and +inf LSEs count as -inf; a factor of 0 gives 0 whatever `out` holds; all -inf: 0 and
// -inf. With sinks the denominator gains exp(sink); L does not.
struct CorrectAttnOutArgs {
  TensorView out;              // [n, heads, d], f32, f16 or bf16, any strides
  TensorView lses;             // f32 [N, n, heads], any strides
  int64_t rank = 0;            // whose output `out` is
  TensorView corrected;        // as out; may be out itself
  TensorView lse;              // f32 [n, heads], any strides: L; or not given
  TensorView sinks;            // contiguous f32 [heads], natural log, or not given
  LseBase base = LseBase::kE;  // of lses and lse
};

// destination = source / scale, rounded to nearest even, saturated; NaN stays NaN.
struct QuantizeFp8Args {
  TensorView source;       // [n, heads, d], f32, f16 or bf16, any row and head stride
  TensorView destination;  // the same shape, f8e4m3 or f8e5m2, any row and head stride
  float scale = 1.0f;
  TensorView head_scales;  // contiguous f32 [heads], times `scale`; not given: 1
};

// destination[i] = source[index[i]], whole rows. Pack, unpack, restore and padding are index maps
// over it.
struct GatherRowsArgs {
  TensorView source;  // [rows, ...], each row without gaps, any row stride, any dtype
  TensorView index;   // i64 [n]: -1 fills the row with `fill`; other values outside [0, rows) do
                      // too, and are an error
  TensorView
      destination;    // [n, ...], the source's dtype and row extents; must not overlap the source
  float fill = 0.0f;  // converted to the dtype; integers take its integral part
};

enum class OpKind : uint8_t {
  kCopy,
  kFill,
  kReshapeAndCache,
  kAttention,
  kGatherRows,
  kMergeStates,
  kCorrectAttnOut,
  kQuantizeFp8,
};
std::string_view Name(OpKind kind);
inline constexpr int kNumOpKinds = 8;

struct OpTime {
  int64_t calls = 0;
  absl::Duration time;  // on the device
};

class Queue {
 public:
  virtual ~Queue() = default;
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // `source` is taken over before the call returns.
  absl::Status CopyFromHost(uint64_t destination, absl::Span<const uint8_t> source);
  // `destination` must live, and holds the data, when Wait has returned OK.
  absl::Status CopyToHost(absl::Span<uint8_t> destination, uint64_t source);
  // Within this device; the ranges must not overlap.
  absl::Status Copy(uint64_t destination, uint64_t source, int64_t bytes);
  // Repeats `pattern`; address and bytes are multiples of 4.
  absl::Status Fill(uint64_t destination, int64_t bytes, uint32_t pattern);

  absl::Status ReshapeAndCache(const ReshapeAndCacheArgs& args);
  absl::Status Attention(const AttentionArgs& args);
  absl::Status GatherRows(const GatherRowsArgs& args);
  absl::Status MergeStates(const MergeStatesArgs& args);
  absl::Status CorrectAttnOut(const CorrectAttnOutArgs& args);
  absl::Status QuantizeFp8(const QuantizeFp8Args& args);

  // What Attention checks, for a caller that must not record a write before it if it would be
  // refused.
  absl::Status CheckAttention(const AttentionArgs& args) const;

  // Starts all that was recorded. Does not wait. Nothing recorded: OK.
  virtual absl::Status Submit() = 0;
  // Blocks until all submitted work is done. DEADLINE_EXCEEDED if that comes first: the work goes
  // on, wait again.
  virtual absl::Status Wait(absl::Time deadline) = 0;

  // Measures each operation from now on; costs time. TakeOpTimes, after Wait, returns the sums
  // since the last call, indexed by OpKind, [kNumOpKinds].
  virtual void SetProfiling(bool on) = 0;
  virtual std::vector<OpTime> TakeOpTimes() = 0;

  DeviceId device() const { return device_; }
  // The live allocations of the backend. Two queues reach each other's memory exactly if these are
  // the same object: two backend objects of one device do not share addresses.
  const AddressMap& allocations() const { return *allocations_; }

 protected:
  // `allocations` must outlive the queue.
  Queue(DeviceId device, const AddressMap* allocations)
      : device_(device), allocations_(allocations) {}

  // What a backend implements: arguments are valid, sizes are not zero.
  virtual absl::Status DoCopyFromHost(uint64_t destination, absl::Span<const uint8_t> source) = 0;
  virtual absl::Status DoCopyToHost(absl::Span<uint8_t> destination, uint64_t source) = 0;
  virtual absl::Status DoCopy(uint64_t destination, uint64_t source, int64_t bytes) = 0;
  virtual absl::Status DoFill(uint64_t destination, int64_t bytes, uint32_t pattern) = 0;
  virtual absl::Status DoReshapeAndCache(const ReshapeAndCacheArgs& args) = 0;
  virtual absl::Status DoAttention(const AttentionArgs& args) = 0;
  virtual absl::Status DoGatherRows(const GatherRowsArgs& args) = 0;
  virtual absl::Status DoMergeStates(const MergeStatesArgs& args) = 0;
  virtual absl::Status DoCorrectAttnOut(const CorrectAttnOutArgs& args) = 0;
  virtual absl::Status DoQuantizeFp8(const QuantizeFp8Args& args) = 0;

 private:
  absl::Status CheckReshapeAndCache(const ReshapeAndCacheArgs& args) const;
  absl::Status CheckMergeStates(const MergeStatesArgs& args) const;
  absl::Status CheckCorrectAttnOut(const CorrectAttnOutArgs& args) const;

  DeviceId device_;
  const AddressMap* allocations_;
};

}  // namespace weft

#endif  // WEFT_CORE_QUEUE_H_
