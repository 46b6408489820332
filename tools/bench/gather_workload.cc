// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/gather_workload.h"

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/backend.h"
#include "core/status_macros.h"
#include "core/tensor_view.h"
#include "testing/device_io.h"
#include "tools/bench/judge.h"
#include "tools/replay/random.h"

namespace weft::bench {
namespace {

constexpr DType kDType = DType::kBF16;
constexpr float kPad = -std::numeric_limits<float>::infinity();

class GatherWorkload final : public Workload {
 public:
  GatherWorkload(Session& session, const Case& c)
      : session_(session), pack_(c.kind == CaseKind::kPack), row_elements_(c.head_size) {
    replay::Random random(0x7061636b);
    int64_t start = 0;
    for (int64_t b = 0; b < c.rows; ++b) {
      const int64_t length = 1 + random.Below(c.max_length);
      for (int64_t t = 0; t < (pack_ ? c.max_length : length); ++t) {
        const int64_t other = pack_ ? start + t : b * c.max_length + t;
        index_.push_back(t < length ? other : -1);
      }
      start += length;
    }
    source_rows_ = pack_ ? start : c.rows * c.max_length;
    moved_rows_ = start;
  }

  absl::Status Init() {
    noise_ = &session_.noise(kDType, Session::kOther);
    ASSIGN_OR_RETURN(source_, session_.NoiseBuffer(*noise_, Bytes(source_rows_)));
    ASSIGN_OR_RETURN(destination_, session_.PoisonedBuffer(Bytes(num_rows())));
    ASSIGN_OR_RETURN(device_index_, session_.Upload(testing::AsBytes(index_)));
    return absl::OkStatus();
  }

  // Far beyond any cache.
  int64_t num_sets() const override { return 1; }

  Work work() const override {
    return {static_cast<double>(Bytes(moved_rows_ + num_rows()) + num_rows() * 8), 0};
  }

  absl::Status Record(Queue& queue, int64_t) override {
    const DeviceId device = source_->device();
    GatherRowsArgs args;
    args.fill = kPad;
    ASSIGN_OR_RETURN(args.source, TensorView::Contiguous(source_->address(), kDType,
                                                         {source_rows_, row_elements_}, device));
    ASSIGN_OR_RETURN(args.destination, TensorView::Contiguous(destination_->address(), kDType,
                                                              {num_rows(), row_elements_}, device));
    ASSIGN_OR_RETURN(args.index, TensorView::Contiguous(device_index_->address(), DType::kI64,
                                                        {num_rows()}, device));
    return queue.GatherRows(args);
  }

  absl::Status Check() override {
    RETURN_IF_ERROR(Record(session_.queue(), 0));
    RETURN_IF_ERROR(session_.Finish());
    RETURN_IF_ERROR(
        CheckWritten(session_.queue(), kDType, destination_->address(), num_rows(), row_elements_));
    constexpr int64_t kSamples = 64;
    replay::Random random(0x726f77);
    for (int64_t i = 0; i < kSamples; ++i) {
      RETURN_IF_ERROR(CheckRow(i == 0 ? num_rows() - 1 : random.Below(num_rows())));
    }
    return absl::OkStatus();
  }

 private:
  int64_t num_rows() const { return static_cast<int64_t>(index_.size()); }
  int64_t Bytes(int64_t rows) const { return rows * row_elements_ * SizeOf(kDType); }

  absl::Status CheckRow(int64_t row) {
    std::vector<uint8_t> expected(static_cast<size_t>(Bytes(1)));
    const int64_t source = index_[static_cast<size_t>(row)];
    for (int64_t i = 0; i < row_elements_; ++i) {
      StoreFloat(kDType, expected.data(), i,
                 source < 0 ? kPad : noise_->At(source * row_elements_ + i));
    }
    ASSIGN_OR_RETURN(const std::vector<uint8_t> actual,
                     Fetch(session_.queue(),
                           destination_->address() + static_cast<uint64_t>(Bytes(row)), Bytes(1)));
    return CheckBytes(actual, expected, absl::StrCat("row ", row));
  }

  Session& session_;
  const bool pack_;
  const int64_t row_elements_;
  int64_t source_rows_ = 0, moved_rows_ = 0;
  std::vector<int64_t> index_;
  const Noise* noise_ = nullptr;
  std::unique_ptr<Buffer> source_, destination_, device_index_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Workload>> MakeGatherWorkload(Session& session, const Case& c) {
  auto workload = std::make_unique<GatherWorkload>(session, c);
  RETURN_IF_ERROR(workload->Init());
  return workload;
}

}  // namespace weft::bench
