// SPDX-License-Identifier: Apache-2.0
#include "core/ops/case_for_test.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/checked_math.h"
#include "core/registry.h"
#include "testing/required_backends.h"

namespace weft::testing {
namespace {

constexpr uint8_t kPoisonByte = 0xff;

float Rounded(DType dtype, float value) {
  uint8_t bytes[4];
  StoreFloat(dtype, bytes, 0, value);
  return LoadFloat(dtype, bytes, 0);
}

float ScaleOf(const std::vector<float>& scales, int64_t head) {
  if (scales.empty()) return 1.0f;
  return scales.size() == 1 ? scales[0] : scales[static_cast<size_t>(head)];
}

// What a cache of `dtype` gives back for each dimension of each head.
std::vector<float> ThroughCache(const std::vector<float>& values, const std::vector<float>& scales,
                                DType dtype, int64_t head_size) {
  std::vector<float> result;
  for (size_t i = 0; i < values.size(); ++i) {
    const float scale = ScaleOf(scales, static_cast<int64_t>(i) / head_size);
    result.push_back(IsFp8(dtype) ? Rounded(dtype, values[i] / scale) * scale : values[i]);
  }
  return result;
}

double Tolerance(DType dtype) {
  return dtype == DType::kF32 ? 2e-5 : dtype == DType::kF16 ? 4e-3 : 2e-2;
}

const char* BackendName() {
  const char* const name = std::getenv("WEFT_TEST_BACKEND");
  CHECK(name != nullptr) << "WEFT_TEST_BACKEND names no backend";
  return name;
}

const absl::StatusOr<std::shared_ptr<Backend>>& Opened() {
  static const auto* const opened =
      new absl::StatusOr<std::shared_ptr<Backend>>(Registry::Default().Create(BackendName()));
  return *opened;
}

}  // namespace

std::string NoBackendReason() { return Opened().status().ToString(); }

std::shared_ptr<Backend> OpenBackend() {
  if (Opened().ok()) return *Opened();
  CHECK(!BackendIsRequired(BackendName()) && absl::IsUnavailable(Opened().status()))
      << Opened().status();
  return nullptr;
}

DeviceMemory::DeviceMemory(std::shared_ptr<Backend> backend) : backend_(std::move(backend)) {
  auto queue = backend_->CreateQueue();
  CHECK_OK(queue.status());
  queue_ = *std::move(queue);
}

TensorView DeviceMemory::UploadBytes(DType dtype, const std::vector<uint8_t>& bytes,
                                     std::vector<int64_t> extents) {
  auto buffer = backend_->Allocate(std::max<int64_t>(4, static_cast<int64_t>(bytes.size())));
  CHECK_OK(buffer.status());
  CHECK_OK(queue_->CopyFromHost((*buffer)->address(), bytes));
  auto view = TensorView::Contiguous((*buffer)->address(), dtype, extents, backend_->device());
  CHECK_OK(view.status());
  buffers_.push_back(*std::move(buffer));
  return *view;
}

TensorView DeviceMemory::Upload(DType dtype, const std::vector<float>& values,
                                std::vector<int64_t> extents) {
  std::vector<uint8_t> bytes(values.size() * static_cast<size_t>(SizeOf(dtype)));
  for (size_t i = 0; i < values.size(); ++i)
    StoreFloat(dtype, bytes.data(), static_cast<int64_t>(i), values[i]);
  return UploadBytes(dtype, bytes, std::move(extents));
}

TensorView DeviceMemory::Poisoned(DType dtype, std::vector<int64_t> extents) {
  int64_t elements = 1;
  for (const int64_t extent : extents) elements *= extent;
  return UploadBytes(
      dtype, std::vector<uint8_t>(static_cast<size_t>(elements * SizeOf(dtype)), kPoisonByte),
      std::move(extents));
}

void DeviceMemory::Run() {
  CHECK_OK(queue_->Submit());
  CHECK_OK(queue_->Wait(absl::Now() + absl::Minutes(2)));
}

std::vector<uint8_t> DeviceMemory::DownloadBytes(uint64_t address, int64_t bytes) {
  std::vector<uint8_t> result(static_cast<size_t>(bytes));
  CHECK_OK(queue_->CopyToHost(absl::MakeSpan(result), address));
  Run();
  return result;
}

std::vector<float> DeviceMemory::Download(const TensorView& view) {
  const std::vector<uint8_t> bytes = DownloadBytes(view.address(), view.span_bytes());
  std::vector<float> values;
  for (int64_t i = 0; i < view.num_elements(); ++i)
    values.push_back(LoadFloat(view.dtype(), bytes.data(), i));
  return values;
}

OpsCase::OpsCase(const AttentionSpec& spec, const KvCacheLayout& layout,
                 std::vector<Sequence> shapes, int64_t num_blocks, InCache in_cache, uint32_t seed)
    : spec_(spec),
      layout_(layout),
      shapes_(std::move(shapes)),
      num_blocks_(num_blocks),
      in_cache_(in_cache) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto numbers = [&](int64_t count, DType dtype) {
    std::vector<float> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(Rounded(dtype, normal(random)));
    return values;
  };
  std::vector<int32_t> blocks(static_cast<size_t>(num_blocks));
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), random);
  query_start_loc_ = {0};
  for (const Sequence& shape : shapes_) {
    query_start_loc_.push_back(query_start_loc_.back() + static_cast<int32_t>(shape.new_tokens));
    seq_lens_.push_back(static_cast<int32_t>(shape.new_tokens + shape.computed));
    width_ = std::max(width_, CeilDiv(seq_lens_.back(), layout.block_size()) + 1);
    std::vector<Token>& tokens = tokens_.emplace_back();
    for (int32_t p = 0; p < seq_lens_.back(); ++p) {
      Token token;
      token.key = numbers(spec.num_kv_heads * spec.head_size, spec.dtype);
      token.value = numbers(spec.num_kv_heads * spec.head_size, spec.dtype);
      token.cached_key = ThroughCache(token.key, spec.k_scales, spec.kv_dtype, spec.head_size);
      token.cached_value = ThroughCache(token.value, spec.v_scales, spec.kv_dtype, spec.head_size);
      tokens.push_back(std::move(token));
    }
  }
  size_t next = 0;
  for (const int32_t length : seq_lens_) {
    const int64_t used = CeilDiv(length, layout.block_size());
    for (int64_t column = 0; column < width_; ++column) {
      // Behind the used columns stands what no kernel may follow.
      table_.push_back(column < used ? blocks.at(next++) : 0x7fffffff);
    }
  }
  query_ = numbers(num_rows() * spec.num_heads * spec.head_size, spec.query_dtype());
}

