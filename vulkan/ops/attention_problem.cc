// SPDX-License-Identifier: Apache-2.0
#include "vulkan/ops/attention_problem.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/attention_layer.h"
#include "core/attention_metadata.h"
#include "core/head_values.h"
#include "core/registry.h"
#include "core/status_macros.h"
#include "core/step_buffers.h"
#include "testing/device_io.h"
#include "testing/oracle.h"
#include "vulkan/backend_hooks.h"
#include "vulkan/runtime/device_hooks.h"
#include "vulkan/test_device.h"
#include "vulkan/vulkan_backend.h"

namespace weft::vulkan {
namespace {

using ::weft::testing::AsBytes;
using ::weft::testing::Download;
using ::weft::testing::Upload;

// In [-2, 2), the same for the same arguments.
float Value(uint32_t stream, int64_t a, int64_t b, int64_t c) {
  uint64_t x = stream * 0x9e3779b97f4a7c15u + a * 0xbf58476d1ce4e5b9u + b * 0x94d049bb133111ebu + c;
  x ^= x >> 31;
  x *= 0xd6e8feb86659fd93u;
  x ^= x >> 32;
  return static_cast<float>(static_cast<double>(x & 0xffffffu) / 0x400000 - 2.0);
}

float Rounded(DType dtype, float value) {
  uint8_t bytes[4];
  StoreFloat(dtype, bytes, 0, value);
  return LoadFloat(dtype, bytes, 0);
}

// Request r's query, key and value of a position. Requests are numbered by `ids`, so that a request
// keeps its values when it is alone.
class Runner {
 public:
  Runner(std::shared_ptr<Backend> backend, Problem problem, std::vector<int64_t> ids)
      : shared_(std::move(backend)),
        backend_(*shared_),
        problem_(std::move(problem)),
        ids_(std::move(ids)),
        spec_(problem_.Spec()) {}

  absl::StatusOr<Result> Go() {
    ASSIGN_OR_RETURN(queue_, backend_.CreateQueue());
    RETURN_IF_ERROR(MakeCache());
    RETURN_IF_ERROR(WriteCache());
    return Attend();
  }

  float Query(int64_t r, int64_t p, int64_t h, int64_t d) const {
    return Rounded(spec_.query_dtype(), Value(1, ids_[r] * 100000 + p, h, d));
  }
  // As they are given to ReshapeAndCache.
  float Key(int64_t r, int64_t p, int64_t h, int64_t d) const {
    return Rounded(spec_.dtype, Value(2, ids_[r] * 100000 + p, h, d));
  }
  float ValueAt(int64_t r, int64_t p, int64_t h, int64_t d) const {
    return Rounded(spec_.dtype, Value(3, ids_[r] * 100000 + p, h, d));
  }
  // As they are to lie in the cache.
  float StoredKey(int64_t r, int64_t p, int64_t h, int64_t d) const {
    return Stored(Key(r, p, h, d), spec_.k_scales, h);
  }
  float StoredValue(int64_t r, int64_t p, int64_t h, int64_t d) const {
    return Stored(ValueAt(r, p, h, d), spec_.v_scales, h);
  }
  const AttentionSpec& spec() const { return spec_; }
  int64_t first_position(int64_t r) const { return problem_.lengths[r] - problem_.new_tokens[r]; }

 private:
  int64_t num_requests() const { return static_cast<int64_t>(problem_.lengths.size()); }

