// SPDX-License-Identifier: Apache-2.0
//
// Attention and the cache writes through the backend, where the kernels differ: the element-wise
// path, several segments, head sizes between the buckets, groups of any size. The conformance suite
// covers what a user sees.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention_layer.h"
#include "core/attention_metadata.h"
#include "core/backend.h"
#include "core/registry.h"
#include "core/status_macros.h"
#include "core/step_buffers.h"
#include "gtest/gtest.h"
#include "testing/device_io.h"
#include "testing/oracle.h"
#include "vulkan/test_device.h"
#include "vulkan/vulkan_backend.h"

namespace weft::vulkan {
namespace {

using ::weft::testing::AsBytes;
using ::weft::testing::Download;
using ::weft::testing::Upload;

struct Problem {
  DType dtype = DType::kF16;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_size = 64;
  int64_t block_size = 16;
  int64_t segments = 1;
  int64_t shift = 0;   // elements from an allocation's start to the cache
  uint32_t pages = 1;  // seed of the page permutation
  std::vector<int64_t> lengths = {5, 40, 600, 1300};
  std::vector<int64_t> new_tokens = {1, 33, 1, 70};
  std::vector<bool> decode = {true, false, true, false};
};

struct Result {
  std::vector<uint8_t> out;  // [tokens, heads, head_size] of dtype
  std::vector<float> lse;    // [tokens, heads]
};

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
  Runner(Backend& backend, std::shared_ptr<Backend> shared, Problem problem,
         std::vector<int64_t> ids)
      : backend_(backend), shared_(std::move(shared)), problem_(std::move(problem)), ids_(ids) {}

  absl::StatusOr<Result> Go() {
    ASSIGN_OR_RETURN(queue_, backend_.CreateQueue());
    RETURN_IF_ERROR(MakeCache());
    RETURN_IF_ERROR(WriteCache());
    return Attend();
  }

  float Query(int64_t r, int64_t p, int64_t h, int64_t d) const {
    return Rounded(problem_.dtype, Value(1, ids_[r] * 100000 + p, h, d));
  }
  float Key(int64_t r, int64_t p, int64_t h, int64_t d) const {
    return Rounded(problem_.dtype, Value(2, ids_[r] * 100000 + p, h, d));
  }
  float ValueAt(int64_t r, int64_t p, int64_t h, int64_t d) const {
    return Rounded(problem_.dtype, Value(3, ids_[r] * 100000 + p, h, d));
  }
  int64_t first_position(int64_t r) const { return problem_.lengths[r] - problem_.new_tokens[r]; }

 private:
  int64_t num_requests() const { return static_cast<int64_t>(problem_.lengths.size()); }

  absl::Status MakeCache() {
    ASSIGN_OR_RETURN(const KvCacheLayout layout,
                     KvCacheLayout::Nhd(problem_.dtype, problem_.block_size, problem_.kv_heads,
                                        problem_.head_size));
    int64_t used = 0;
    for (const int64_t length : problem_.lengths) {
      used += (length + problem_.block_size - 1) / problem_.block_size;
    }
    const int64_t per_segment = (used + 3) / problem_.segments + 1;
    std::vector<KvSegment> segments;
    const int64_t shift = problem_.shift * SizeOf(problem_.dtype);
    for (int64_t s = 0; s < problem_.segments; ++s) {
      ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer,
                       testing::AllocatePoisoned(backend_, *queue_,
                                                 per_segment * layout.bytes_per_block() + shift));
      const uint64_t key = buffer->address() + shift;
      segments.push_back({key, key + layout.value_offset() * SizeOf(problem_.dtype), per_segment});
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
    return queue_->ReshapeAndCache(args);
  }

  absl::StatusOr<Result> Attend() {
    AttentionSpec spec;
    spec.num_heads = problem_.heads;
    spec.num_kv_heads = problem_.kv_heads;
    spec.head_size = problem_.head_size;
    spec.dtype = spec.kv_dtype = problem_.dtype;
    ASSIGN_OR_RETURN(AttentionLayer layer, AttentionLayer::Create(shared_, spec, cache_.layout()));
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
    ASSIGN_OR_RETURN(const StepLimits limits, StepLimits::For(spec, cache_.layout(), 1, tokens,
                                                              num_requests(), 4096, tokens));
    ASSIGN_OR_RETURN(std::unique_ptr<StepBuffers> step, StepBuffers::Create(shared_, limits));
    RETURN_IF_ERROR(step->Update(*queue_, plan));
    AttentionIo io;
    const std::vector<int64_t> extents = {tokens, problem_.heads, problem_.head_size};
    ASSIGN_OR_RETURN(io.query, UploadTensor(problem_.dtype, query, extents));
    const auto bytes = static_cast<int64_t>(query.size()) * SizeOf(problem_.dtype);
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> out,
                     testing::AllocatePoisoned(backend_, *queue_, bytes));
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> lse,
                     testing::AllocatePoisoned(backend_, *queue_, tokens * problem_.heads * 4));
    ASSIGN_OR_RETURN(
        io.out, TensorView::Contiguous(out->address(), problem_.dtype, extents, backend_.device()));
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

