// SPDX-License-Identifier: Apache-2.0
//
// A judge that cannot say no is no judge: a backend that gets one thing wrong on the way to the
// reference backend must fail the cases that know of it, and the same backend without a fault none.
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/registry.h"
#include "core/status_macros.h"
#include "gtest/gtest.h"
#include "testing/golden/golden_case.h"
#include "testing/reference/reference_backend.h"

namespace weft::testing {
namespace {

// What is changed of the calls. The ops' arguments stay valid; `ones` is f32 [256] of 1.
struct Fault {
  std::string name;
  // Cases that must fail. None: all are judged, and none may.
  std::vector<std::string> caught_by;
  std::function<void(AttentionSpec&)> spec = [](AttentionSpec&) {};
  std::function<void(AttentionArgs&, const TensorView& ones)> attention = [](AttentionArgs&,
                                                                             const TensorView&) {};
  std::function<void(ReshapeAndCacheArgs&, const TensorView& ones)> reshape =
      [](ReshapeAndCacheArgs&, const TensorView&) {};
  std::function<void(MergeStatesArgs&)> merge = [](MergeStatesArgs&) {};
  std::function<void(CorrectAttnOutArgs&)> correct = [](CorrectAttnOutArgs&) {};
  std::function<void(GatherRowsArgs&)> gather = [](GatherRowsArgs&) {};
};

class FaultyQueue : public Queue {
 public:
  FaultyQueue(const Backend& reference, std::unique_ptr<Queue> queue, const Fault& fault,
              const TensorView& ones)
      : Queue(reference.device(), &reference.allocations()),
        queue_(std::move(queue)),
        fault_(fault),
        ones_(ones) {}

  absl::Status Submit() override { return queue_->Submit(); }
  absl::Status Wait(absl::Time deadline) override { return queue_->Wait(deadline); }
  void SetProfiling(bool on) override { queue_->SetProfiling(on); }
  std::vector<OpTime> TakeOpTimes() override { return queue_->TakeOpTimes(); }

 protected:
  absl::Status DoCopyFromHost(uint64_t destination, absl::Span<const uint8_t> source) override {
    return queue_->CopyFromHost(destination, source);
  }
  absl::Status DoCopyToHost(absl::Span<uint8_t> destination, uint64_t source) override {
    return queue_->CopyToHost(destination, source);
  }
  absl::Status DoCopy(uint64_t destination, uint64_t source, int64_t bytes) override {
    return queue_->Copy(destination, source, bytes);
  }
  absl::Status DoFill(uint64_t destination, int64_t bytes, uint32_t pattern) override {
    return queue_->Fill(destination, bytes, pattern);
  }
  absl::Status DoReshapeAndCache(const ReshapeAndCacheArgs& args) override {
    ReshapeAndCacheArgs changed = args;
    fault_.reshape(changed, ones_);
    return queue_->ReshapeAndCache(changed);
  }
  absl::Status DoAttention(const AttentionArgs& args) override {
    AttentionArgs changed = args;
    fault_.attention(changed, ones_);
    return queue_->Attention(changed);
  }
  absl::Status DoGatherRows(const GatherRowsArgs& args) override {
    GatherRowsArgs changed = args;
    fault_.gather(changed);
    return queue_->GatherRows(changed);
  }
  absl::Status DoMergeStates(const MergeStatesArgs& args) override {
    MergeStatesArgs changed = args;
    fault_.merge(changed);
    return queue_->MergeStates(changed);
  }
  absl::Status DoCorrectAttnOut(const CorrectAttnOutArgs& args) override {
    CorrectAttnOutArgs changed = args;
    fault_.correct(changed);
    return queue_->CorrectAttnOut(changed);
  }
  absl::Status DoQuantizeFp8(const QuantizeFp8Args& args) override {
    return queue_->QuantizeFp8(args);
  }

 private:
  std::unique_ptr<Queue> queue_;
  const Fault& fault_;
  TensorView ones_;
};

class FaultyBackend : public Backend {
 public:
  FaultyBackend(std::shared_ptr<Backend> reference, Fault fault)
      : Backend(reference->info()), reference_(std::move(reference)), fault_(std::move(fault)) {
    constexpr uint32_t kOne = 0x3f800000;
    ones_ = reference_->Allocate(4 * kOnes).value();
    const std::unique_ptr<Queue> queue = reference_->CreateQueue().value();
    EXPECT_TRUE(queue->Fill(ones_->address(), 4 * kOnes, kOne).ok());
    EXPECT_TRUE(queue->Submit().ok());
  }