  absl::Status MakeCache() {
    ASSIGN_OR_RETURN(const KvCacheLayout layout, problem_.Layout());
    const int64_t size = SizeOf(layout.dtype());
    // Of a block's keys; those of a layout that is no allocation by itself stand before the values.
    const bool apart = layout.values_follow_keys() || layout.bytes_per_block() == 0;
    int64_t used = 0;
    for (const int64_t length : problem_.lengths) {
      used += (length + problem_.block_size - 1) / problem_.block_size;
    }
    const int64_t per_segment = (used + 3) / problem_.segments + 1;
    std::vector<KvSegment> segments;
    const int64_t key_bytes = layout.key_strides().block * per_segment * size;
    const int64_t offset = apart ? key_bytes : layout.value_offset() * size;
    const int64_t bytes = apart ? 2 * key_bytes : per_segment * layout.bytes_per_block();
    const int64_t shift = problem_.shift * size;
    for (int64_t s = 0; s < problem_.segments; ++s) {
      ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer,
                       testing::AllocatePoisoned(backend_, *queue_, bytes + shift));
      const uint64_t key = buffer->address() + shift;
      segments.push_back({key, key + offset, per_segment});
      memory_.push_back(std::move(buffer));
    }
    ASSIGN_OR_RETURN(cache_, KvCacheView::Create(layout, backend_.device(), segments));
    std::vector<int32_t> pages(cache_.num_blocks());
    std::iota(pages.begin(), pages.end(), 0);
    for (size_t i = pages.size(); i > 1; --i) {
      problem_.pages = problem_.pages * 1664525 + 1013904223;
      std::swap(pages[i - 1], pages[(problem_.pages >> 8) % i]);
    }
    for (const int64_t length : problem_.lengths) {
      const int64_t n = (length + problem_.block_size - 1) / problem_.block_size;
      blocks_.emplace_back(pages.end() - n, pages.end());
      pages.resize(pages.size() - n);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<TensorView> UploadTensor(DType dtype, const std::vector<float>& values,
                                          std::vector<int64_t> extents) {
    std::vector<uint8_t> bytes(values.size() * SizeOf(dtype));
    for (size_t i = 0; i < values.size(); ++i) StoreFloat(dtype, bytes.data(), i, values[i]);
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, Upload(backend_, *queue_, bytes));
    memory_.push_back(std::move(buffer));
    return TensorView::Contiguous(memory_.back()->address(), dtype, extents, backend_.device());
  }

  // All positions of all requests, by ReshapeAndCache.
  absl::Status WriteCache() {
    std::vector<float> keys, values;
    std::vector<int64_t> slots;
    for (int64_t r = 0; r < num_requests(); ++r) {
      for (int64_t p = 0; p < problem_.lengths[r]; ++p) {
        slots.push_back(blocks_[r][p / problem_.block_size] * problem_.block_size +
                        p % problem_.block_size);
        for (int64_t h = 0; h < problem_.kv_heads; ++h) {
          for (int64_t d = 0; d < problem_.head_size; ++d) {
            keys.push_back(Key(r, p, h, d));
            values.push_back(ValueAt(r, p, h, d));
          }
        }
      }
    }
    const auto rows = static_cast<int64_t>(slots.size());
    ReshapeAndCacheArgs args;
    ASSIGN_OR_RETURN(args.key, UploadTensor(problem_.dtype, keys,
                                            {rows, problem_.kv_heads, problem_.head_size}));
    ASSIGN_OR_RETURN(args.value, UploadTensor(problem_.dtype, values,
                                              {rows, problem_.kv_heads, problem_.head_size}));
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, Upload(backend_, *queue_, AsBytes(slots)));
    ASSIGN_OR_RETURN(args.slots, TensorView::Contiguous(buffer->address(), DType::kI64, {rows},
                                                        backend_.device()));
    memory_.push_back(std::move(buffer));
    args.cache = cache_;
    const int64_t heads = problem_.kv_heads;
    const std::vector<float> k_scales = ScalesPerHead(spec_.k_scales, spec_);
    if (!k_scales.empty()) {
      ASSIGN_OR_RETURN(args.k_scales, UploadTensor(DType::kF32, k_scales, {heads}));
    }
    const std::vector<float> v_scales = ScalesPerHead(spec_.v_scales, spec_);
    if (!v_scales.empty()) {
      ASSIGN_OR_RETURN(args.v_scales, UploadTensor(DType::kF32, v_scales, {heads}));
    }
    return queue_->ReshapeAndCache(args);
  }

