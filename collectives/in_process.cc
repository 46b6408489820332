// SPDX-License-Identifier: Apache-2.0
#include "collectives/in_process.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "collectives/rendezvous.h"
#include "collectives/sum.h"
#include "core/status_macros.h"

namespace weft {
namespace {

using HostBytes = std::vector<uint8_t>;

// How long a call that fails goes on waiting for devices that still read or write.
constexpr absl::Duration kPatience = absl::Seconds(10);

absl::Status RunQueue(Queue& queue, absl::Time deadline) {
  RETURN_IF_ERROR(queue.Submit());
  return queue.Wait(deadline);
}

class InProcessCommunicator : public Communicator {
 public:
  InProcessCommunicator(int64_t rank, int64_t world_size, std::shared_ptr<Rendezvous> rendezvous)
      : Communicator(rank, world_size), rendezvous_(std::move(rendezvous)) {}
  ~InProcessCommunicator() override { rendezvous_->Leave(rank()); }

 protected:
  absl::Status DoCall(const Call& call, Queue* queue, absl::Time deadline) override;
  void DoAbort(const absl::Status& failure) override { rendezvous_->Fail(failure); }
  absl::Status DoStatus() const override { return rendezvous_->status(); }

 private:
  static bool Reduces(const Call& call) {
    return call.kind == CollectiveKind::kReduceScatter || call.kind == CollectiveKind::kAllReduce;
  }
  // True if some rank reads this rank's data.
  bool Gives(const Call& call) const {
    return call.kind != CollectiveKind::kBroadcast || call.root == rank();
  }

  RendezvousPost Describe(const Call& call, const Queue* queue) const;
  absl::Status FailGroup(const Call& call, const absl::Status& reason);

  // Where all queues share memory: each rank reads what the others have posted.
  absl::Status CopyFromPeers(const Call& call, const RendezvousPosts& posts, Queue& queue,
                             absl::Time deadline);
  absl::Status RecordCopies(const Call& call, const RendezvousPosts& posts, Queue& queue) const;

  // Otherwise: everyone brings its data to the host, and takes what it needs from there.
  absl::Status GoThroughHost(const Call& call, RendezvousPost post, Queue& queue,
                             absl::Time deadline);
  absl::StatusOr<std::shared_ptr<const HostBytes>> Stage(const Call& call, Queue& queue,
                                                         absl::Time deadline) const;
  absl::Status RecordUploads(const Call& call, const RendezvousPosts& posts, Queue& queue) const;

