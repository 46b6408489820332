// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/attention_workload.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/attention_metadata.h"
#include "core/checked_math.h"
#include "core/status_macros.h"
#include "testing/device_io.h"
#include "testing/oracle.h"
#include "tools/bench/judge.h"

namespace weft::bench {
namespace {

constexpr DType kDType = DType::kBF16;

AttentionSpec SpecOf(const Case& c) {
  AttentionSpec spec;
  spec.num_heads = c.num_heads;
  spec.num_kv_heads = c.num_kv_heads;
  spec.head_size = c.head_size;
  spec.dtype = kDType;
  spec.kv_dtype = c.kv_dtype;
  spec.window = c.window;
  spec.softcap = c.softcap;
  spec.scale = c.scale;
  return spec;
}

// Just enough for one plan.
StepLimits LimitsOf(const Plan& plan) {
  const auto count = [](const auto& values) { return static_cast<int64_t>(values.size()); };
  StepLimits limits;
  limits.max_slots = count(plan.slots());
  limits.max_blocks = count(plan.blocks());
  limits.max_tiles = count(plan.tiles());
  limits.max_decode_rows = count(plan.decode_rows());
  limits.max_decode_splits = count(plan.decode_splits());
  limits.workspace_bytes = plan.workspace_bytes();
  return limits;
}

void Shuffle(std::vector<int32_t>& ids) {
  replay::Random random(0x70616765);
  for (size_t i = ids.size(); i > 1; --i) {
    std::swap(ids[i - 1], ids[static_cast<size_t>(random.Below(static_cast<int64_t>(i)))]);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<AttentionWorkload>> AttentionWorkload::Create(Session& session,
                                                                             const Case& c) {
  auto workload = std::unique_ptr<AttentionWorkload>(new AttentionWorkload(session, c));
  RETURN_IF_ERROR(workload->Init());
  return workload;
}

absl::Status AttentionWorkload::Init() {
  spec_ = SpecOf(case_);
  ASSIGN_OR_RETURN(
      const KvCacheLayout layout,
      KvCacheLayout::Nhd(case_.kv_dtype, case_.block_size, case_.num_kv_heads, case_.head_size));
  ASSIGN_OR_RETURN(AttentionLayer layer,
                   AttentionLayer::Create(session_.shared_backend(), spec_, layout));
  layer_ = std::make_unique<AttentionLayer>(std::move(layer));
  for (const CaseRequests& alike : case_.requests) {
    Request request;
    request.kind = alike.kind;
    request.num_new_tokens = alike.new_tokens;
    request.num_computed_tokens = alike.computed_tokens;
    requests_.insert(requests_.end(), static_cast<size_t>(alike.count), request);
    rows_ += alike.count * alike.new_tokens;
    blocks_a_set_ +=
        alike.count * CeilDiv(alike.new_tokens + alike.computed_tokens, case_.block_size);
  }
  const int64_t num_sets = case_.kind == CaseKind::kHostForward
                               ? 1
                               : SetsFor(session_, blocks_a_set_ * layout.bytes_per_block());
  RETURN_IF_ERROR(MakePool(layout, num_sets));
  RETURN_IF_ERROR(MakeTensors(num_sets));
  std::vector<int32_t> ids(static_cast<size_t>(blocks_a_set_ * num_sets));
  std::iota(ids.begin(), ids.end(), 0);
  Shuffle(ids);
  for (int64_t set = 0; set < num_sets; ++set) {
    ASSIGN_OR_RETURN(Set made, MakeSet(set, absl::MakeConstSpan(ids).subspan(
                                                static_cast<size_t>(set * blocks_a_set_),
                                                static_cast<size_t>(blocks_a_set_))));
    sets_.push_back(std::move(made));
  }
  return session_.Finish();
}

absl::Status AttentionWorkload::MakePool(const KvCacheLayout& layout, int64_t num_sets) {
  ASSIGN_OR_RETURN(replay::KvPool pool,
                   replay::KvPool::Create(session_.backend(), session_.queue(), layout,
                                          blocks_a_set_ * num_sets, 0));
  pool_ = std::make_unique<replay::KvPool>(std::move(pool));
  const Noise& noise = session_.noise(case_.kv_dtype, Session::kCache);
  for (const KvSegment& segment : pool_->view().segments()) {
    RETURN_IF_ERROR(noise.Fill(session_.queue(), segment.key_base,
                               segment.num_blocks * layout.bytes_per_block()));
  }
  return session_.Finish();
}

absl::Status AttentionWorkload::MakeTensors(int64_t num_sets) {
  const int64_t bytes = num_sets * rows_ * spec_.num_heads * spec_.head_size * SizeOf(kDType);
  const Noise& noise = session_.noise(kDType, Session::kQuery);
  ASSIGN_OR_RETURN(query_, session_.NoiseBuffer(noise, bytes));
  ASSIGN_OR_RETURN(out_, session_.PoisonedBuffer(bytes));
  if (case_.kind != CaseKind::kHostForward) return absl::OkStatus();
  ASSIGN_OR_RETURN(new_rows_,
                   session_.NoiseBuffer(noise, rows_ * spec_.num_kv_heads * spec_.head_size * 2));
  return absl::OkStatus();
}

absl::StatusOr<AttentionWorkload::Set> AttentionWorkload::MakeSet(int64_t set,
                                                                  absl::Span<const int32_t> ids) {
  Set made;
  RequestBatch batch;
  batch.requests = requests_;
  for (Request& request : batch.requests) {
    const auto blocks = static_cast<size_t>(
        CeilDiv(request.num_new_tokens + request.num_computed_tokens, case_.block_size));
    made.blocks.emplace_back(ids.begin(), ids.begin() + static_cast<int64_t>(blocks));
    ids.remove_prefix(blocks);
  }
  for (size_t i = 0; i < made.blocks.size(); ++i) batch.requests[i].block_ids = made.blocks[i];
  const AttentionMetadataBuilder builder(layer_->layout(), pool_->view().num_blocks());
  ASSIGN_OR_RETURN(const AttentionMetadata metadata, builder.Build(batch));
  ASSIGN_OR_RETURN(made.plan, layer_->MakePlan(metadata));
  ASSIGN_OR_RETURN(made.step, StepBuffers::Create(session_.shared_backend(), LimitsOf(*made.plan)));
  RETURN_IF_ERROR(made.step->Update(session_.queue(), made.plan));

  const DeviceId device = session_.backend().device();
  const auto offset =
      static_cast<uint64_t>(set * rows_ * spec_.num_heads * spec_.head_size * SizeOf(kDType));
  const int64_t extents[] = {rows_, spec_.num_heads, spec_.head_size};
  ASSIGN_OR_RETURN(made.io.query,
                   TensorView::Contiguous(query_->address() + offset, kDType, extents, device));
  ASSIGN_OR_RETURN(made.io.out,
                   TensorView::Contiguous(out_->address() + offset, kDType, extents, device));
  made.io.cache = pool_->view();
  if (new_rows_ == nullptr) return made;
  const int64_t kv_extents[] = {rows_, spec_.num_kv_heads, spec_.head_size};
  ASSIGN_OR_RETURN(made.io.key,
                   TensorView::Contiguous(new_rows_->address(), kDType, kv_extents, device));
  made.io.value = made.io.key;
  return made;
}

Work AttentionWorkload::work() const {
  const double pairs = static_cast<double>(sets_[0].plan->causal_pairs());
  const double kv_bytes =
      static_cast<double>(2 * spec_.num_kv_heads * spec_.head_size * SizeOf(spec_.kv_dtype));
  Work work;
  work.flops = 4.0 * pairs * static_cast<double>(spec_.num_heads * spec_.head_size);
  double keys = 0;
  for (const Request& request : requests_) {
    keys += static_cast<double>(request.num_computed_tokens + request.num_new_tokens);
  }
  // Of decodes keys and values alone are counted, as those do whose figures stand beside these.
  work.bytes = keys * kv_bytes;
  if (case_.group == Group::kDecode) return work;
  work.bytes +=
      2.0 * static_cast<double>(rows_ * spec_.num_heads * spec_.head_size * SizeOf(kDType));
  return work;
}

absl::Status AttentionWorkload::Record(Queue& queue, int64_t set) {
  return layer_->Attend(queue, *sets_[set].step, sets_[set].io);
}

absl::Status AttentionWorkload::Forward(Queue& queue, int64_t set) {
  return layer_->Forward(queue, *sets_[set].step, sets_[set].io);
}

std::vector<AttentionWorkload::Sample> AttentionWorkload::ChooseSamples() const {
  constexpr int64_t kFewest = 4, kMost = 48;
  const int64_t keys_a_row = std::max<int64_t>(sets_[0].plan->causal_pairs() / rows_, 1);
  const int64_t count = std::clamp(session_.preset().checked_keys / keys_a_row, kFewest, kMost);
  std::vector<int64_t> first_row;
  int64_t row = 0;
  for (const Request& request : requests_) {
    first_row.push_back(row);
    row += request.num_new_tokens;
  }
  replay::Random random(0x73616d706c65);
  std::vector<Sample> samples;
  for (int64_t i = 0; i < count; ++i) {
    Sample sample;
    sample.set = i % num_sets();
    // The last request and its last row among them: of a mixed step these are a prefill's.
    const auto requests = static_cast<int64_t>(requests_.size());
    sample.request = i % 4 == 0 ? requests - 1 : random.Below(requests);
    const Request& request = requests_[static_cast<size_t>(sample.request)];
    const int64_t of_request = i % 3 == 0   ? request.num_new_tokens - 1
                               : i % 8 == 1 ? 0
                                            : random.Below(request.num_new_tokens);
    sample.row = first_row[static_cast<size_t>(sample.request)] + of_request;
    sample.position = request.num_computed_tokens + of_request;
    sample.head = random.Below(spec_.num_heads);
    samples.push_back(sample);
  }
  return samples;
}

int64_t AttentionWorkload::KeyElement(const Sample& sample, int64_t position) const {
  const KvCacheView& cache = pool_->view();
  const KvStrides& strides = cache.layout().key_strides();
  const int64_t size = cache.layout().block_size();
  const std::vector<int32_t>& blocks =
      sets_[static_cast<size_t>(sample.set)].blocks[static_cast<size_t>(sample.request)];
  const int64_t block = blocks[static_cast<size_t>(position / size)] % cache.blocks_per_segment();
  return block * strides.block + position % size * strides.token +
         sample.head / spec_.group_size() * strides.head;
}

absl::Status AttentionWorkload::CheckSample(const Sample& sample, const Noise& queries,
                                            const Noise& keys) {
  const int64_t size = spec_.head_size;
  const int64_t element = (sample.row * spec_.num_heads + sample.head) * size;
  std::vector<float> query(static_cast<size_t>(size));
  queries.Read(sample.set * rows_ * spec_.num_heads * size + element, absl::MakeSpan(query));
  const int64_t to_value = layer_->layout().value_offset();
  const testing::OracleResult expected = testing::AttendRow(
      query, testing::OracleHeadOf(spec_, sample.head), sample.position, sample.position + 1,
      [&](int64_t position, absl::Span<float> key, absl::Span<float> value) {
        const int64_t at = KeyElement(sample, position);
        keys.Read(at, key);
        keys.Read(at + to_value, value);
      });
  const uint64_t address = sets_[static_cast<size_t>(sample.set)].io.out.address();
  ASSIGN_OR_RETURN(
      const std::vector<uint8_t> actual,
      Fetch(session_.queue(), address + static_cast<uint64_t>(element * SizeOf(kDType)),
            size * SizeOf(kDType)));
  return CheckVector(
      kDType, actual, expected.out,
      absl::StrCat(case_.name, " set=", sample.set, " request=", sample.request,
                   " row=", sample.row, " position=", sample.position, " head=", sample.head));
}

absl::Status AttentionWorkload::Check() {
  for (int64_t set = 0; set < num_sets(); ++set) RETURN_IF_ERROR(Record(session_.queue(), set));
  RETURN_IF_ERROR(session_.Finish());
  RETURN_IF_ERROR(CheckWritten(session_.queue(), kDType, out_->address(), num_sets() * rows_,
                               spec_.num_heads * spec_.head_size));
  const Noise& queries = session_.noise(kDType, Session::kQuery);
  const Noise& keys = session_.noise(case_.kv_dtype, Session::kCache);
  for (const Sample& sample : ChooseSamples()) {
    RETURN_IF_ERROR(CheckSample(sample, queries, keys));
  }
  return absl::OkStatus();
}

}  // namespace weft::bench
