// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/reshape_workload.h"

#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/backend.h"
#include "core/checked_math.h"
#include "core/kv_cache.h"
#include "core/status_macros.h"
#include "core/tensor_view.h"
#include "testing/device_io.h"
#include "tools/bench/judge.h"
#include "tools/replay/kv_pool.h"
#include "tools/replay/random.h"

namespace weft::bench {
namespace {

constexpr DType kRows = DType::kBF16;
// No power of two, so that a division that is cut short shows.
constexpr float kKeyScale = 0.75f, kValueScale = 1.25f;

class ReshapeWorkload final : public Workload {
 public:
  ReshapeWorkload(Session& session, const Case& c) : session_(session), case_(c) {}

  absl::Status Init() {
    ASSIGN_OR_RETURN(layout_, KvCacheLayout::Nhd(case_.kv_dtype, case_.block_size,
                                                 case_.num_kv_heads, case_.head_size));
    sets_ = SetsFor(session_, 2 * RowBytes() * case_.rows);
    key_noise_ = &session_.noise(kRows, Session::kOther);
    value_noise_ = &session_.noise(kRows, Session::kQuery);
    const int64_t bytes = sets_ * case_.rows * RowBytes();
    ASSIGN_OR_RETURN(key_, session_.NoiseBuffer(*key_noise_, bytes));
    ASSIGN_OR_RETURN(value_, session_.NoiseBuffer(*value_noise_, bytes));
    const int64_t num_blocks = CeilDiv(sets_ * case_.rows, case_.block_size);
    ASSIGN_OR_RETURN(
        replay::KvPool pool,
        replay::KvPool::Create(session_.backend(), session_.queue(), layout_, num_blocks, 0));
    pool_ = std::make_unique<replay::KvPool>(std::move(pool));
    slots_.resize(static_cast<size_t>(num_blocks * case_.block_size));
    std::iota(slots_.begin(), slots_.end(), int64_t{0});
    replay::Random random(0x736c6f74);
    for (size_t i = slots_.size(); i > 1; --i) {
      std::swap(slots_[i - 1], slots_[static_cast<size_t>(random.Below(static_cast<int64_t>(i)))]);
    }
    ASSIGN_OR_RETURN(device_slots_, session_.Upload(testing::AsBytes(slots_)));
    if (!IsFp8(case_.kv_dtype)) return absl::OkStatus();
    const auto heads = static_cast<size_t>(case_.num_kv_heads);
    ASSIGN_OR_RETURN(k_scales_,
                     session_.Upload(testing::AsBytes(std::vector<float>(heads, kKeyScale))));
    ASSIGN_OR_RETURN(v_scales_,
                     session_.Upload(testing::AsBytes(std::vector<float>(heads, kValueScale))));
    return absl::OkStatus();
  }

  int64_t num_sets() const override { return sets_; }

  Work work() const override {
    const int64_t stored = RowElements() * SizeOf(case_.kv_dtype);
    return {static_cast<double>(case_.rows * (2 * RowBytes() + 2 * stored + 8)), 0};
  }

  absl::Status Record(Queue& queue, int64_t set) override {
    const DeviceId device = key_->device();
    const int64_t extents[] = {case_.rows, case_.num_kv_heads, case_.head_size};
    const auto rows = static_cast<uint64_t>(set * case_.rows * RowBytes());
    ReshapeAndCacheArgs args;
    args.cache = pool_->view();
    ASSIGN_OR_RETURN(args.key,
                     TensorView::Contiguous(key_->address() + rows, kRows, extents, device));
    ASSIGN_OR_RETURN(args.value,
                     TensorView::Contiguous(value_->address() + rows, kRows, extents, device));
    ASSIGN_OR_RETURN(args.slots,
                     TensorView::Contiguous(
                         device_slots_->address() + static_cast<uint64_t>(set * case_.rows * 8),
                         DType::kI64, {case_.rows}, device));
    if (k_scales_ != nullptr) {
      ASSIGN_OR_RETURN(args.k_scales, TensorView::Contiguous(k_scales_->address(), DType::kF32,
                                                             {case_.num_kv_heads}, device));
      ASSIGN_OR_RETURN(args.v_scales, TensorView::Contiguous(v_scales_->address(), DType::kF32,
                                                             {case_.num_kv_heads}, device));
    }
    return queue.ReshapeAndCache(args);
  }

  absl::Status Check() override {
    for (int64_t set = 0; set < sets_; ++set) RETURN_IF_ERROR(Record(session_.queue(), set));
    RETURN_IF_ERROR(session_.Finish());
    constexpr int64_t kSamples = 64;
    replay::Random random(0x746f6b656e);
    for (int64_t i = 0; i < kSamples; ++i) {
      const int64_t tokens = sets_ * case_.rows;
      RETURN_IF_ERROR(CheckToken(i == 0 ? tokens - 1 : random.Below(tokens)));
    }
    return absl::OkStatus();
  }

 private:
  int64_t RowElements() const { return case_.num_kv_heads * case_.head_size; }
  int64_t RowBytes() const { return RowElements() * SizeOf(kRows); }

  absl::Status CheckToken(int64_t token) {
    const int64_t slot = slots_[static_cast<size_t>(token)];
    const int64_t block = slot / case_.block_size;
    const int64_t in_segment = block % pool_->view().blocks_per_segment();
    const KvSegment& segment =
        pool_->view().segments()[static_cast<size_t>(block / pool_->view().blocks_per_segment())];
    const auto place = [&](const KvStrides& strides) {
      return static_cast<uint64_t>(
          (in_segment * strides.block + slot % case_.block_size * strides.token) *
          SizeOf(case_.kv_dtype));
    };
    RETURN_IF_ERROR(CheckRow(token, "key", segment.key_base + place(layout_.key_strides()),
                             *key_noise_, kKeyScale));
    return CheckRow(token, "value", segment.value_base + place(layout_.value_strides()),
                    *value_noise_, kValueScale);
  }

  // Heads of a token stand side by side in this layout.
  absl::Status CheckRow(int64_t token, std::string_view what, uint64_t address, const Noise& noise,
                        float scale) {
    const DType stored = case_.kv_dtype;
    std::vector<uint8_t> expected(static_cast<size_t>(RowElements() * SizeOf(stored)));
    for (int64_t i = 0; i < RowElements(); ++i) {
      const float value = noise.At(token * RowElements() + i);
      StoreFloat(stored, expected.data(), i, IsFp8(stored) ? value / scale : value);
    }
    ASSIGN_OR_RETURN(const std::vector<uint8_t> actual,
                     Fetch(session_.queue(), address, static_cast<int64_t>(expected.size())));
    return CheckBytes(actual, expected, absl::StrCat(what, " of token ", token));
  }

  Session& session_;
  const Case case_;
  KvCacheLayout layout_;
  int64_t sets_ = 0;
  std::vector<int64_t> slots_;
  const Noise* key_noise_ = nullptr;
  const Noise* value_noise_ = nullptr;
  std::unique_ptr<replay::KvPool> pool_;
  std::unique_ptr<Buffer> key_, value_, device_slots_, k_scales_, v_scales_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Workload>> MakeReshapeWorkload(Session& session, const Case& c) {
  auto workload = std::make_unique<ReshapeWorkload>(session, c);
  RETURN_IF_ERROR(workload->Init());
  return workload;
}

}  // namespace weft::bench
