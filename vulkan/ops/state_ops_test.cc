// SPDX-License-Identifier: Apache-2.0
//
// The operations beside attention, against the reference backend, which computes in float64:
// MergeStates, CorrectAttnOut, QuantizeFp8, cache writes and GatherRows of fp8.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/backend.h"
#include "core/dtype.h"
#include "core/kv_cache.h"
#include "core/queue.h"
#include "core/registry.h"
#include "core/status_macros.h"
#include "core/tensor_view.h"
#include "gtest/gtest.h"
#include "testing/device_io.h"
#include "testing/reference/reference_backend.h"
#include "vulkan/test_device.h"
#include "vulkan/vulkan_backend.h"

namespace weft::vulkan {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Memory of one run on one backend. Elements lie with gaps, so that strides count.
class Bench {
 public:
  explicit Bench(const std::shared_ptr<Backend>& backend) : backend_(backend) {
    absl::StatusOr<std::unique_ptr<Queue>> queue = backend->CreateQueue();
    EXPECT_TRUE(queue.ok()) << queue.status();
    queue_ = *std::move(queue);
  }

  Queue& queue() { return *queue_; }
  DeviceId device() const { return backend_->device(); }

  // Element i of the row-major values goes to the place that the strides give it; the rest is
  // poison.
  TensorView Put(DType dtype, const std::vector<float>& values, std::vector<int64_t> extents,
                 std::vector<int64_t> strides) {
    const TensorView view = Poisoned(dtype, extents, strides);
    std::vector<uint8_t> bytes = testing::PoisonBytes(view.span_bytes());
    for (size_t i = 0; i < values.size(); ++i) {
      StoreFloat(dtype, bytes.data(), Place(view, static_cast<int64_t>(i)), values[i]);
    }
    EXPECT_TRUE(queue_->CopyFromHost(view.address(), bytes).ok());
    return view;
  }
  TensorView Put(const std::vector<float>& values) {
    const auto count = static_cast<int64_t>(values.size());
    return Put(DType::kF32, values, {count}, {1});
  }
  TensorView PutIndex(const std::vector<int64_t>& values) {
    const TensorView view = Poisoned(DType::kI64, {static_cast<int64_t>(values.size())}, {1});
    EXPECT_TRUE(queue_->CopyFromHost(view.address(), testing::AsBytes(values)).ok());
    return view;
  }
  TensorView Poisoned(DType dtype, std::vector<int64_t> extents, std::vector<int64_t> strides) {
    int64_t elements = 1;
    for (size_t i = 0; i < extents.size(); ++i) elements += (extents[i] - 1) * strides[i];
    const uint64_t address = PoisonedBytes(elements * SizeOf(dtype));
    absl::StatusOr<TensorView> view =
        TensorView::Create(address, dtype, extents, strides, backend_->device());
    EXPECT_TRUE(view.ok()) << view.status();
    return *view;
  }
  uint64_t PoisonedBytes(int64_t bytes) {
    absl::StatusOr<std::unique_ptr<Buffer>> buffer =
        testing::AllocatePoisoned(*backend_, *queue_, bytes);
    EXPECT_TRUE(buffer.ok()) << buffer.status();
    memory_.push_back(*std::move(buffer));
    return memory_.back()->address();
  }

  std::vector<uint8_t> Bytes(uint64_t address, int64_t bytes) {
    absl::StatusOr<std::vector<uint8_t>> result = testing::Download(*queue_, address, bytes);
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }
  std::vector<uint8_t> Bytes(const TensorView& view) {
    return Bytes(view.address(), view.span_bytes());
  }

 private:
  static int64_t Place(const TensorView& view, int64_t index) {
    int64_t place = 0;
    for (int axis = view.rank(); axis-- > 0;) {
      place += index % view.extent(axis) * view.stride(axis);
      index /= view.extent(axis);
    }
    return place;
  }

  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
  std::vector<std::unique_ptr<Buffer>> memory_;
};

// What a run leaves behind; gaps included, so that nobody may write there.
struct Left {
  DType dtype;
  std::vector<uint8_t> bytes;
};

class StateOpsTest : public ::testing::Test {
 protected:
  using Run = std::function<std::vector<Left>(Bench&)>;

