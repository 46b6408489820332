// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/state_workload.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/backend.h"
#include "core/ops/merge_attn_states.h"
#include "core/status_macros.h"
#include "core/tensor_view.h"
#include "tools/bench/judge.h"
#include "tools/replay/random.h"

namespace weft::bench {
namespace {

constexpr DType kDType = DType::kBF16;
constexpr int64_t kSamples = 64;

// Tensors of `sets` sets, one behind the other.
struct Shape {
  explicit Shape(const Case& c) : rows(c.rows), heads(c.num_heads), size(c.head_size) {}
  int64_t elements() const { return rows * heads * size; }
  int64_t bytes() const { return elements() * SizeOf(kDType); }
  int64_t lse_bytes() const { return rows * heads * 4; }

  int64_t rows, heads, size;
};

absl::StatusOr<TensorView> States(const Buffer& buffer, const Shape& shape, int64_t set) {
  return TensorView::Contiguous(buffer.address() + static_cast<uint64_t>(set * shape.bytes()),
                                kDType, {shape.rows, shape.heads, shape.size}, buffer.device());
}

absl::StatusOr<float> FetchFloat(Queue& queue, uint64_t address) {
  ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, Fetch(queue, address, 4));
  float value = 0;
  std::memcpy(&value, bytes.data(), 4);
  return value;
}

struct Place {
  int64_t set, row, head;
};

std::vector<Place> Places(int64_t sets, const Shape& shape) {
  replay::Random random(0x706c616365);
  std::vector<Place> places;
  for (int64_t i = 0; i < kSamples; ++i) {
    places.push_back({i % sets, i % 4 == 0 ? shape.rows - 1 : random.Below(shape.rows),
                      random.Below(shape.heads)});
  }
  return places;
}

std::string Where(const Place& place) {
  return absl::StrCat("set=", place.set, " row=", place.row, " head=", place.head);
}

// log(sum of exp), and the largest of them as the measure of its error.
struct LogSum {
  explicit LogSum(absl::Span<const float> lses) {
    const double largest = *std::max_element(lses.begin(), lses.end());
    double sum = 0;
    for (const float lse : lses) {
      sum += std::exp(lse - largest);
      scale = std::max(scale, std::abs(double{lse}));
    }
    value = largest + std::log(sum);
  }
  double value = 0, scale = 0;
};

// The two workloads share a frame: states from noise, LSEs [parts, ...] from noise, an LSE out.
class StateWorkload : public Workload {
 public:
  StateWorkload(Session& session, const Case& c, int64_t parts)
      : session_(session), shape_(c), parts_(parts), sets_(SetsFor(session, shape_.bytes())) {}

  int64_t num_sets() const override { return sets_; }

  virtual absl::Status Init() {
    states_noise_ = &session_.noise(kDType, Session::kOther);
    lse_noise_ = &session_.noise(DType::kF32, Session::kOther);
    ASSIGN_OR_RETURN(a_, session_.NoiseBuffer(*states_noise_, sets_ * shape_.bytes()));
    ASSIGN_OR_RETURN(lses_, session_.NoiseBuffer(*lse_noise_, sets_ * parts_ * shape_.lse_bytes()));
    ASSIGN_OR_RETURN(lse_, session_.PoisonedBuffer(sets_ * shape_.lse_bytes()));
    return absl::OkStatus();
  }

  absl::Status Check() override {
    for (int64_t set = 0; set < sets_; ++set) RETURN_IF_ERROR(Record(session_.queue(), set));
    RETURN_IF_ERROR(session_.Finish());
    RETURN_IF_ERROR(CheckWritten(session_.queue(), DType::kF32, lse_->address(),
                                 sets_ * shape_.rows, shape_.heads));
    RETURN_IF_ERROR(CheckWritten(session_.queue(), kDType, out().address(), sets_ * shape_.rows,
                                 shape_.heads * shape_.size));
    for (const Place& place : Places(sets_, shape_)) RETURN_IF_ERROR(CheckPlace(place));
    return absl::OkStatus();
  }

 protected:
  virtual const Buffer& out() const = 0;
  virtual absl::Status CheckPlace(const Place& place) = 0;
  // In elements from the beginning of a set's array of LSEs of one part.
  virtual int64_t LseElement(const Place& place) const = 0;

  float LseOf(const Place& place, int64_t part) const {
    return lse_noise_->At((place.set * parts_ + part) * shape_.rows * shape_.heads +
                          LseElement(place));
  }
  int64_t StateElement(const Place& place) const {
    return place.set * shape_.elements() + (place.row * shape_.heads + place.head) * shape_.size;
  }
  absl::Status CheckResult(const Place& place, const std::vector<double>& expected,
                           const LogSum& lse) {
    ASSIGN_OR_RETURN(
        const std::vector<uint8_t> actual,
        Fetch(session_.queue(),
              out().address() + static_cast<uint64_t>(StateElement(place) * SizeOf(kDType)),
              shape_.size * SizeOf(kDType)));
    RETURN_IF_ERROR(CheckVector(kDType, actual, expected, Where(place)));
    const int64_t element = place.set * shape_.rows * shape_.heads + LseElement(place);
    ASSIGN_OR_RETURN(
        const float actual_lse,
        FetchFloat(session_.queue(), lse_->address() + static_cast<uint64_t>(element * 4)));
    return CheckLseValue(actual_lse, lse.value, lse.scale, Where(place));
  }

