// SPDX-License-Identifier: Apache-2.0
//
// A step with known numbers for the tests of core/ops: host values, a device that holds them, and
// what float64 says about each row.
#ifndef WEFT_CORE_OPS_CASE_FOR_TEST_H_
#define WEFT_CORE_OPS_CASE_FOR_TEST_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/attention_spec.h"
#include "core/backend.h"
#include "core/kv_cache.h"
#include "core/ops/step_arrays.h"
#include "core/queue.h"
#include "core/tensor_view.h"
#include "gtest/gtest.h"

namespace weft::testing {

// The backend that the environment's WEFT_TEST_BACKEND names (set by the target), opened once. Null
// where it has no device, unless WEFT_REQUIRE_BACKENDS names it.
std::shared_ptr<Backend> OpenBackend();
// Why OpenBackend() is null, in the registry's words.
std::string NoBackendReason();

// Device memory that lives as long as the object.
class DeviceMemory {
 public:
  explicit DeviceMemory(std::shared_ptr<Backend> backend);

  Backend& backend() { return *backend_; }
  std::shared_ptr<Backend> shared_backend() { return backend_; }
  Queue& queue() { return *queue_; }

  // Contiguous, with the rounded values.
  TensorView Upload(DType dtype, const std::vector<float>& values, std::vector<int64_t> extents);
  TensorView UploadBytes(DType dtype, const std::vector<uint8_t>& bytes,
                         std::vector<int64_t> extents);
  // Contiguous, every byte 0xff: NaN in every float type.
  TensorView Poisoned(DType dtype, std::vector<int64_t> extents);

  void Run();
  std::vector<uint8_t> DownloadBytes(uint64_t address, int64_t bytes);
  // Of a contiguous float or fp8 view.
  std::vector<float> Download(const TensorView& view);

 private:
  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

// Skips its tests where there is no device.
class OpsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (OpenBackend() == nullptr) GTEST_SKIP() << NoBackendReason();
    memory_ = std::make_unique<DeviceMemory>(OpenBackend());
  }

  DeviceMemory& memory() { return *memory_; }
  Queue& queue() { return memory_->queue(); }

 private:
  std::unique_ptr<DeviceMemory> memory_;
};

struct Sequence {
  int64_t new_tokens = 0;
  int64_t computed = 0;
};

struct ExpectedRow {
  std::vector<double> out;  // [num_heads * head_size]; of an f8e4m3 output before it is rounded
  std::vector<double> lse;  // [num_heads]
};

// Which new tokens are in the cache; the slots of the others are poisoned.
enum class InCache { kNone, kSingleTokens, kAll };

class OpsCase {
 public:
  // The first `shapes` use blocks in a shuffled order of `num_blocks`.
  OpsCase(const AttentionSpec& spec, const KvCacheLayout& layout, std::vector<Sequence> shapes,
          int64_t num_blocks, InCache in_cache, uint32_t seed = 1);

  int64_t num_rows() const { return query_start_loc_.back(); }
  const std::vector<Sequence>& sequences() const { return shapes_; }
  const AttentionSpec& spec() const { return spec_; }

  StepArrays arrays() const;
  // The same with a table of addresses into `cache`.
  StepArrays address_arrays(const KvCacheView& cache);

  // On the device: the query, the chunk's keys and values as tensors, the cache.
  TensorView Query(DeviceMemory& memory) const;
  TensorView NewKeys(DeviceMemory& memory) const;
  TensorView NewValues(DeviceMemory& memory) const;
  KvCacheView Cache(DeviceMemory& memory) const;
  TensorView Out(DeviceMemory& memory, int64_t more_rows = 0) const;
  TensorView Lse(DeviceMemory& memory, int64_t more_rows = 0) const;

  // Row `row` of the query. New keys are the cache's or, if `fresh`, the tensors'.
  ExpectedRow Expect(int64_t row, bool fresh) const;

  // `out` and `lse` (if not empty) hold Expect's numbers in the rows of `sequence`.
  void CheckSequence(int64_t sequence, bool fresh, const std::vector<float>& out,
                     const std::vector<float>& lse) const;
  // Rows of `sequence` still hold poison.
  void CheckUntouched(int64_t sequence, const std::vector<float>& out,
                      const std::vector<float>& lse) const;

 private:
  struct Token {
    std::vector<float> key, value;                // fresh, [num_kv_heads * head_size]
    std::vector<float> cached_key, cached_value;  // read back from the cache's dtype
  };

  int64_t SequenceOf(int64_t row) const;
  bool IsCached(int64_t sequence, int64_t position) const;
  std::vector<float> NewTokens(bool keys) const;

  AttentionSpec spec_;
  KvCacheLayout layout_;
  std::vector<Sequence> shapes_;
  int64_t num_blocks_;
  InCache in_cache_;
  std::vector<float> query_;
  std::vector<std::vector<Token>> tokens_;  // [sequence][position]
  std::vector<int32_t> query_start_loc_, seq_lens_, table_;
  std::vector<uint64_t> addresses_;
  int64_t width_ = 0;
};

}  // namespace weft::testing

#endif  // WEFT_CORE_OPS_CASE_FOR_TEST_H_