  void SetUp() override {
    Registry registry;
    Options options;
    options.verify_hazards = true;
    ASSERT_TRUE(RegisterVulkanBackend(registry, options).ok());
    ASSERT_TRUE(RegisterReferenceBackend(registry).ok());
    absl::StatusOr<std::shared_ptr<Backend>> backend = registry.Create("vulkan");
    WEFT_SKIP_WITHOUT_DEVICE(backend.status());
    vulkan_ = *std::move(backend);
    backend = registry.Create("reference");
    ASSERT_TRUE(backend.ok()) << backend.status();
    reference_ = *std::move(backend);
  }

  // The same on both backends: the same bits where `tolerance` is 0, else as near as it says, in
  // units of the output's rounding.
  void Compare(const Run& run, double tolerance) {
    Bench want_bench(reference_), got_bench(vulkan_);
    const std::vector<Left> want = run(want_bench), got = run(got_bench);
    ASSERT_EQ(want.size(), got.size());
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_EQ(want[i].bytes.size(), got[i].bytes.size());
      if (tolerance == 0.0) {
        EXPECT_EQ(want[i].bytes, got[i].bytes) << "result " << i;
        continue;
      }
      const DType dtype = want[i].dtype;
      const double unit = dtype == DType::kF32    ? 0x1p-24
                          : dtype == DType::kF16  ? 0x1p-11
                          : dtype == DType::kBF16 ? 0x1p-8
                                                  : 0x1p-4;
      const auto count = static_cast<int64_t>(want[i].bytes.size()) / SizeOf(dtype);
      for (int64_t e = 0; e < count; ++e) {
        const float a = LoadFloat(dtype, want[i].bytes.data(), e);
        const float b = LoadFloat(dtype, got[i].bytes.data(), e);
        if (std::isnan(a) || std::isinf(a)) {
          ASSERT_TRUE(std::isnan(a) ? std::isnan(b) : a == b) << i << ", " << e << ": " << b;
        } else {
          ASSERT_NEAR(a, b, tolerance * unit * std::max(1.0f, std::abs(a))) << i << ", " << e;
        }
      }
    }
  }

  std::vector<float> Normal(int64_t count, float deviation = 1.0f) {
    std::normal_distribution<float> normal(0.0f, deviation);
    std::vector<float> values(count);
    for (float& value : values) value = normal(random_);
    return values;
  }

  std::mt19937 random_{1};
  std::shared_ptr<Backend> vulkan_;
  std::shared_ptr<Backend> reference_;
};

constexpr int64_t kRows = 7, kHeads = 3, kHeadSize = 40;

// log-sum-exps with every kind of peculiar one, [rows, heads].
std::vector<float> PeculiarLses(std::vector<float> lses, int64_t shift) {
  const float peculiar[] = {-kInf, kInf, 30.0f, -200.0f};
  for (size_t i = 0; i < lses.size(); ++i) {
    const auto which = static_cast<int64_t>(i) * 5 + shift;
    if (which % 3 == 0) lses[i] = peculiar[which / 3 % 4];
  }
  return lses;
}

TEST_F(StateOpsTest, MergeStates) {
  const int64_t n = kRows * kHeads;
  const std::vector<float> a = Normal(n * kHeadSize), b = Normal(n * kHeadSize);
  const std::vector<float> a_lse = PeculiarLses(Normal(n, 3.0f), 0);
  const std::vector<float> b_lse = PeculiarLses(Normal(n, 3.0f), 1);
  for (const auto& [dtype, out_dtype] :
       {std::pair(DType::kF32, DType::kF32), std::pair(DType::kF16, DType::kF16),
        std::pair(DType::kF32, DType::kBF16), std::pair(DType::kBF16, DType::kF8E4M3)}) {
    for (const bool sinks : {false, true}) {
      SCOPED_TRACE(::testing::Message() << Name(dtype) << " to " << Name(out_dtype) << sinks);
      const auto run = [&, dtype = dtype, out_dtype = out_dtype](Bench& bench) {
        const std::vector<int64_t> extents = {kRows, kHeads, kHeadSize};
        MergeStatesArgs args;
        args.a = bench.Put(dtype, a, extents, {kHeads * 44, 44, 1});
        args.b = bench.Put(dtype, b, extents, {kHeads * kHeadSize, kHeadSize, 1});
        args.a_lse = bench.Put(DType::kF32, a_lse, {kRows, kHeads}, {kHeads, 1});
        args.b_lse = bench.Put(DType::kF32, b_lse, {kRows, kHeads}, {1, kRows});
        args.out = bench.Poisoned(out_dtype, extents, {kHeadSize, kRows * kHeadSize, 1});
        args.lse = bench.Poisoned(DType::kF32, {kRows, kHeads}, {2 * kHeads, 2});
        if (sinks) args.sinks = bench.Put({0.5f, -kInf, 25.0f});
        if (IsFp8(out_dtype)) args.out_scale = 0.125f;
        EXPECT_TRUE(bench.queue().MergeStates(args).ok());
        return std::vector<Left>{{out_dtype, bench.Bytes(args.out)},
                                 {DType::kF32, bench.Bytes(args.lse)}};
      };
      Compare(run, 8.0);
    }
  }
}