  Backend& backend_;
  std::shared_ptr<Backend> shared_;
  Problem problem_;
  std::vector<int64_t> ids_;
  std::unique_ptr<Queue> queue_;
  std::vector<std::unique_ptr<Buffer>> memory_;
  std::vector<std::vector<int32_t>> blocks_;
  KvCacheView cache_;
};

class VulkanAttentionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    static auto* registry = [] {
      auto* made = new Registry();
      Options options;
      options.verify_hazards = true;
      EXPECT_TRUE(RegisterVulkanBackend(*made, options).ok());
      return made;
    }();
    absl::StatusOr<std::shared_ptr<Backend>> backend = registry->Create("vulkan");
    WEFT_SKIP_WITHOUT_DEVICE(backend.status());
    backend_ = *std::move(backend);
  }

  Result Attend(const Problem& problem, std::vector<int64_t> ids = {0, 1, 2, 3}) {
    absl::StatusOr<Result> result = Runner(*backend_, backend_, problem, ids).Go();
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : Result();
  }

  void ExpectRight(const Problem& problem);

  std::shared_ptr<Backend> backend_;
};

double Tolerance(DType dtype) {
  return dtype == DType::kF32 ? 2e-6 : dtype == DType::kF16 ? 6e-4 : 3e-3;
}

// Every row and head against the oracle.
void VulkanAttentionTest::ExpectRight(const Problem& problem) {
  const Result result = Attend(problem);
  const Runner data(*backend_, backend_, problem, {0, 1, 2, 3});
  double error = 0.0, norm = 0.0;
  int64_t row = 0;
  std::vector<float> query(problem.head_size);
  for (size_t r = 0; r < problem.lengths.size(); ++r) {
    for (int64_t p = data.first_position(r); p < problem.lengths[r]; ++p, ++row) {
      for (int64_t h = row % 3; h < problem.heads; h += 3) {
        for (int64_t d = 0; d < problem.head_size; ++d) query[d] = data.Query(r, p, h, d);
        const int64_t kv_head = h / (problem.heads / problem.kv_heads);
        const testing::OracleResult want = testing::AttendRow(
            query, 1.0 / std::sqrt(static_cast<double>(problem.head_size)), p + 1,
            [&](int64_t k, absl::Span<float> key, absl::Span<float> value) {
              for (int64_t d = 0; d < problem.head_size; ++d) {
                key[d] = data.Key(r, k, kv_head, d);
                value[d] = data.ValueAt(r, k, kv_head, d);
              }
            });
        for (int64_t d = 0; d < problem.head_size; ++d) {
          const double got = LoadFloat(problem.dtype, result.out.data(),
                                       (row * problem.heads + h) * problem.head_size + d);
          error += (got - want.out[d]) * (got - want.out[d]);
          norm += want.out[d] * want.out[d];
        }
        ASSERT_NEAR(result.lse[row * problem.heads + h], want.lse,
                    1e-5 * std::max(1.0, want.max_abs_logit))
            << "request " << r << " position " << p << " head " << h;
      }
    }
  }
  EXPECT_LE(std::sqrt(error / norm), Tolerance(problem.dtype));
}

TEST_F(VulkanAttentionTest, EveryTypeAndHeadSize) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int64_t head_size :
         dtype == DType::kF16 ? std::vector<int64_t>{64, 80, 256} : std::vector<int64_t>{112}) {
      SCOPED_TRACE(::testing::Message() << Name(dtype) << " head size " << head_size);
      Problem problem;
      problem.dtype = dtype;
      problem.head_size = head_size;
      problem.lengths = {5, 21, 530};
      problem.new_tokens = {1, 17, 1};
      problem.decode = {true, false, true};
      ExpectRight(problem);
    }
  }
}

TEST_F(VulkanAttentionTest, OddHeadSizesAndPlaces) {
  for (const DType dtype : {DType::kF32, DType::kF16}) {
    SCOPED_TRACE(Name(dtype));
    Problem problem;
    problem.dtype = dtype;
    problem.head_size = 37;
    problem.shift = 1;
    problem.lengths = {5, 21};
    problem.new_tokens = {1, 17};
    problem.decode = {true, false};
    ExpectRight(problem);
  }
}