  Session& session_;
  const Shape shape_;
  const int64_t parts_;
  const int64_t sets_;
  const Noise* states_noise_ = nullptr;
  const Noise* lse_noise_ = nullptr;
  std::unique_ptr<Buffer> a_, lses_, lse_;
};

class CorrectWorkload final : public StateWorkload {
 public:
  CorrectWorkload(Session& session, const Case& c) : StateWorkload(session, c, c.ranks) {}

  Work work() const override {
    return {static_cast<double>(2 * shape_.bytes() + (parts_ + 1) * shape_.lse_bytes()), 0};
  }

  absl::Status Record(Queue& queue, int64_t set) override {
    CorrectAttnOutArgs args;
    ASSIGN_OR_RETURN(args.out, States(*a_, shape_, set));
    const auto at = [&](const Buffer& buffer, int64_t bytes) {
      return buffer.address() + static_cast<uint64_t>(set * bytes);
    };
    ASSIGN_OR_RETURN(args.lses,
                     TensorView::Contiguous(at(*lses_, parts_ * shape_.lse_bytes()), DType::kF32,
                                            {parts_, shape_.rows, shape_.heads}, a_->device()));
    ASSIGN_OR_RETURN(args.lse, TensorView::Contiguous(at(*lse_, shape_.lse_bytes()), DType::kF32,
                                                      {shape_.rows, shape_.heads}, a_->device()));
    args.rank = parts_ - 1;
    args.corrected = args.out;
    return queue.CorrectAttnOut(args);
  }

 protected:
  const Buffer& out() const override { return *a_; }
  int64_t LseElement(const Place& place) const override {
    return place.row * shape_.heads + place.head;
  }
  absl::Status CheckPlace(const Place& place) override {
    std::vector<float> lses;
    for (int64_t part = 0; part < parts_; ++part) lses.push_back(LseOf(place, part));
    const LogSum sum(lses);
    std::vector<double> expected;
    for (int64_t i = 0; i < shape_.size; ++i) {
      expected.push_back(states_noise_->At(StateElement(place) + i) *
                         std::exp(lses.back() - sum.value));
    }
    return CheckResult(place, expected, sum);
  }
};

// LSEs are [heads, rows], as the kernels that this is compared with take them.
class MergeWorkload final : public StateWorkload {
 public:
  MergeWorkload(Session& session, const Case& c) : StateWorkload(session, c, 2) {}

  absl::Status Init() override {
    RETURN_IF_ERROR(StateWorkload::Init());
    // Other numbers than a's: another seed.
    b_noise_ = &session_.noise(kDType, Session::kQuery);
    ASSIGN_OR_RETURN(b_, session_.NoiseBuffer(*b_noise_, sets_ * shape_.bytes()));
    ASSIGN_OR_RETURN(out_, session_.PoisonedBuffer(sets_ * shape_.bytes()));
    return absl::OkStatus();
  }

  Work work() const override {
    return {static_cast<double>(3 * shape_.bytes() + 3 * shape_.lse_bytes()), 0};
  }

  absl::Status Record(Queue& queue, int64_t set) override {
    ASSIGN_OR_RETURN(const TensorView a, States(*a_, shape_, set));
    ASSIGN_OR_RETURN(const TensorView b, States(*b_, shape_, set));
    ASSIGN_OR_RETURN(const TensorView out, States(*out_, shape_, set));
    const auto lse = [&](const Buffer& buffer, int64_t index) {
      return TensorView::Contiguous(
          buffer.address() + static_cast<uint64_t>(index * shape_.lse_bytes()), DType::kF32,
          {shape_.heads, shape_.rows}, buffer.device());
    };
    ASSIGN_OR_RETURN(const TensorView a_lse, lse(*lses_, 2 * set));
    ASSIGN_OR_RETURN(const TensorView b_lse, lse(*lses_, 2 * set + 1));
    ASSIGN_OR_RETURN(const TensorView out_lse, lse(*lse_, set));
    return MergeAttnStates(queue, out, a, a_lse, b, b_lse, out_lse);
  }

 protected:
  const Buffer& out() const override { return *out_; }
  int64_t LseElement(const Place& place) const override {
    return place.head * shape_.rows + place.row;
  }
  absl::Status CheckPlace(const Place& place) override {
    const std::vector<float> lses = {LseOf(place, 0), LseOf(place, 1)};
    const LogSum sum(lses);
    std::vector<double> expected;
    for (int64_t i = 0; i < shape_.size; ++i) {
      const int64_t element = StateElement(place) + i;
      expected.push_back(states_noise_->At(element) * std::exp(lses[0] - sum.value) +
                         b_noise_->At(element) * std::exp(lses[1] - sum.value));
    }
    return CheckResult(place, expected, sum);
  }

 private:
  const Noise* b_noise_ = nullptr;
  std::unique_ptr<Buffer> b_, out_;
};

template <typename T>
absl::StatusOr<std::unique_ptr<Workload>> Make(Session& session, const Case& c) {
  auto workload = std::make_unique<T>(session, c);
  RETURN_IF_ERROR(workload->Init());
  return workload;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Workload>> MakeCorrectWorkload(Session& session, const Case& c) {
  return Make<CorrectWorkload>(session, c);
}

absl::StatusOr<std::unique_ptr<Workload>> MakeMergeWorkload(Session& session, const Case& c) {
  return Make<MergeWorkload>(session, c);
}

}  // namespace weft::bench