// In place; and a state beside an empty one stays what it is, to the bit.
TEST_F(StateOpsTest, MergeStatesInPlace) {
  const int64_t n = kRows * kHeads;
  const std::vector<float> a = Normal(n * kHeadSize), lse = Normal(n);
  const std::vector<float> empty(n, -kInf), garbage(n * kHeadSize, std::nanf(""));
  for (const bool first : {true, false}) {
    const auto run = [&](Bench& bench) {
      const std::vector<int64_t> extents = {kRows, kHeads, kHeadSize};
      const std::vector<int64_t> strides = {kHeads * kHeadSize, kHeadSize, 1};
      MergeStatesArgs args;
      args.a = bench.Put(DType::kF32, first ? a : garbage, extents, strides);
      args.b = bench.Put(DType::kF32, first ? garbage : a, extents, strides);
      args.a_lse = bench.Put(DType::kF32, first ? lse : empty, {kRows, kHeads}, {kHeads, 1});
      args.b_lse = bench.Put(DType::kF32, first ? empty : lse, {kRows, kHeads}, {kHeads, 1});
      args.out = args.a;
      args.lse = args.a_lse;
      EXPECT_TRUE(bench.queue().MergeStates(args).ok());
      return std::vector<Left>{{DType::kF32, bench.Bytes(args.out)},
                               {DType::kF32, bench.Bytes(args.lse)}};
    };
    Compare(run, 0.0);
  }
}

TEST_F(StateOpsTest, CorrectAttnOut) {
  const int64_t n = kRows * kHeads;
  for (const int64_t ranks : {1, 2, 5}) {
    for (const LseBase base : {LseBase::kE, LseBase::k2}) {
      for (const bool sinks : {false, true}) {
        SCOPED_TRACE(::testing::Message()
                     << ranks << " ranks, " << static_cast<int>(base) << sinks);
        const std::vector<float> out = Normal(n * kHeadSize);
        std::vector<float> lses = PeculiarLses(Normal(ranks * n, 3.0f), 2);
        lses[1] = std::nanf("");
        for (int64_t r = 0; r < ranks; ++r) lses[r * n + 4] = -kInf;
        const auto run = [&](Bench& bench) {
          const std::vector<int64_t> extents = {kRows, kHeads, kHeadSize};
          CorrectAttnOutArgs args;
          args.out = bench.Put(DType::kF16, out, extents, {2, kRows * 2, kRows * kHeads * 2});
          args.lses =
              bench.Put(DType::kF32, lses, {ranks, kRows, kHeads}, {1, ranks * kHeads, ranks});
          args.rank = ranks - 1;
          args.corrected = bench.Poisoned(DType::kF16, extents, {kHeads * 80, 80, 2});
          args.lse = bench.Poisoned(DType::kF32, {kRows, kHeads}, {1, kRows});
          if (sinks) args.sinks = bench.Put({0.5f, -kInf, 25.0f});
          args.base = base;
          EXPECT_TRUE(bench.queue().CorrectAttnOut(args).ok());
          return std::vector<Left>{{DType::kF16, bench.Bytes(args.corrected)},
                                   {DType::kF32, bench.Bytes(args.lse)}};
        };
        Compare(run, 8.0);
      }
    }
  }
}

