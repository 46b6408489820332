// SPDX-License-Identifier: Apache-2.0
//
// The reference backend's attention against the oracle, features mixed at random: what the golden
// cases leave out (e5m2, scales for each head, other layouts, several features at once).
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/attention_layer.h"
#include "core/registry.h"
#include "core/status_macros.h"
#include "gtest/gtest.h"
#include "testing/compare.h"
#include "testing/device_io.h"
#include "testing/oracle.h"
#include "testing/reference/reference_backend.h"

namespace weft::testing {
namespace {

constexpr int64_t kHeads = 6, kKvHeads = 2, kSize = 12;

struct Shape {
  int64_t computed, fresh;
  bool decode;
};

// Requests of every sort: a long decode over two granules, a decode of two rows, prefills with and
// without context, one without rows.
const std::vector<Shape> kShapes = {{700, 1, true}, {9, 2, true},   {0, 5, false},
                                    {5, 0, false},  {30, 7, false}, {1100, 4, false}};

// What a run has on a device.
struct Memory {
  Backend& backend;
  Queue& queue;
  std::vector<std::unique_ptr<Buffer>> keep;

  absl::StatusOr<TensorView> Put(absl::Span<const uint8_t> bytes, DType dtype,
                                 const std::vector<int64_t>& shape) {
    ASSIGN_OR_RETURN(auto buffer, Upload(backend, queue, bytes));
    keep.push_back(std::move(buffer));
    return TensorView::Contiguous(keep.back()->address(), dtype, shape, backend.device());
  }
  absl::StatusOr<KvCacheView> NewCache(const KvCacheLayout& layout, int64_t num_blocks);
};

// One batch of random numbers, its cache, and the way to an answer.
class Batch {
 public:
  Batch(const AttentionSpec& spec, const KvCacheLayout& layout, uint32_t seed)
      : spec_(spec), layout_(layout), random_(seed) {
    int64_t block = 1;  // block 0 is nobody's
    for (const Shape& shape : kShapes) {
      first_row_.push_back(num_rows_);
      first_token_.push_back(num_tokens_);
      num_rows_ += shape.fresh;
      const int64_t length = shape.computed + shape.fresh;
      num_tokens_ += length;
      blocks_.emplace_back();
      for (int64_t i = 0; i < (length + layout.block_size() - 1) / layout.block_size(); ++i)
        blocks_.back().push_back(static_cast<int32_t>(block++));
      for (int64_t p = 0; p < length; ++p) {
        slots_.push_back(blocks_.back()[p / layout.block_size()] * layout.block_size() +
                         p % layout.block_size());
      }
    }
    num_blocks_ = block;
    query_ = Numbers(num_rows_ * kHeads * kSize, spec.query_dtype());
    key_ = Numbers(num_tokens_ * kKvHeads * kSize, spec.dtype);
    value_ = Numbers(num_tokens_ * kKvHeads * kSize, spec.dtype);
  }

  // Writes all tokens to a cache and attends. `cut`: the rows of a prefill come in two chunks, the
  // first of one row.
  absl::Status Run(Backend& backend, bool cut, HostTensor& out, HostTensor& lse) const;

  void Expect(HostTensor& out, HostTensor& lse, std::vector<double>& max_abs_logit) const;

 private:
  absl::Status Write(Memory& memory, const KvCacheView& cache) const;
  absl::StatusOr<AttentionMetadata> Metadata(bool cut) const;

  std::vector<uint8_t> Numbers(int64_t count, DType dtype) {
    std::normal_distribution<float> normal(0.0f, 1.0f);
    std::vector<uint8_t> bytes(static_cast<size_t>(count * SizeOf(dtype)));
    for (int64_t i = 0; i < count; ++i) StoreFloat(dtype, bytes.data(), i, normal(random_));
    return bytes;
  }