  absl::Status Supports(const AttentionSpec& spec, const KvCacheLayout& layout) const override {
    return reference_->Supports(spec, layout);
  }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override {
    return reference_->Allocate(bytes);
  }
  absl::StatusOr<std::unique_ptr<Queue>> CreateQueue() override {
    ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, reference_->CreateQueue());
    ASSIGN_OR_RETURN(const TensorView ones,
                     TensorView::Contiguous(ones_->address(), DType::kF32, {kOnes}, device()));
    return std::make_unique<FaultyQueue>(*reference_, std::move(queue), fault_, ones);
  }
  absl::StatusOr<std::shared_ptr<const PreparedAttention>> Prepare(
      const AttentionSpec& spec, const KvCacheLayout& layout) override {
    AttentionSpec changed = spec;
    fault_.spec(changed);
    return reference_->Prepare(changed, layout);
  }

 private:
  static constexpr int64_t kOnes = 256;
  std::shared_ptr<Backend> reference_;
  Fault fault_;
  std::unique_ptr<Buffer> ones_;
};

// A view of the first `like.extent(0)` ones, where `like` is given.
void Replace(TensorView& like, const TensorView& ones) {
  if (!like.given()) return;
  like =
      TensorView::Contiguous(ones.address(), DType::kF32, {like.extent(0)}, ones.device()).value();
}

std::vector<Fault> AttentionFaults() {
  std::vector<Fault> faults;
  const auto spec_fault = [&](std::string name, std::vector<std::string> caught_by,
                              std::function<void(AttentionSpec&)> change) {
    Fault fault;
    fault.name = std::move(name);
    fault.caught_by = std::move(caught_by);
    fault.spec = std::move(change);
    faults.push_back(std::move(fault));
  };
  const auto call_fault = [&](std::string name, std::vector<std::string> caught_by,
                              std::function<void(AttentionArgs&, const TensorView&)> change) {
    Fault fault;
    fault.name = std::move(name);
    fault.caught_by = std::move(caught_by);
    fault.attention = std::move(change);
    faults.push_back(std::move(fault));
  };
  spec_fault("one key too many in the window",
             {"u_bf16_d64_win8", "u3_fp16_d64_win24", "c_bf16_d64_win8", "u_bf16_d64_sinks_win"},
             [](AttentionSpec& spec) {
               if (spec.window > 0) ++spec.window;
             });
  spec_fault("no softcap", {"u_bf16_d64_softcap", "u_fp16_d96_softcap_win"},
             [](AttentionSpec& spec) { spec.softcap = 0.0f; });
  spec_fault("another scale of the logits", {"u_bf16_d32_r4_b16", "c_fp32_d64_r4_b16"},
             [](AttentionSpec& spec) { spec.scale = spec.effective_scale() * 1.05f; });
  spec_fault("another scale of the output", {"u_bf16_d64_out8", "u3_bf16_d64_out8"},
             [](AttentionSpec& spec) {
               if (IsFp8(spec.output_dtype())) spec.out_scale *= 1.1f;
             });
  call_fault("no sinks",
             {"u_bf16_d64_sinks", "u3_bf16_d64_sinks", "u_bf16_d64_sinks_win", "c_bf16_d64_sinks"},
             [](AttentionArgs& args, const TensorView&) { args.apply_sinks = false; });
  call_fault("slopes of 1", {"u_bf16_d64_alibi", "u3_bf16_d64_alibi", "c_bf16_d64_alibi"},
             [](AttentionArgs& args, const TensorView& ones) {
               Replace(args.head_values.alibi_slopes, ones);
             });
  call_fault("no k_scales", {"u_bf16_d128_kv8", "u3_fp16_d64_kv8", "c_bf16_d128_kv8"},
             [](AttentionArgs& args, const TensorView& ones) {
               Replace(args.head_values.k_scales, ones);
             });
  call_fault("no v_scales", {"u_bf16_d128_kv8", "u3_fp16_d64_kv8", "c_bf16_d128_kv8"},
             [](AttentionArgs& args, const TensorView& ones) {
               Replace(args.head_values.v_scales, ones);
             });
  call_fault("no LSE", {"u_bf16_d32_r4_b16", "u3_bf16_d32_long", "c_bf16_d32_r4_b16"},
             [](AttentionArgs& args, const TensorView&) { args.lse = TensorView(); });
  return faults;
}

std::vector<Fault> OtherFaults() {
  std::vector<Fault> faults(7);
  faults[0].name = "caches without k_scales";
  faults[0].caught_by = {"r_kv8_nhd_d64", "r_kv8_5d_d64_sat"};
  faults[0].reshape = [](ReshapeAndCacheArgs& args, const TensorView& ones) {
    Replace(args.k_scales, ones);
  };
  faults[1].name = "keys for values";
  faults[1].caught_by = {"r_bf16_nhd_d64", "r_bf16_5d_d128", "r_kv8_5d_d64_sat"};
  faults[1].reshape = [](ReshapeAndCacheArgs& args, const TensorView&) { args.value = args.key; };
  faults[2].name = "a merge without sinks";
  faults[2].caught_by = {"c_bf16_d64_sinks"};
  faults[2].merge = [](MergeStatesArgs& args) { args.sinks = TensorView(); };
  faults[3].name = "LSEs of a merge swapped";
  faults[3].caught_by = {"m_bf16_d64", "m_fp32_d80_edge", "c_bf16_d32_r4_b16",
                         "p_bf16_d128_ctxfwd"};
  faults[3].merge = [](MergeStatesArgs& args) { std::swap(args.a_lse, args.b_lse); };
  faults[4].name = "the other base";
  faults[4].caught_by = {"k_bf16_n2", "k_bf16_n4_base2", "k_fp32_n8"};
  faults[4].correct = [](CorrectAttnOutArgs& args) {
    args.base = args.base == LseBase::kE ? LseBase::k2 : LseBase::kE;
  };
  faults[5].name = "another rank";
  faults[5].caught_by = {"k_bf16_n2", "k_fp16_n4", "k_bf16_n4_edge"};
  faults[5].correct = [](CorrectAttnOutArgs& args) {
    args.rank = (args.rank + 1) % args.lses.extent(0);
  };
  faults[6].name = "padding of 1";
  faults[6].caught_by = {"s_bf16_d48", "s_fp32_3d", "s_fp16_d130"};
  faults[6].gather = [](GatherRowsArgs& args) { args.fill = 1.0f; };
  return faults;
}

std::set<std::string> Failures(const Fault& fault) {
  Registry registry;
  EXPECT_TRUE(RegisterReferenceBackend(registry).ok());
  const auto backend =
      std::make_shared<FaultyBackend>(registry.Create("reference:0").value(), fault);
  std::set<std::string> failures;
  const std::vector<GoldenCase> cases = ReadManifest("testing/golden").value();
  for (const GoldenCase& golden : cases) {
    // All cases only where none may fail: the others would show nothing.
    bool wanted = fault.caught_by.empty();
    for (const std::string& name : fault.caught_by) wanted = wanted || name == golden.name;
    if (!wanted) continue;
    const absl::Status verdict = JudgeGoldenCase(*backend, golden);
    if (verdict.ok()) continue;
    EXPECT_EQ(verdict.code(), absl::StatusCode::kFailedPrecondition) << fault.name << verdict;
    EXPECT_EQ(verdict.message().find("against the oracle"), std::string::npos) << verdict;
    failures.insert(golden.name);
  }
  return failures;
}

TEST(GoldenFaultTest, WithoutAFaultNothingFails) { EXPECT_TRUE(Failures(Fault()).empty()); }

TEST(GoldenFaultTest, EachFaultIsFoundByTheCasesThatKnowOfIt) {
  std::vector<Fault> faults = AttentionFaults();
  for (Fault& fault : OtherFaults()) faults.push_back(std::move(fault));
  for (const Fault& fault : faults) {
    EXPECT_EQ(Failures(fault),
              std::set<std::string>(fault.caught_by.begin(), fault.caught_by.end()))
        << fault.name;
  }
}

}  // namespace
}  // namespace weft::testing
