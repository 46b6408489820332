// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/dcp_rank.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/cp_lse.h"
#include "core/fingerprint.h"
#include "core/status_macros.h"

namespace weft::replay {
namespace {

constexpr uint32_t kMinusInfinity = 0xff800000;  // f32

uint64_t Behind(const Buffer& buffer, int64_t elements, DType dtype) {
  return buffer.address() + elements * SizeOf(dtype);
}

}  // namespace

absl::StatusOr<DcpLayers> DcpLayers::For(const AttentionSpec& spec, int64_t world_size,
                                         int64_t rank) {
  const auto refuse = [&](const auto&... why) {
    return absl::InvalidArgumentError(absl::StrCat("DCP of ", world_size, " ranks: ", why...));
  };
  if (spec.window > 0 || !spec.alibi_slopes.empty()) {
    return refuse("a layer with ", spec.window > 0 ? "a window" : "ALiBi", " is not supported");
  }
  if (spec.num_heads % world_size != 0) {
    return refuse(spec.num_heads, " heads cannot be dealt out evenly");
  }
  DcpLayers layers;
  layers.num_heads = spec.num_heads / world_size;
  layers.first_head = rank * layers.num_heads;
  layers.first_kv_head = layers.first_head / spec.group_size();
  if (layers.num_heads % spec.group_size() != 0 && spec.group_size() % layers.num_heads != 0) {
    return refuse(layers.num_heads, " heads of a rank straddle groups of ", spec.group_size(),
                  " that share a KV head");
  }
  layers.share = spec;
  layers.share.sinks.clear();  // MergeStates applies them, once
  layers.share.out_dtype = DType::kF32;
  layers.fresh = layers.share;
  layers.fresh.num_heads = layers.num_heads;
  layers.fresh.num_kv_heads = std::max<int64_t>(layers.num_heads / spec.group_size(), 1);
  // New tokens are read before they are rounded to the cache's type.
  layers.fresh.kv_dtype = spec.dtype;
  layers.fresh.k_scales.clear();
  layers.fresh.v_scales.clear();
  return layers;
}

DcpRank::DcpRank(const RankConfig& config, std::shared_ptr<Backend> backend,
                 const DcpLayers& layers, const AttentionLayer& share, const AttentionLayer& fresh,
                 const Content& content, Communicator* communicator, const DcpShard& shard)
    : Rank(config, std::move(backend), content),
      layers_(layers),
      share_layer_(share),
      fresh_layer_(fresh),
      communicator_(communicator),
      shard_(shard),
      builder_(share.layout(), config.num_blocks) {}

absl::StatusOr<std::unique_ptr<Rank>> DcpRank::Create(const RankConfig& config,
                                                      std::shared_ptr<Backend> backend,
                                                      const AttentionSpec& spec,
                                                      int64_t page_tokens, const Content& content,
                                                      Communicator* communicator) {
  ASSIGN_OR_RETURN(const DcpLayers layers, DcpLayers::For(spec, config.world_size, config.rank));
  ASSIGN_OR_RETURN(
      const KvCacheLayout cache,
      KvCacheLayout::Nhd(spec.kv_dtype, page_tokens, spec.num_kv_heads, spec.head_size));
  // Keys and values of a token stand side by side for each head.
  const int64_t pair = 2 * spec.head_size, token = spec.num_kv_heads * pair;
  ASSIGN_OR_RETURN(const KvCacheLayout rows,
                   KvCacheLayout::Rows(spec.dtype, layers.fresh.num_kv_heads, spec.head_size, token,
                                       pair, token, pair));
  ASSIGN_OR_RETURN(const AttentionLayer share,
                   AttentionLayer::Create(backend, layers.share, cache));
  ASSIGN_OR_RETURN(const AttentionLayer fresh, AttentionLayer::Create(backend, layers.fresh, rows));
  DcpShard shard;
  shard.world = config.world_size;
  shard.rank = config.rank;
  auto rank = std::unique_ptr<DcpRank>(
      new DcpRank(config, std::move(backend), layers, share, fresh, content, communicator, shard));
  RETURN_IF_ERROR(rank->Open(spec, cache));
  if (!spec.sinks.empty()) {
    ASSIGN_OR_RETURN(rank->sinks_, rank->Allocate({layers.num_heads, sizeof(float)}));
    std::vector<uint8_t> bytes(layers.num_heads * sizeof(float));
    std::memcpy(bytes.data(), spec.sinks.data() + layers.first_head, bytes.size());
    RETURN_IF_ERROR(rank->queue_->CopyFromHost(rank->sinks_->address(), bytes));
  }
  return rank;
}

absl::Status DcpRank::AllocateMore() {
  const int64_t tokens = config_.max_tokens, world = config_.world_size;
  const int64_t decodes = std::min(config_.max_requests, tokens);
  for (std::unique_ptr<StepBuffers>* step : {&decodes_, &context_}) {
    ASSIGN_OR_RETURN(StepLimits limits,
                     StepLimits::For(layers_.share, share_layer_.layout(), /*world_size=*/1, tokens,
                                     config_.max_requests, config_.max_seq_len,
                                     step == &decodes_ ? decodes : 0));
    ASSIGN_OR_RETURN(*step, StepBuffers::Create(backend_, limits));
  }
  StepLimits limits;
  limits.max_blocks = limits.max_tiles = tokens;
  ASSIGN_OR_RETURN(fresh_, StepBuffers::Create(backend_, limits));

  const AttentionSpec& spec = layers_.share;
  const int64_t heads = spec.num_heads, own = layers_.num_heads, kv_heads = spec.num_kv_heads;
  const int64_t head = spec.head_size * SizeOf(spec.dtype), number = sizeof(float);
  const int64_t state = spec.head_size * number;
  ASSIGN_OR_RETURN(indices_, Allocate({tokens, kv_heads + own, int64_t{sizeof(int64_t)}}));
  ASSIGN_OR_RETURN(kv_, Allocate({tokens, kv_heads, 2, head}));
  ASSIGN_OR_RETURN(own_query_, Allocate({tokens, own, head}));
  ASSIGN_OR_RETURN(query_, Allocate({tokens, heads, head}));
  ASSIGN_OR_RETURN(share_out_, Allocate({tokens, heads, state}));
  ASSIGN_OR_RETURN(share_lse_, Allocate({tokens, heads, number}));
  ASSIGN_OR_RETURN(merged_out_, Allocate({tokens, own, state}));
  ASSIGN_OR_RETURN(merged_lse_, Allocate({tokens, own, number}));
  ASSIGN_OR_RETURN(fresh_out_, Allocate({tokens, own, state}));
  ASSIGN_OR_RETURN(fresh_lse_, Allocate({tokens, own, number}));
  ASSIGN_OR_RETURN(out_, Allocate({tokens, own, head}));
  ASSIGN_OR_RETURN(lse_, Allocate({tokens, own, number}));
  // The views of the largest step say how much the collectives need.
  RETURN_IF_ERROR(MakeViews(tokens));
  ASSIGN_OR_RETURN(int64_t bytes, CpLseWorkspaceBytes(world, tokens, heads, spec.head_size));
  for (const TensorView* local : {&views_.fresh.query, &views_.out}) {
    ASSIGN_OR_RETURN(const int64_t need, AllGatherHeadsWorkspaceBytes(world, *local));
    bytes = std::max(bytes, need);
  }
  ASSIGN_OR_RETURN(workspace_, Allocate({bytes}));
  ASSIGN_OR_RETURN(views_.workspace, TensorView::Contiguous(workspace_->address(), DType::kU8,
                                                            {bytes}, backend_->device()));
  return absl::OkStatus();
}

absl::Status DcpRank::MakeViews(int64_t tokens) {
  const AttentionSpec& spec = layers_.share;
  const DeviceId device = backend_->device();
  const DType dtype = spec.dtype;
  const int64_t size = spec.head_size, heads = spec.num_heads, kv_heads = spec.num_kv_heads;
  const int64_t own = layers_.num_heads;
  const auto flat = [&](const Buffer& buffer, DType type, std::initializer_list<int64_t> extents,
                        int64_t offset = 0) {
    return TensorView::Contiguous(Behind(buffer, offset, type), type, extents, device);
  };
  constexpr DType kIndex = DType::kI64;
  ASSIGN_OR_RETURN(views_.key_index, flat(*indices_, kIndex, {tokens * kv_heads}));
  ASSIGN_OR_RETURN(views_.query_index, flat(*indices_, kIndex, {tokens * own}, tokens * kv_heads));
  ASSIGN_OR_RETURN(views_.kv_heads, flat(*kv_, dtype, {tokens * kv_heads, 2 * size}));
  ASSIGN_OR_RETURN(views_.own_query_rows, flat(*own_query_, dtype, {tokens * own, size}));

  const int64_t pair = 2 * size, token = kv_heads * pair;
  ASSIGN_OR_RETURN(views_.share.query, flat(*query_, dtype, {tokens, heads, size}));
  ASSIGN_OR_RETURN(views_.share.key,
                   TensorView::Create(kv_->address(), dtype, {tokens, kv_heads, size},
                                      {token, pair, 1}, device));
  ASSIGN_OR_RETURN(views_.share.value,
                   TensorView::Create(Behind(*kv_, size, dtype), dtype, {tokens, kv_heads, size},
                                      {token, pair, 1}, device));
  ASSIGN_OR_RETURN(views_.fresh.query, flat(*own_query_, dtype, {tokens, own, size}));
  const int64_t first = layers_.first_kv_head * pair;
  const KvSegment rows = {Behind(*kv_, first, dtype), Behind(*kv_, first + size, dtype), tokens};
  ASSIGN_OR_RETURN(views_.fresh.cache, KvCacheView::Create(fresh_layer_.layout(), device, {rows}));
  ASSIGN_OR_RETURN(views_.out, flat(*out_, dtype, {tokens, own, size}));
  return MakeStateViews(tokens);
}

absl::Status DcpRank::MakeStateViews(int64_t tokens) {
  const int64_t size = layers_.share.head_size, heads = layers_.share.num_heads;
  const int64_t own = layers_.num_heads;
  const auto flat = [&](const Buffer& buffer, std::initializer_list<int64_t> extents) {
    return TensorView::Contiguous(buffer.address(), DType::kF32, extents, backend_->device());
  };
  ASSIGN_OR_RETURN(views_.share.out, flat(*share_out_, {tokens, heads, size}));
  ASSIGN_OR_RETURN(views_.share.lse, flat(*share_lse_, {tokens, heads}));
  ASSIGN_OR_RETURN(views_.merged, flat(*merged_out_, {tokens, own, size}));
  ASSIGN_OR_RETURN(views_.merged_lse, flat(*merged_lse_, {tokens, own}));
  ASSIGN_OR_RETURN(views_.fresh.out, flat(*fresh_out_, {tokens, own, size}));
  ASSIGN_OR_RETURN(views_.fresh.lse, flat(*fresh_lse_, {tokens, own}));
  ASSIGN_OR_RETURN(views_.lse, flat(*lse_, {tokens, own}));
  return absl::OkStatus();
}

absl::Status DcpRank::UploadIndices(const StepWork& work) {
  std::vector<int64_t> requests, positions, indices;
  RowsOf(work, requests, positions);
  const int64_t own = layers_.num_heads;
  const auto tokens = static_cast<int64_t>(positions.size());
  for (int64_t row = 0; row < tokens; ++row) {
    for (int64_t head = 0; head < layers_.share.num_kv_heads; ++head) {
      indices.push_back(content_->KeyRow(requests[row], positions[row], head));
    }
  }
  for (int64_t row = 0; row < tokens; ++row) {
    for (int64_t head = layers_.first_head; head < layers_.first_head + own; ++head) {
      indices.push_back(content_->QueryRow(requests[row], positions[row], head, /*window=*/0));
    }
  }
  return queue_->CopyFromHost(indices_->address(), AsBytes(indices));
}

// Work is counted in pairs of all heads: the new tokens are attended with the rank's heads only.
absl::Status DcpRank::Plan(const StepWork& work, RankWork& done) {
  MetadataOptions options;
  options.dcp = shard_;
  ASSIGN_OR_RETURN(const AttentionMetadata metadata, builder_.Build(work.batch, options));
  int64_t pairs_of_heads = 0;
  const auto plan_for = [&](const AttentionLayer& layer, KeyScope keys, RowScope rows,
                            StepBuffers& step) -> absl::Status {
    PlanOptions scope;
    scope.keys = keys;
    scope.rows = rows;
    ASSIGN_OR_RETURN(const std::shared_ptr<const weft::Plan> plan, layer.MakePlan(metadata, scope));
    RETURN_IF_ERROR(step.Update(*queue_, plan));
    pairs_of_heads += plan->causal_pairs() * layer.spec().num_heads;
    return fault_hook_ ? fault_hook_(*queue_, step, work.step) : absl::OkStatus();
  };
  RETURN_IF_ERROR(plan_for(share_layer_, KeyScope::kAll, RowScope::kDecodes, *decodes_));
  RETURN_IF_ERROR(plan_for(share_layer_, KeyScope::kContext, RowScope::kPrefills, *context_));
  RETURN_IF_ERROR(plan_for(fresh_layer_, KeyScope::kNew, RowScope::kPrefills, *fresh_));
  done.rows = metadata.num_actual_tokens();
  done.causal_pairs = pairs_of_heads / layers_.share.num_heads * config_.num_layers;
  RETURN_IF_ERROR(MakeViews(done.rows));
  RETURN_IF_ERROR(UploadIndices(work));
  communicator_->SetStep(work.step.index, Fingerprint().Add(done.rows).value());
  return absl::OkStatus();
}

// The states of the ranks' shares: those of this rank's heads to `views_.merged`.
absl::Status DcpRank::MergeRanks(absl::Time deadline) {
  CpLseArgs args;
  args.out = views_.share.out;
  args.lse = views_.share.lse;
  args.result = views_.merged;
  args.result_lse = views_.merged_lse;
  args.workspace = views_.workspace;
  return CpLseAllGatherReduceScatter(*queue_, *communicator_, args, deadline).status();
}

absl::Status DcpRank::RecordLayer(int64_t layer, const StepWork& work, absl::Time deadline,
                                  RankStep& result) {
  RETURN_IF_ERROR(source_.MakeKeysAndValues(*queue_, layer, views_.key_index, views_.kv_heads));
  RETURN_IF_ERROR(source_.MakeQueries(*queue_, layer, views_.query_index, views_.own_query_rows));
  RETURN_IF_ERROR(AllGatherHeads(*queue_, *communicator_, views_.fresh.query, views_.share.query,
                                 views_.workspace, deadline)
                      .status());
  for (const TensorView* output : {&views_.share.out, &views_.share.lse, &views_.fresh.out,
                                   &views_.merged, &views_.merged_lse, &views_.out, &views_.lse}) {
    RETURN_IF_ERROR(queue_->Fill(output->address(), output->span_bytes(), kPoison));
  }
  // Decodes have nothing in scope there.
  RETURN_IF_ERROR(
      queue_->Fill(views_.fresh.lse.address(), views_.fresh.lse.span_bytes(), kMinusInfinity));
  views_.share.cache = pools_[layer].view();
  RETURN_IF_ERROR(share_layer_.Forward(*queue_, *decodes_, views_.share));
  RETURN_IF_ERROR(share_layer_.Attend(*queue_, *context_, views_.share));
  RETURN_IF_ERROR(MergeRanks(deadline));
  RETURN_IF_ERROR(fresh_layer_.Attend(*queue_, *fresh_, views_.fresh));
  MergeStatesArgs merge;
  merge.a = views_.merged;
  merge.a_lse = views_.merged_lse;
  merge.b = views_.fresh.out;
  merge.b_lse = views_.fresh.lse;
  merge.out = views_.out;
  merge.lse = views_.lse;
  if (sinks_ != nullptr) {
    ASSIGN_OR_RETURN(merge.sinks, TensorView::Contiguous(sinks_->address(), DType::kF32,
                                                         {layers_.num_heads}, backend_->device()));
  }
  RETURN_IF_ERROR(queue_->MergeStates(merge));
  return CopySamples(layer, work, views_.out, views_.lse, layers_.first_head, result);
}

absl::Status DcpRank::RecordRestore(const StepWork&, bool wanted, absl::Time deadline,
                                    RankStep& result) {
  // The queries are not needed any more.
  const TensorView& all = views_.share.query;
  RETURN_IF_ERROR(
      AllGatherHeads(*queue_, *communicator_, views_.out, all, views_.workspace, deadline)
          .status());
  if (!wanted) return absl::OkStatus();
  result.restored.resize(all.span_bytes());
  return queue_->CopyToHost(absl::MakeSpan(result.restored), all.address());
}

}  // namespace weft::replay