StepArrays OpsCase::arrays() const {
  StepArrays arrays;
  arrays.query_start_loc = query_start_loc_;
  arrays.seq_lens = seq_lens_;
  arrays.block_table = table_;
  arrays.block_table_width = width_;
  return arrays;
}

StepArrays OpsCase::address_arrays(const KvCacheView& cache) {
  addresses_.clear();
  const auto stride = static_cast<uint64_t>(layout_.key_strides().block * SizeOf(layout_.dtype()));
  for (const int32_t block : table_)
    addresses_.push_back(cache.segments()[0].key_base + static_cast<uint64_t>(block) * stride);
  StepArrays result = arrays();
  result.block_table = {};
  result.block_addresses = addresses_;
  return result;
}

TensorView OpsCase::Query(DeviceMemory& memory) const {
  return memory.Upload(spec_.query_dtype(), query_, {num_rows(), spec_.num_heads, spec_.head_size});
}

std::vector<float> OpsCase::NewTokens(bool keys) const {
  std::vector<float> rows;
  for (size_t s = 0; s < shapes_.size(); ++s) {
    for (int64_t p = shapes_[s].computed; p < seq_lens_[s]; ++p) {
      const Token& token = tokens_[s][static_cast<size_t>(p)];
      const std::vector<float>& values = keys ? token.key : token.value;
      rows.insert(rows.end(), values.begin(), values.end());
    }
  }
  return rows;
}

TensorView OpsCase::NewKeys(DeviceMemory& memory) const {
  return memory.Upload(spec_.dtype, NewTokens(true),
                       {num_rows(), spec_.num_kv_heads, spec_.head_size});
}