TEST_F(VulkanAttentionTest, RefusesACacheThatItsKernelsCannotRead) {
  Problem problem;
  problem.shift = 1;
  absl::StatusOr<Result> result = Runner(*backend_, backend_, problem, {0, 1, 2, 3}).Go();
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(result.status().message().find("segment 0: key base"), std::string::npos)
      << result.status();
}

TEST_F(VulkanAttentionTest, EveryGroupSize) {
  for (const int64_t group : {1, 3, 5, 17}) {
    SCOPED_TRACE(group);
    Problem problem;
    problem.heads = 2 * group;
    problem.lengths = {40, 530};
    problem.new_tokens = {23, 1};
    problem.decode = {false, true};
    ExpectRight(problem);
  }
}

// Semantics 11, and 8: poison stands wherever no request has written.
TEST_F(VulkanAttentionTest, BitsDoNotDependOnPagesOrNeighbours) {
  Problem together;
  const Result all = Attend(together);
  const int64_t row_bytes = together.heads * together.head_size * SizeOf(together.dtype);
  for (const int64_t block_size : {1, 7, 16, 544}) {
    for (const int64_t segments : {1, 3}) {
      int64_t row = 0;
      for (int64_t r = 0; r < 4; ++r) {
        Problem alone = together;
        alone.block_size = block_size;
        alone.segments = segments;
        alone.pages = 77 + r;
        alone.lengths = {together.lengths[r]};
        alone.new_tokens = {together.new_tokens[r]};
        alone.decode = {together.decode[r]};
        const Result one = Attend(alone, {r});
        const int64_t rows = together.new_tokens[r];
        ASSERT_EQ(static_cast<int64_t>(one.out.size()), rows * row_bytes);
        EXPECT_TRUE(std::equal(one.out.begin(), one.out.end(), all.out.begin() + row * row_bytes))
            << "request " << r << " block size " << block_size;
        EXPECT_TRUE(
            std::equal(one.lse.begin(), one.lse.end(), all.lse.begin() + row * together.heads))
            << "request " << r << " block size " << block_size;
        row += rows;
      }
    }
  }
}

// A prefill row's tile depends on where its chunk begins.
TEST_F(VulkanAttentionTest, BitsDoNotDependOnTheChunk) {
  Problem whole;
  whole.heads = whole.kv_heads = 1;
  whole.lengths = {75};
  whole.new_tokens = {75};
  whole.decode = {false};
  const Result all = Attend(whole, {0});
  const int64_t row_bytes = whole.head_size * SizeOf(whole.dtype);
  for (const int64_t rows : {1, 2, 3, 7, 30, 74}) {
    Problem chunk = whole;
    chunk.new_tokens = {rows};
    const Result tail = Attend(chunk, {0});
    ASSERT_EQ(static_cast<int64_t>(tail.out.size()), rows * row_bytes);
    EXPECT_TRUE(
        std::equal(tail.out.begin(), tail.out.end(), all.out.begin() + (75 - rows) * row_bytes))
        << rows;
    EXPECT_TRUE(std::equal(tail.lse.begin(), tail.lse.end(), all.lse.begin() + 75 - rows)) << rows;
  }
}

TEST_F(VulkanAttentionTest, NamesWhatIsNotBuilt) {
  AttentionSpec spec;
  spec.num_heads = spec.num_kv_heads = 2;
  spec.head_size = 64;
  absl::StatusOr<KvCacheLayout> layout = KvCacheLayout::Nhd(DType::kF16, 16, 2, 64);
  ASSERT_TRUE(layout.ok());
  EXPECT_TRUE(backend_->Supports(spec, *layout).ok());
  auto expect = [&](const AttentionSpec& with, const char* name) {
    const absl::Status status = backend_->Supports(with, *layout);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << name;
    EXPECT_NE(status.message().find(name), std::string::npos) << status;
  };
  AttentionSpec with = spec;
  with.softcap = 30.0f;
  expect(with, "softcap");
  with = spec;
  with.window = 128;
  expect(with, "window");
  with = spec;
  with.alibi_slopes = {0.5f, 0.25f};
  expect(with, "alibi_slopes");
  with = spec;
  with.sinks = {0.5f, 0.25f};
  expect(with, "sinks");
  with = spec;
  with.dtype = DType::kF32;
  expect(with, "kv_dtype f16 with dtype f32");
  with = spec;
  with.head_size = 264;
  layout = KvCacheLayout::Nhd(DType::kF16, 16, 2, 264);
  ASSERT_TRUE(layout.ok());
  expect(with, "head_size 264");
}

}  // namespace
}  // namespace weft::vulkan
