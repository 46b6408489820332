// SPDX-License-Identifier: Apache-2.0
#include "collectives/communicator.h"

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/status_macros.h"

namespace weft {
namespace {

template <typename... T>
absl::Status Invalid(CollectiveKind kind, const T&... text) {
  return absl::InvalidArgumentError(absl::StrCat(Name(kind), ": ", text...));
}

bool SameTail(const TensorView& a, const TensorView& b) {
  if (a.rank() != b.rank() || a.dtype() != b.dtype()) return false;
  for (int axis = 1; axis < a.rank(); ++axis) {
    if (a.extent(axis) != b.extent(axis)) return false;
  }
  return true;
}

bool Overlap(const TensorView& a, const TensorView& b) {
  return !a.empty() && !b.empty() &&
         a.address() < b.address() + static_cast<uint64_t>(b.span_bytes()) &&
         b.address() < a.address() + static_cast<uint64_t>(a.span_bytes());
}

}  // namespace

Communicator::Communicator(int64_t rank, int64_t world_size)
    : rank_(rank), world_size_(world_size) {}

void Communicator::SetStep(uint64_t step, uint64_t fingerprint) {
  step_ = step;
  fingerprint_ = fingerprint;
}

absl::Status Communicator::AllGather(Queue& queue, const TensorView& send,
                                     const TensorView& receive, absl::Time deadline) {
  constexpr CollectiveKind kKind = CollectiveKind::kAllGather;
  RETURN_IF_ERROR(status());
  RETURN_IF_ERROR(CheckView(queue, kKind, "send", send));
  RETURN_IF_ERROR(CheckView(queue, kKind, "receive", receive));
  RETURN_IF_ERROR(CheckGather(kKind, "send", send, "receive", receive));
  RETURN_IF_ERROR(CheckOverlap(
      kKind, send, receive,
      send.address() == receive.address() + static_cast<uint64_t>(rank_ * send.span_bytes())));
  Call call;
  call.kind = kKind;
  call.send = send;
  call.receive = receive;
  return Run(call, &queue, deadline);
}

absl::Status Communicator::ReduceScatter(Queue& queue, const TensorView& send,
                                         const TensorView& receive, absl::Time deadline) {
  constexpr CollectiveKind kKind = CollectiveKind::kReduceScatter;
  RETURN_IF_ERROR(status());
  RETURN_IF_ERROR(CheckView(queue, kKind, "send", send));
  RETURN_IF_ERROR(CheckView(queue, kKind, "receive", receive));
  RETURN_IF_ERROR(CheckGather(kKind, "receive", receive, "send", send));
  RETURN_IF_ERROR(CheckOverlap(
      kKind, send, receive,
      receive.address() == send.address() + static_cast<uint64_t>(rank_ * receive.span_bytes())));
  Call call;
  call.kind = kKind;
  call.send = send;
  call.receive = receive;
  return Run(call, &queue, deadline);
}

absl::Status Communicator::AllReduce(Queue& queue, const TensorView& send,
                                     const TensorView& receive, absl::Time deadline) {
  constexpr CollectiveKind kKind = CollectiveKind::kAllReduce;
  RETURN_IF_ERROR(status());
  RETURN_IF_ERROR(CheckView(queue, kKind, "send", send));
  RETURN_IF_ERROR(CheckView(queue, kKind, "receive", receive));
  if (!SameTail(send, receive) || send.extent(0) != receive.extent(0)) {
    return Invalid(kKind, "send is ", send.ToString(), ", receive is ", receive.ToString(),
                   "; they must be alike");
  }
  RETURN_IF_ERROR(CheckOverlap(kKind, send, receive, send.address() == receive.address()));
  Call call;
  call.kind = kKind;
  call.send = send;
  call.receive = receive;
  return Run(call, &queue, deadline);
}

absl::Status Communicator::Broadcast(Queue& queue, const TensorView& buffer, int64_t root,
                                     absl::Time deadline) {
  constexpr CollectiveKind kKind = CollectiveKind::kBroadcast;
  RETURN_IF_ERROR(status());
  RETURN_IF_ERROR(CheckView(queue, kKind, "buffer", buffer));
  if (root < 0 || root >= world_size_) {
    return Invalid(kKind, "root is ", root, ", must be in [0, ", world_size_, ")");
  }
  Call call;
  call.kind = kKind;
  call.send = buffer;
  call.root = root;
  return Run(call, &queue, deadline);
}

absl::Status Communicator::Barrier(absl::Time deadline) {
  RETURN_IF_ERROR(status());
  return Run(Call(), nullptr, deadline);
}

void Communicator::Abort(const absl::Status& reason) {
  if (reason.ok()) {
    DoAbort(absl::AbortedError(absl::StrCat("rank ", rank_, " aborted the group")));
    return;
  }
  DoAbort(absl::Status(reason.code(),
                       absl::StrCat("rank ", rank_, " aborted the group: ", reason.message())));
}

int64_t Communicator::bytes_received() const {
  int64_t bytes = 0;
  for (const CollectiveStats& stats : stats_) bytes += stats.bytes_received;
  return bytes;
}

absl::Status Communicator::CheckView(const Queue& queue, CollectiveKind kind, std::string_view name,
                                     const TensorView& view) const {
  if (!view.given()) return Invalid(kind, name, " is not given");
  if (view.device() != queue.device()) {
    return Invalid(kind, name, " lies on ", ToString(view.device()), ", the queue's device is ",
                   ToString(queue.device()));
  }
  if (!view.empty() && !view.contiguous()) {
    return Invalid(kind, name, " ", view.ToString(), " is not contiguous");
  }
  const absl::Status memory = queue.allocations().Check(view.address(), view.span_bytes());
  if (memory.ok()) return memory;
  return absl::Status(memory.code(), absl::StrCat(Name(kind), ": ", name, ": ", memory.message()));
}

// `whole` is world_size times `part`, along the first axis.
absl::Status Communicator::CheckGather(CollectiveKind kind, std::string_view part_name,
                                       const TensorView& part, std::string_view whole_name,
                                       const TensorView& whole) const {
  const auto rows = CheckedMul(world_size_, part.extent(0));
  if (SameTail(part, whole) && rows && whole.extent(0) == *rows) return absl::OkStatus();
  return Invalid(kind, part_name, " is ", part.ToString(), ", ", whole_name, " is ",
                 whole.ToString(), "; ", whole_name, " must have ", world_size_,
                 " times the first extent and be alike otherwise");
}

absl::Status Communicator::CheckOverlap(CollectiveKind kind, const TensorView& send,
                                        const TensorView& receive, bool in_place) const {
  if (in_place || !Overlap(send, receive)) return absl::OkStatus();
  return Invalid(kind, "receive overlaps send, and is not in place");
}

absl::Status Communicator::Run(Call call, Queue* queue, absl::Time deadline) {
  call.sequence = ++sequence_;
  call.step = step_;
  call.fingerprint = fingerprint_;
  recorder_.Begin(call.kind, call.sequence, call.step, call.send.span_bytes());
  absl::Status result;
  if (queue != nullptr) result = queue->Submit();
  if (queue != nullptr && result.ok()) result = queue->Wait(deadline);
  if (result.ok()) {
    result = DoCall(call, queue, deadline);
  } else {
    // The peers wait for this rank, which cannot come.
    DoAbort(absl::Status(
        result.code(),
        absl::StrCat("rank ", rank_, ": the queue failed before ", Name(call.kind), " #",
                     call.sequence, " (step ", call.step, "): ", result.message())));
    result = status();
  }
  recorder_.End(result.code());
  if (!result.ok()) return result;
  CollectiveStats& stats = stats_[static_cast<size_t>(call.kind)];
  ++stats.calls;
  stats.bytes_received += BytesReceived(call);
  return absl::OkStatus();
}

int64_t Communicator::BytesReceived(const Call& call) const {
  switch (call.kind) {
    case CollectiveKind::kAllGather:
      return (world_size_ - 1) * call.send.span_bytes();
    case CollectiveKind::kReduceScatter:
    case CollectiveKind::kAllReduce:
      return (world_size_ - 1) * call.receive.span_bytes();
    case CollectiveKind::kBroadcast:
      return rank_ == call.root ? 0 : call.send.span_bytes();
    case CollectiveKind::kBarrier:
      return 0;
  }
  return 0;
}

}  // namespace weft