TensorView OpsCase::NewValues(DeviceMemory& memory) const {
  return memory.Upload(spec_.dtype, NewTokens(false),
                       {num_rows(), spec_.num_kv_heads, spec_.head_size});
}

bool OpsCase::IsCached(int64_t sequence, int64_t position) const {
  const Sequence& shape = shapes_[static_cast<size_t>(sequence)];
  if (position < shape.computed || in_cache_ == InCache::kAll) return true;
  return in_cache_ == InCache::kSingleTokens && shape.new_tokens == 1;
}

KvCacheView OpsCase::Cache(DeviceMemory& memory) const {
  const int64_t size = SizeOf(layout_.dtype());
  const int64_t key_bytes = *layout_.KeySpanBytes(num_blocks_);
  std::vector<uint8_t> bytes(
      static_cast<size_t>(std::max(layout_.bytes_per_block() * num_blocks_, key_bytes)),
      kPoisonByte);
  const int64_t value_base = layout_.values_follow_keys()
                                 ? layout_.key_strides().block * num_blocks_
                                 : layout_.value_offset();
  const auto store = [&](int64_t base, const KvStrides& strides, int64_t block, int64_t offset,
                         const std::vector<float>& values, const std::vector<float>& scales) {
    for (int64_t h = 0; h < spec_.num_kv_heads; ++h) {
      for (int64_t d = 0; d < spec_.head_size; ++d) {
        const int64_t at = base + block * strides.block + offset * strides.token +
                           h * strides.head + DimOffset(strides, d);
        StoreFloat(layout_.dtype(), bytes.data() + at * size, 0,
                   values[static_cast<size_t>(h * spec_.head_size + d)] / ScaleOf(scales, h));
      }
    }
  };
  for (size_t s = 0; s < shapes_.size(); ++s) {
    for (int64_t p = 0; p < seq_lens_[s]; ++p) {
      if (!IsCached(static_cast<int64_t>(s), p)) continue;
      const Token& token = tokens_[s][static_cast<size_t>(p)];
      const int64_t column = p / layout_.block_size();
      const int64_t block = table_[s * static_cast<size_t>(width_) + static_cast<size_t>(column)];
      const int64_t offset = p % layout_.block_size();
      store(0, layout_.key_strides(), block, offset, token.cached_key, spec_.k_scales);
      store(value_base, layout_.value_strides(), block, offset, token.cached_value, spec_.v_scales);
    }
  }
  const auto length = static_cast<int64_t>(bytes.size());
  const TensorView view = memory.UploadBytes(DType::kU8, bytes, {length});
  auto cache = KvCacheView::OneAllocation(layout_, view.address(), num_blocks_, view.device());
  CHECK_OK(cache.status());
  return *cache;
}

TensorView OpsCase::Out(DeviceMemory& memory, int64_t more_rows) const {
  return memory.Poisoned(spec_.output_dtype(),
                         {num_rows() + more_rows, spec_.num_heads, spec_.head_size});
}

TensorView OpsCase::Lse(DeviceMemory& memory, int64_t more_rows) const {
  return memory.Poisoned(DType::kF32, {num_rows() + more_rows, spec_.num_heads});
}

int64_t OpsCase::SequenceOf(int64_t row) const {
  int64_t sequence = 0;
  while (query_start_loc_[static_cast<size_t>(sequence) + 1] <= row) ++sequence;
  return sequence;
}