  std::shared_ptr<Rendezvous> rendezvous_;
};

RendezvousPost InProcessCommunicator::Describe(const Call& call, const Queue* queue) const {
  RendezvousPost post;
  post.kind = call.kind;
  post.sequence = call.sequence;
  post.step = call.step;
  post.fingerprint = call.fingerprint;
  post.elements = call.send.num_elements();
  post.dtype = call.send.dtype();
  post.root = call.root;
  post.address = call.send.address();
  if (queue != nullptr) post.memory = &queue->allocations();
  post.lends = post.elements > 0 && !Reduces(call);
  return post;
}

absl::Status InProcessCommunicator::FailGroup(const Call& call, const absl::Status& reason) {
  rendezvous_->Fail(absl::Status(
      reason.code(), absl::StrCat("rank ", rank(), " failed in ", Name(call.kind), " #",
                                  call.sequence, " (step ", call.step, "): ", reason.message())));
  return rendezvous_->status();
}

absl::Status InProcessCommunicator::DoCall(const Call& call, Queue* queue, absl::Time deadline) {
  const RendezvousPost post = Describe(call, queue);
  ASSIGN_OR_RETURN(const RendezvousPosts posts, rendezvous_->Meet(rank(), post, deadline));
  if (post.elements == 0) return absl::OkStatus();  // a barrier too
  if (post.lends && ShareMemory(*posts)) return CopyFromPeers(call, posts, *queue, deadline);
  return GoThroughHost(call, post, *queue, deadline);
}

absl::Status InProcessCommunicator::CopyFromPeers(const Call& call, const RendezvousPosts& posts,
                                                  Queue& queue, absl::Time deadline) {
  absl::Status copied = RecordCopies(call, posts, queue);
  // Run even if the list is not complete: a queue must not keep copies from memory that its owner
  // may free.
  const absl::Status run = RunQueue(queue, deadline);
  if (!run.ok()) queue.Wait(absl::Now() + kPatience).IgnoreError();
  rendezvous_->EndReading();
  if (copied.ok()) copied = run;

  // This rank's memory may be overwritten only when the last of its peers has read it.
  RendezvousPost post = Describe(call, &queue);
  post.lends = false;
  const absl::Status done =
      copied.ok() ? rendezvous_->Meet(rank(), post, deadline).status() : FailGroup(call, copied);
  if (!done.ok()) rendezvous_->AwaitReaders(kPatience);
  return done;
}

absl::Status InProcessCommunicator::RecordCopies(const Call& call, const RendezvousPosts& posts,
                                                 Queue& queue) const {
  const int64_t bytes = call.send.span_bytes();
  if (call.kind == CollectiveKind::kBroadcast) {
    if (call.root == rank()) return absl::OkStatus();
    return queue.Copy(call.send.address(), (*posts)[call.root].address, bytes);
  }
  for (int64_t peer = 0; peer < world_size(); ++peer) {
    const uint64_t target = call.receive.address() + static_cast<uint64_t>(peer * bytes);
    const uint64_t source = (*posts)[peer].address;
    if (source != target) RETURN_IF_ERROR(queue.Copy(target, source, bytes));  // else in place
  }
  return absl::OkStatus();
}

absl::Status InProcessCommunicator::GoThroughHost(const Call& call, RendezvousPost post,
                                                  Queue& queue, absl::Time deadline) {
  post.lends = false;
  if (Gives(call)) {
    auto staged = Stage(call, queue, deadline);
    if (!staged.ok()) return FailGroup(call, staged.status());
    post.staged = *std::move(staged);
  }
  ASSIGN_OR_RETURN(const RendezvousPosts posts, rendezvous_->Meet(rank(), post, deadline));
  absl::Status received = RecordUploads(call, posts, queue);
  if (received.ok()) received = RunQueue(queue, deadline);
  return received.ok() ? received : FailGroup(call, received);
}

absl::StatusOr<std::shared_ptr<const HostBytes>> InProcessCommunicator::Stage(
    const Call& call, Queue& queue, absl::Time deadline) const {
  auto staged = std::make_shared<HostBytes>(call.send.span_bytes());
  RETURN_IF_ERROR(queue.CopyToHost(absl::MakeSpan(*staged), call.send.address()));
  absl::Status run = RunQueue(queue, deadline);
  if (run.ok()) return staged;
  if (!queue.Wait(absl::Now() + kPatience).ok()) {
    // The device may write there at any time: never freed.
    new std::shared_ptr<HostBytes>(std::move(staged));
  }
  return run;
}

absl::Status InProcessCommunicator::RecordUploads(const Call& call, const RendezvousPosts& posts,
                                                  Queue& queue) const {
  if (call.kind == CollectiveKind::kBroadcast) {
    if (call.root == rank()) return absl::OkStatus();
    return queue.CopyFromHost(call.send.address(), *(*posts)[call.root].staged);
  }
  if (call.kind == CollectiveKind::kAllGather) {
    uint64_t target = call.receive.address();
    for (const RendezvousPost& peer : *posts) {
      RETURN_IF_ERROR(queue.CopyFromHost(target, *peer.staged));
      target += peer.staged->size();
    }
    return absl::OkStatus();
  }
  HostBytes sum(call.receive.span_bytes());
  const size_t offset = call.kind == CollectiveKind::kReduceScatter ? rank() * sum.size() : 0;
  std::vector<const uint8_t*> parts;
  for (const RendezvousPost& peer : *posts) parts.push_back(peer.staged->data() + offset);
  SumInOrder(call.receive.dtype(), parts, call.receive.num_elements(), sum.data());
  return queue.CopyFromHost(call.receive.address(), sum);
}

}  // namespace

std::vector<std::unique_ptr<Communicator>> CreateInProcessGroup(int64_t world_size) {
  std::vector<std::unique_ptr<Communicator>> group;
  if (world_size < 1) return group;
  auto rendezvous = std::make_shared<Rendezvous>(world_size);
  for (int64_t rank = 0; rank < world_size; ++rank) {
    group.push_back(std::make_unique<InProcessCommunicator>(rank, world_size, rendezvous));
  }
  return group;
}

}  // namespace weft