  absl::StatusOr<Result> Attend() {
    ASSIGN_OR_RETURN(AttentionLayer layer, AttentionLayer::Create(shared_, spec_, cache_.layout()));
    RequestBatch batch;
    std::vector<float> query;
    int64_t tokens = 0;
    for (int64_t r = 0; r < num_requests(); ++r) {
      Request request;
      request.kind = problem_.decode[r] ? RequestKind::kDecode : RequestKind::kPrefill;
      request.num_new_tokens = problem_.new_tokens[r];
      request.num_computed_tokens = first_position(r);
      request.block_ids = blocks_[r];
      batch.requests.push_back(request);
      tokens += problem_.new_tokens[r];
      for (int64_t p = first_position(r); p < problem_.lengths[r]; ++p) {
        for (int64_t h = 0; h < problem_.heads; ++h) {
          for (int64_t d = 0; d < problem_.head_size; ++d) query.push_back(Query(r, p, h, d));
        }
      }
    }
    ASSIGN_OR_RETURN(AttentionMetadata metadata,
                     AttentionMetadataBuilder(cache_.layout(), cache_.num_blocks()).Build(batch));
    ASSIGN_OR_RETURN(std::shared_ptr<const Plan> plan, layer.MakePlan(metadata));
    ASSIGN_OR_RETURN(const StepLimits limits, StepLimits::For(spec_, cache_.layout(), 1, tokens,
                                                              num_requests(), 4096, tokens));
    ASSIGN_OR_RETURN(std::unique_ptr<StepBuffers> step, StepBuffers::Create(shared_, limits));
    RETURN_IF_ERROR(step->Update(*queue_, plan));
    AttentionIo io;
    const std::vector<int64_t> extents = {tokens, problem_.heads, problem_.head_size};
    ASSIGN_OR_RETURN(io.query, UploadTensor(spec_.query_dtype(), query, extents));
    const auto bytes = static_cast<int64_t>(query.size()) * SizeOf(spec_.output_dtype());
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> out,
                     testing::AllocatePoisoned(backend_, *queue_, bytes));
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> lse,
                     testing::AllocatePoisoned(backend_, *queue_, tokens * problem_.heads * 4));
    ASSIGN_OR_RETURN(io.out, TensorView::Contiguous(out->address(), spec_.output_dtype(), extents,
                                                    backend_.device()));
    ASSIGN_OR_RETURN(io.lse, TensorView::Contiguous(lse->address(), DType::kF32,
                                                    {tokens, problem_.heads}, backend_.device()));
    io.cache = cache_;
    RETURN_IF_ERROR(layer.Attend(*queue_, *step, io));
    Result result;
    ASSIGN_OR_RETURN(result.out, Download(*queue_, out->address(), bytes));
    ASSIGN_OR_RETURN(const std::vector<uint8_t> lse_bytes,
                     Download(*queue_, lse->address(), tokens * problem_.heads * 4));
    for (int64_t i = 0; i < tokens * problem_.heads; ++i) {
      result.lse.push_back(LoadFloat(DType::kF32, lse_bytes.data(), i));
    }
    return result;
  }

  float Stored(float value, const std::vector<float>& scales, int64_t head) const {
    const float scale = scales.empty() ? 1.0f : scales[scales.size() == 1 ? 0 : head];
    return Rounded(spec_.kv_dtype, value / scale);
  }

  std::shared_ptr<Backend> shared_;
  Backend& backend_;
  Problem problem_;
  std::vector<int64_t> ids_;
  AttentionSpec spec_;
  std::unique_ptr<Queue> queue_;
  std::vector<std::unique_ptr<Buffer>> memory_;
  std::vector<std::vector<int32_t>> blocks_;
  KvCacheView cache_;
};

double Tolerance(DType dtype) {
  if (dtype == DType::kF8E4M3) return 4e-2;
  return dtype == DType::kF32 ? 2e-6 : dtype == DType::kF16 ? 6e-4 : 3e-3;
}

}  // namespace

AttentionSpec Problem::Spec() const {
  AttentionSpec spec;
  spec.num_heads = heads;
  spec.num_kv_heads = kv_heads;
  spec.head_size = head_size;
  spec.dtype = dtype;
  spec.kv_dtype = kv_dtype.value_or(dtype);
  spec.fp8_query = fp8_query;
  spec.out_dtype = out_dtype;
  spec.out_scale = out_scale;
  spec.softcap = softcap;
  spec.window = window;
  spec.k_scales = k_scales;
  spec.v_scales = v_scales;
  for (int64_t h = 0; h < heads; ++h) {
    if (alibi) spec.alibi_slopes.push_back(std::exp2(-1.0f - static_cast<float>(h)));
    // One that drowns all keys, one in their middle, one that is none.
    if (sinks) spec.sinks.push_back(h % 3 == 0 ? 2.5f : h % 3 == 1 ? 20.0f : -INFINITY);
  }
  return spec;
}