  // A number of a token as the cache gives it back.
  float Cached(const std::vector<uint8_t>& rows, const std::vector<float>& scales, int64_t token,
               int64_t kv_head, int64_t d) const {
    const float x = LoadFloat(spec_.dtype, rows.data(), (token * kKvHeads + kv_head) * kSize + d);
    if (!IsFp8(spec_.kv_dtype)) return x;
    const float scale = scales.empty()       ? 1.0f
                        : scales.size() == 1 ? scales[0]
                                             : scales[static_cast<size_t>(kv_head)];
    uint8_t code;
    StoreFloat(spec_.kv_dtype, &code, 0, x / scale);
    return LoadFloat(spec_.kv_dtype, &code, 0);
  }

  AttentionSpec spec_;
  KvCacheLayout layout_;
  std::mt19937 random_;
  int64_t num_rows_ = 0, num_tokens_ = 0, num_blocks_ = 0;
  std::vector<int64_t> first_row_, first_token_, slots_;
  std::vector<std::vector<int32_t>> blocks_;
  std::vector<uint8_t> query_, key_, value_;
};

absl::StatusOr<KvCacheView> Memory::NewCache(const KvCacheLayout& layout, int64_t num_blocks) {
  ASSIGN_OR_RETURN(const int64_t key_bytes, layout.KeySpanBytes(num_blocks));
  ASSIGN_OR_RETURN(const int64_t value_bytes, layout.ValueSpanBytes(num_blocks));
  ASSIGN_OR_RETURN(auto keys, AllocatePoisoned(backend, queue, key_bytes));
  ASSIGN_OR_RETURN(auto values, AllocatePoisoned(backend, queue, value_bytes));
  const KvSegment segment = {keys->address(), values->address(), num_blocks};
  keep.push_back(std::move(keys));
  keep.push_back(std::move(values));
  return KvCacheView::Create(layout, backend.device(), {segment});
}

absl::Status Batch::Write(Memory& memory, const KvCacheView& cache) const {
  ReshapeAndCacheArgs write;
  write.cache = cache;
  const std::vector<int64_t> shape = {num_tokens_, kKvHeads, kSize};
  ASSIGN_OR_RETURN(write.key, memory.Put(key_, spec_.dtype, shape));
  ASSIGN_OR_RETURN(write.value, memory.Put(value_, spec_.dtype, shape));
  ASSIGN_OR_RETURN(write.slots, memory.Put(AsBytes(slots_), DType::kI64, {num_tokens_}));
  for (const auto& [scales, view] :
       {std::pair(&spec_.k_scales, &write.k_scales), std::pair(&spec_.v_scales, &write.v_scales)}) {
    const std::vector<float> per_head = ScalesPerHead(*scales, spec_);
    if (per_head.empty()) continue;
    ASSIGN_OR_RETURN(*view, memory.Put(AsBytes(per_head), DType::kF32, {kKvHeads}));
  }
  return memory.queue.ReshapeAndCache(write);
}

absl::StatusOr<AttentionMetadata> Batch::Metadata(bool cut) const {
  RequestBatch batch;
  for (size_t i = 0; i < kShapes.size(); ++i) {
    Request request;
    request.kind = kShapes[i].decode ? RequestKind::kDecode : RequestKind::kPrefill;
    request.num_new_tokens = kShapes[i].fresh;
    request.num_computed_tokens = kShapes[i].computed;
    request.block_ids = blocks_[i];
    if (cut && !kShapes[i].decode && request.num_new_tokens > 1) {
      Request first = request;
      first.num_new_tokens = 1;
      batch.requests.push_back(first);
      --request.num_new_tokens;
      ++request.num_computed_tokens;
    }
    batch.requests.push_back(request);
  }
  MetadataOptions options;
  options.fast = cut;  // two requests of one table
  return AttentionMetadataBuilder(layout_, num_blocks_).Build(batch, options);
}

absl::Status Batch::Run(Backend& backend, bool cut, HostTensor& out, HostTensor& lse) const {
  ASSIGN_OR_RETURN(const std::unique_ptr<Queue> queue, backend.CreateQueue());
  Memory memory = {backend, *queue, {}};
  const std::vector<int64_t> out_shape = {num_rows_, kHeads, kSize},
                             lse_shape = {num_rows_, kHeads};
  const DType out_dtype = spec_.output_dtype();
  AttentionIo io;
  ASSIGN_OR_RETURN(io.cache, memory.NewCache(layout_, num_blocks_));
  ASSIGN_OR_RETURN(io.query, memory.Put(query_, spec_.query_dtype(), out_shape));
  ASSIGN_OR_RETURN(io.out, memory.Put(PoisonBytes(num_rows_ * kHeads * kSize * SizeOf(out_dtype)),
                                      out_dtype, out_shape));
  ASSIGN_OR_RETURN(io.lse, memory.Put(PoisonBytes(num_rows_ * kHeads * 4), DType::kF32, lse_shape));
  RETURN_IF_ERROR(Write(memory, io.cache));
  ASSIGN_OR_RETURN(const AttentionMetadata metadata, Metadata(cut));
  ASSIGN_OR_RETURN(const AttentionLayer layer,
                   AttentionLayer::Create(backend.shared_from_this(), spec_, layout_));
  ASSIGN_OR_RETURN(auto plan, layer.MakePlan(metadata));
  StepLimits limits;
  limits.max_slots = static_cast<int64_t>(plan->slots().size());
  limits.max_blocks = static_cast<int64_t>(plan->blocks().size());
  limits.max_tiles = static_cast<int64_t>(plan->tiles().size());
  limits.max_decode_rows = static_cast<int64_t>(plan->decode_rows().size());
  limits.max_decode_splits = static_cast<int64_t>(plan->decode_splits().size());
  limits.workspace_bytes = plan->workspace_bytes();
  ASSIGN_OR_RETURN(const auto step, StepBuffers::Create(backend.shared_from_this(), limits));
  RETURN_IF_ERROR(step->Update(*queue, plan));
  RETURN_IF_ERROR(layer.Attend(*queue, *step, io));
  ASSIGN_OR_RETURN(const auto out_bytes, Download(*queue, io.out.address(), io.out.span_bytes()));
  ASSIGN_OR_RETURN(const auto lse_bytes, Download(*queue, io.lse.address(), io.lse.span_bytes()));
  out = DecodeTensor(out_dtype, out_shape, out_bytes);
  lse = DecodeTensor(DType::kF32, lse_shape, lse_bytes);
  return absl::OkStatus();
}

void Batch::Expect(HostTensor& out, HostTensor& lse, std::vector<double>& max_abs_logit) const {
  out = {spec_.output_dtype(), {num_rows_, kHeads, kSize}, {}};
  lse = {DType::kF32, {num_rows_, kHeads}, {}};
  std::vector<float> query(kSize);
  for (size_t i = 0; i < kShapes.size(); ++i) {
    const Shape& shape = kShapes[i];
    for (int64_t row = 0; row < shape.fresh; ++row) {
      for (int64_t head = 0; head < kHeads; ++head) {
        for (int64_t d = 0; d < kSize; ++d) {
          query[d] = LoadFloat(spec_.query_dtype(), query_.data(),
                               ((first_row_[i] + row) * kHeads + head) * kSize + d);
        }
        const int64_t kv_head = head / (kHeads / kKvHeads);
        const OracleResult result = AttendRow(
            query, OracleHeadOf(spec_, head), shape.computed + row, shape.computed + shape.fresh,
            [&](int64_t p, absl::Span<float> key, absl::Span<float> value) {
              for (int64_t d = 0; d < kSize; ++d) {
                key[d] = Cached(key_, spec_.k_scales, first_token_[i] + p, kv_head, d);
                value[d] = Cached(value_, spec_.v_scales, first_token_[i] + p, kv_head, d);
              }
            });
        for (double x : result.out) out.values.push_back(x / spec_.out_scale);
        lse.values.push_back(result.lse);
        max_abs_logit.push_back(result.max_abs_logit);
      }
    }
  }
}

KvCacheLayout LayoutOf(int number, DType dtype) {
  switch (number) {
    case 0:
      return KvCacheLayout::Nhd(dtype, 16, kKvHeads, kSize).value();
    case 1:
      return KvCacheLayout::Hnd(dtype, 7, kKvHeads, kSize).value();
    case 2:
      return KvCacheLayout::SplitX(dtype, 5, kKvHeads, kSize, 4).value();
    case 3:
      return KvCacheLayout::SplitX(dtype, 544, kKvHeads, kSize, 12).value();
    default:  // gaps everywhere, and keys unlike values
      return KvCacheLayout::Strided(dtype, 3, kKvHeads, kSize, {301, 40, 14}, {200, 1, 90, 1, 7}, 0,
                                    0)
          .value();
  }
}

AttentionSpec RandomSpec(std::mt19937& random) {
  const auto one_in = [&](uint32_t n) { return random() % n == 0; };
  AttentionSpec spec;
  spec.num_heads = kHeads;
  spec.num_kv_heads = kKvHeads;
  spec.head_size = kSize;
  spec.dtype = std::vector{DType::kF32, DType::kF16, DType::kBF16}[random() % 3];
  spec.kv_dtype = std::vector{spec.dtype, DType::kF8E4M3, DType::kF8E5M2}[random() % 3];
  if (IsFp8(spec.kv_dtype)) {
    spec.fp8_query = one_in(3);
    if (one_in(2)) spec.k_scales = {0.25f, 0.5f};
    if (one_in(2)) spec.v_scales = {0.37f, 1.5f};
  }
  if (one_in(2)) spec.softcap = 1.5f;
  if (one_in(2)) spec.window = std::vector{1, 6, 40, 600}[random() % 4];
  if (one_in(2)) spec.alibi_slopes = {0.5f, 0.25f, 0.0f, -0.125f, 0.01f, 1.0f};
  if (one_in(2)) spec.sinks = {0.5f, -INFINITY, 90.0f, -3.0f, 2.0f, 0.0f};
  if (one_in(4)) spec.out_dtype = DType::kF32;
  if (one_in(4)) {
    spec.out_dtype = DType::kF8E4M3;
    spec.out_scale = 0.01f;
  }
  return spec;
}

TEST(ReferenceAttentionTest, FeaturesAtRandomAgreeWithTheOracle) {
  Registry registry;
  ASSERT_TRUE(RegisterReferenceBackend(registry).ok());
  const std::vector<std::shared_ptr<Backend>> backends = {registry.Create("reference:0").value(),
                                                          registry.Create("reference:1").value()};
  std::mt19937 random(20261121);
  for (int i = 0; i < 40; ++i) {
    const AttentionSpec spec = RandomSpec(random);
    Batch batch(spec, LayoutOf(i % 5, spec.kv_dtype), static_cast<uint32_t>(i));
    HostTensor expected, expected_lse, out, lse;
    std::vector<double> max_abs_logit;
    batch.Expect(expected, expected_lse, max_abs_logit);
    for (const std::shared_ptr<Backend>& backend : backends) {
      CompareContext context;
      context.case_line =
          absl::StrCat(i, " on ", backend->info().name, ": ", spec.ToString(), "; layout ", i % 5);
      const absl::Status run = batch.Run(*backend, /*cut=*/false, out, lse);
      ASSERT_TRUE(run.ok()) << run << context.case_line;
      context.tensor = "out";
      const Tolerance tolerance = ToleranceFor(spec.output_dtype());
      const absl::Status outs = CompareTensors(out, expected, tolerance, context);
      EXPECT_TRUE(outs.ok()) << outs;
      context.tensor = "lse";
      const absl::Status lses = CompareLse(lse, expected_lse, max_abs_logit, context);
      EXPECT_TRUE(lses.ok()) << lses;
      // The bits of a row do not know how its chunk was cut.
      HostTensor cut_out, cut_lse;
      const absl::Status run_cut = batch.Run(*backend, /*cut=*/true, cut_out, cut_lse);
      ASSERT_TRUE(run_cut.ok()) << run_cut << context.case_line;
      EXPECT_EQ(cut_out.values, out.values) << context.case_line;
      EXPECT_EQ(cut_lse.values, lse.values) << context.case_line;
    }
  }
}

}  // namespace
}  // namespace weft::testing