ExpectedRow OpsCase::Expect(int64_t row, bool fresh) const {
  const auto s = static_cast<size_t>(SequenceOf(row));
  const int64_t computed = shapes_[s].computed;
  const int64_t position = computed + row - query_start_loc_[s];
  const int64_t first = spec_.window > 0 ? std::max<int64_t>(0, position - spec_.window + 1) : 0;
  ExpectedRow expected;
  for (int64_t head = 0; head < spec_.num_heads; ++head) {
    const int64_t kv_head = head / spec_.group_size();
    const float* query =
        &query_[static_cast<size_t>((row * spec_.num_heads + head) * spec_.head_size)];
    std::vector<double> logits;
    const auto vector_of = [&](int64_t p, bool key) {
      const Token& token = tokens_[s][static_cast<size_t>(p)];
      const bool from_chunk = fresh && p >= computed;
      const std::vector<float>& all = key ? (from_chunk ? token.key : token.cached_key)
                                          : (from_chunk ? token.value : token.cached_value);
      return &all[static_cast<size_t>(kv_head * spec_.head_size)];
    };
    for (int64_t p = first; p <= position; ++p) {
      double dot = 0.0;
      for (int64_t d = 0; d < spec_.head_size; ++d)
        dot += double{query[d]} * double{vector_of(p, true)[d]};
      double logit = double{spec_.effective_scale()} * dot;
      if (spec_.softcap > 0) logit = spec_.softcap * std::tanh(logit / spec_.softcap);
      if (!spec_.alibi_slopes.empty())
        logit += double{spec_.alibi_slopes[static_cast<size_t>(head)]} *
                 static_cast<double>(p - position);
      logits.push_back(logit);
    }
    const double max = *std::max_element(logits.begin(), logits.end());
    double sum = 0.0;
    for (const double logit : logits) sum += std::exp(logit - max);
    double denominator = sum;
    if (!spec_.sinks.empty())
      denominator += std::exp(double{spec_.sinks[static_cast<size_t>(head)]} - max);
    expected.lse.push_back(max + std::log(sum));
    for (int64_t d = 0; d < spec_.head_size; ++d) {
      double value = 0.0;
      for (size_t i = 0; i < logits.size(); ++i)
        value += std::exp(logits[i] - max) * vector_of(first + static_cast<int64_t>(i), false)[d];
      expected.out.push_back(value / denominator);
    }
  }
  return expected;
}

void OpsCase::CheckSequence(int64_t sequence, bool fresh, const std::vector<float>& out,
                            const std::vector<float>& lse) const {
  const auto s = static_cast<size_t>(sequence);
  for (int64_t row = query_start_loc_[s]; row < query_start_loc_[s + 1]; ++row) {
    const ExpectedRow expected = Expect(row, fresh);
    for (size_t i = 0; i < expected.out.size(); ++i) {
      const float seen = out[static_cast<size_t>(row) * expected.out.size() + i];
      const std::string where = absl::StrCat("sequence ", sequence, ", row ", row, ", element ", i);
      if (IsFp8(spec_.output_dtype())) {
        // The stored code times its scale: half a step of three mantissa bits, and what f32 lost.
        const double stored = expected.out[i] / spec_.out_scale;
        const double clamped = std::clamp(stored, -448.0, 448.0);
        ASSERT_NEAR(seen, clamped, std::abs(clamped) / 15.0 + 1.0 / 1024) << where;
      } else {
        const double tolerance = Tolerance(spec_.dtype) * std::max(1.0, std::abs(expected.out[i]));
        ASSERT_NEAR(seen, expected.out[i], tolerance) << where;
      }
    }
    for (size_t head = 0; !lse.empty() && head < expected.lse.size(); ++head) {
      ASSERT_NEAR(lse[static_cast<size_t>(row) * expected.lse.size() + head], expected.lse[head],
                  2e-5 * std::max(1.0, std::abs(expected.lse[head])))
          << "LSE of sequence " << sequence << ", row " << row << ", head " << head;
    }
  }
}

void OpsCase::CheckUntouched(int64_t sequence, const std::vector<float>& out,
                             const std::vector<float>& lse) const {
  const auto s = static_cast<size_t>(sequence);
  const int64_t width = spec_.num_heads * spec_.head_size;
  for (int64_t i = query_start_loc_[s] * width; i < query_start_loc_[s + 1] * width; ++i)
    ASSERT_TRUE(std::isnan(out[static_cast<size_t>(i)])) << "row " << i / width;
  for (int64_t i = query_start_loc_[s] * spec_.num_heads;
       i < query_start_loc_[s + 1] * spec_.num_heads && !lse.empty(); ++i)
    ASSERT_TRUE(std::isnan(lse[static_cast<size_t>(i)])) << "LSE of row " << i / spec_.num_heads;
}

}  // namespace weft::testing