absl::StatusOr<KvCacheLayout> Problem::Layout() const {
  const DType type = kv_dtype.value_or(dtype);
  const int64_t row = kv_heads * head_size;
  switch (order) {
    case CacheOrder::kNhd:
      return KvCacheLayout::Nhd(type, block_size, kv_heads, head_size);
    case CacheOrder::kHnd:
      return KvCacheLayout::Hnd(type, block_size, kv_heads, head_size);
    case CacheOrder::kSplitX:
      return KvCacheLayout::SplitX(type, block_size, kv_heads, head_size, 16 / SizeOf(type));
    case CacheOrder::kSplitBy2:
      return KvCacheLayout::SplitX(type, block_size, kv_heads, head_size, 2);
    case CacheOrder::kRows:
      break;
  }
  return KvCacheLayout::Rows(type, kv_heads, head_size, row, head_size, row, head_size);
}

absl::StatusOr<Result> Solve(const std::shared_ptr<Backend>& backend, const Problem& problem,
                             std::vector<int64_t> ids) {
  return Runner(backend, problem, std::move(ids)).Go();
}

void ExpectRight(const std::shared_ptr<Backend>& backend, const Problem& problem) {
  Runner data(backend, problem, {0, 1, 2, 3});
  const absl::StatusOr<Result> result = data.Go();
  ASSERT_TRUE(result.ok()) << result.status();
  const AttentionSpec& spec = data.spec();
  const DType dtype = spec.output_dtype();
  double error = 0.0, norm = 0.0;
  int64_t row = 0;
  std::vector<float> query(problem.head_size);
  for (size_t r = 0; r < problem.lengths.size(); ++r) {
    for (int64_t p = data.first_position(r); p < problem.lengths[r]; ++p, ++row) {
      for (int64_t h = row % 3; h < problem.heads; h += 3) {
        for (int64_t d = 0; d < problem.head_size; ++d) query[d] = data.Query(r, p, h, d);
        const int64_t kv_head = h / (problem.heads / problem.kv_heads);
        const testing::OracleResult want =
            testing::AttendRow(query, testing::OracleHeadOf(spec, h), p, p + 1,
                               [&](int64_t k, absl::Span<float> key, absl::Span<float> value) {
                                 for (int64_t d = 0; d < problem.head_size; ++d) {
                                   key[d] = data.StoredKey(r, k, kv_head, d);
                                   value[d] = data.StoredValue(r, k, kv_head, d);
                                 }
                               });
        for (int64_t d = 0; d < problem.head_size; ++d) {
          const double got = LoadFloat(dtype, result->out.data(),
                                       (row * problem.heads + h) * problem.head_size + d) *
                             double{spec.out_scale};
          double expected = want.out[d];
          if (dtype == DType::kF8E4M3) {
            const double largest = double{kMaxF8E4M3} * spec.out_scale;
            expected = std::clamp(expected, -largest, largest);
            // Half a unit of the code, and a little for the middle's other side.
            ASSERT_NEAR(got, expected, std::abs(expected) * 0.0626 + 0x1.01p-10 * spec.out_scale)
                << "request " << r << " position " << p << " head " << h << " dim " << d;
          }
          error += (got - expected) * (got - expected);
          norm += expected * expected;
        }
        ASSERT_NEAR(result->lse[row * problem.heads + h], want.lse,
                    1e-5 * std::max(1.0, want.max_abs_logit))
            << "request " << r << " position " << p << " head " << h;
      }
    }
  }
  EXPECT_LE(std::sqrt(error / norm), Tolerance(dtype));
}

void AttentionTest::SetUp() {
  static auto* registry = [] {
    auto* made = new Registry();
    Options options;
    options.verify_hazards = true;
    // The shapes of the kernels for GPUs, where there is none.
    DeviceHooks hooks;
    hooks.pretend_gpu = std::getenv("WEFT_TEST_PRETEND_GPU") != nullptr;
    EXPECT_TRUE(RegisterVulkanBackendWithHooks(*made, options, hooks).ok());
    return made;
  }();
  absl::StatusOr<std::shared_ptr<Backend>> backend = registry->Create("vulkan");
  WEFT_SKIP_WITHOUT_DEVICE(backend.status());
  backend_ = *std::move(backend);
}

}  // namespace weft::vulkan