TEST_F(StateOpsTest, QuantizeFp8) {
  for (const DType from : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const DType to : {DType::kF8E4M3, DType::kF8E5M2}) {
      for (const int64_t head_size : {40, 37}) {
        SCOPED_TRACE(::testing::Message() << Name(from) << " to " << Name(to) << head_size);
        std::vector<float> values = Normal(kRows * kHeads * head_size, 40.0f);
        values[3] = kInf;
        values[4] = -1e30f;
        values[5] = 1e-9f;
        const auto run = [&, from = from, to = to, head_size = head_size](Bench& bench) {
          const std::vector<int64_t> extents = {kRows, kHeads, head_size};
          QuantizeFp8Args args;
          args.source = bench.Put(from, values, extents, {kHeads * 41, 41, 1});
          args.destination = bench.Poisoned(to, extents, {kHeads * head_size, head_size, 1});
          args.scale = 0.37f;
          args.head_scales = bench.Put({1.0f, 0.5f, 3.1f});
          EXPECT_TRUE(bench.queue().QuantizeFp8(args).ok());
          return std::vector<Left>{{to, bench.Bytes(args.destination)}};
        };
        Compare(run, 0.0);
      }
    }
  }
}

// Copied or quantised, into every order of the cache, gaps untouched.
TEST_F(StateOpsTest, CacheWrites) {
  const std::vector<int64_t> slots = {3, -1, 17, 0, 22, 40, 9};
  for (const DType kv : {DType::kF16, DType::kF8E4M3, DType::kF8E5M2}) {
    for (const DType from : {DType::kBF16, kv}) {
      if (from == DType::kBF16 && kv == DType::kF16) continue;
      for (const int64_t x : {0, 1, 2, 8, 20}) {
        SCOPED_TRACE(::testing::Message() << Name(from) << " into " << Name(kv) << ", x " << x);
        const absl::StatusOr<KvCacheLayout> layout =
            x == 0 ? KvCacheLayout::Hnd(kv, 6, kHeads, kHeadSize)
                   : KvCacheLayout::SplitX(kv, 6, kHeads, kHeadSize, x);
        ASSERT_TRUE(layout.ok()) << layout.status();
        const std::vector<float> key = Normal(kRows * kHeads * kHeadSize);
        const std::vector<float> value = Normal(kRows * kHeads * kHeadSize, 100.0f);
        const auto run = [&, from = from](Bench& bench) {
          const std::vector<int64_t> extents = {kRows, kHeads, kHeadSize};
          const std::vector<int64_t> strides = {kHeads * kHeadSize, kHeadSize, 1};
          const int64_t bytes = 4 * layout->bytes_per_block();
          const uint64_t address = bench.PoisonedBytes(bytes);
          ReshapeAndCacheArgs args;
          args.key = bench.Put(from, key, extents, strides);
          args.value = bench.Put(from, value, extents, strides);
          args.slots = bench.PutIndex(slots);
          args.cache = *KvCacheView::OneAllocation(*layout, address, 4, bench.device());
          if (from != layout->dtype()) {
            args.k_scales = bench.Put({0.01f, 0.25f, 1.7f});
            args.v_scales = bench.Put({1.0f, 0.3f, 0.125f});
          }
          EXPECT_TRUE(bench.queue().ReshapeAndCache(args).ok());
          return std::vector<Left>{{DType::kU8, bench.Bytes(address, bytes)}};
        };
        Compare(run, 0.0);
      }
    }
  }
}

TEST_F(StateOpsTest, GatherRowsOfBytes) {
  for (const DType dtype : {DType::kF8E4M3, DType::kF8E5M2, DType::kU8, DType::kF16}) {
    for (const int64_t size : {37, 40, 64}) {
      SCOPED_TRACE(::testing::Message() << Name(dtype) << " " << size);
      const auto run = [&, dtype = dtype, size = size](Bench& bench) {
        GatherRowsArgs args;
        args.source = bench.Poisoned(dtype, {5, size}, {size + 3, 1});
        std::vector<uint8_t> bytes(args.source.span_bytes());
        for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 29);
        EXPECT_TRUE(bench.queue().CopyFromHost(args.source.address(), bytes).ok());
        args.index = bench.PutIndex({4, -1, 0, 3, 3, 1});
        args.destination = bench.Poisoned(dtype, {6, size}, {size, 1});
        args.fill = 3.25f;
        EXPECT_TRUE(bench.queue().GatherRows(args).ok());
        return std::vector<Left>{{DType::kU8, bench.Bytes(args.destination)}};
      };
      Compare(run, 0.0);
    }
  }
}

}  // namespace
}  // namespace weft::vulkan
