// SPDX-License-Identifier: Apache-2.0
#include "collectives/rendezvous.h"

#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"

namespace weft {
namespace {

// What two posts must have in common.
auto Key(const RendezvousPost& post) {
  return std::tie(post.kind, post.sequence, post.step, post.fingerprint, post.elements, post.dtype,
                  post.root);
}

std::string ToString(const RendezvousPost& post) {
  std::string text = absl::StrCat(Name(post.kind), " #", post.sequence);
  if (post.kind != CollectiveKind::kBarrier) {
    absl::StrAppend(&text, " of ", post.elements, " ", Name(post.dtype), " (",
                    post.elements * SizeOf(post.dtype), " bytes)");
  }
  if (post.kind == CollectiveKind::kBroadcast) absl::StrAppend(&text, " from rank ", post.root);
  absl::StrAppend(&text, " in step ", post.step, " with fingerprint 0x",
                  absl::Hex(post.fingerprint));
  return text;
}

std::string Ranks(const std::vector<int64_t>& ranks) {
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(ranks, ", "));
}

}  // namespace

bool ShareMemory(const std::vector<RendezvousPost>& posts) {
  for (const RendezvousPost& post : posts) {
    if (post.memory == nullptr || post.memory != posts[0].memory) return false;
  }
  return true;
}

Rendezvous::Rendezvous(int64_t world_size)
    : world_size_(world_size), left_(world_size), posts_(world_size), arrived_(world_size) {}

absl::StatusOr<RendezvousPosts> Rendezvous::Meet(int64_t rank, const RendezvousPost& post,
                                                 absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  if (!failure_.ok()) return failure_;
  const uint64_t round = round_;
  posts_[rank] = post;
  arrived_[rank] = true;
  if (++num_arrived_ == world_size_) CompleteRound();
  const auto settled = [this, round]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return round_ != round || !failure_.ok() || MissingForGood() >= 0;
  };
  if (!mutex_.AwaitWithDeadline(absl::Condition(&settled), deadline)) {
    FailLocked(absl::DeadlineExceededError(
        absl::StrCat("rank ", rank, " waited for ", Missing(), " of ", world_size_,
                     " until its deadline in ", ToString(post))));
  } else if (round_ == round && failure_.ok()) {
    FailLocked(
        absl::AbortedError(absl::StrCat("rank ", MissingForGood(), " has left the group; rank ",
                                        rank, " waits for it in ", ToString(post))));
  }
  // A round that was completed stays so, even if a quicker rank has failed the next one by now.
  if (round_ == round) return failure_;
  RendezvousPosts posts = agreed_;
  if (++num_taken_ == world_size_) agreed_ = nullptr;
  return posts;
}

void Rendezvous::CompleteRound() {
  if (absl::Status agreement = CheckAgreement(); !agreement.ok()) {
    FailLocked(agreement);
    return;
  }
  if (posts_[0].lends && ShareMemory(posts_)) readers_ += world_size_;
  agreed_ = std::make_shared<const std::vector<RendezvousPost>>(std::move(posts_));
  num_taken_ = 0;
  posts_.assign(world_size_, RendezvousPost());
  arrived_.assign(world_size_, false);
  num_arrived_ = 0;
  ++round_;
}

absl::Status Rendezvous::CheckAgreement() const {
  // Ranks by what they post; the first is rank 0 and those who agree with it.
  std::vector<std::vector<int64_t>> parties;
  for (int64_t rank = 0; rank < world_size_; ++rank) {
    auto party = parties.begin();
    while (party != parties.end() && Key(posts_[party->front()]) != Key(posts_[rank])) ++party;
    if (party == parties.end()) party = parties.emplace(party);
    party->push_back(rank);
  }
  if (parties.size() == 1) return absl::OkStatus();
  std::string text = "the ranks do not agree";
  for (const std::vector<int64_t>& party : parties) {
    absl::StrAppend(&text, &party == &parties.front() ? ": " : "; ", Ranks(party),
                    party.size() == 1 ? " comes" : " come", " with ",
                    ToString(posts_[party.front()]));
  }
  return absl::FailedPreconditionError(text);
}

int64_t Rendezvous::MissingForGood() const {
  for (int64_t rank = 0; rank < world_size_; ++rank) {
    if (left_[rank] && !arrived_[rank]) return rank;
  }
  return -1;
}

std::string Rendezvous::Missing() const {
  std::vector<int64_t> missing;
  for (int64_t rank = 0; rank < world_size_; ++rank) {
    if (!arrived_[rank]) missing.push_back(rank);
  }
  return Ranks(missing);
}

void Rendezvous::EndReading() {
  absl::MutexLock lock(&mutex_);
  --readers_;
}

void Rendezvous::AwaitReaders(absl::Duration patience) {
  absl::MutexLock lock(&mutex_);
  const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return readers_ == 0; };
  mutex_.AwaitWithDeadline(absl::Condition(&none), absl::Now() + patience);
}

void Rendezvous::Fail(const absl::Status& failure) {
  absl::MutexLock lock(&mutex_);
  FailLocked(failure);
}

void Rendezvous::FailLocked(const absl::Status& failure) {
  if (failure_.ok()) failure_ = failure;
}

void Rendezvous::Leave(int64_t rank) {
  absl::MutexLock lock(&mutex_);
  left_[rank] = true;
}

absl::Status Rendezvous::status() const {
  absl::MutexLock lock(&mutex_);
  return failure_;
}

}  // namespace weft
