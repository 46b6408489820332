// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/digest.h"

#include <vector>

#include "gtest/gtest.h"

namespace weft::replay {
namespace {

std::vector<uint8_t> Bytes(int64_t count, uint8_t first) {
  std::vector<uint8_t> bytes(count);
  for (int64_t i = 0; i < count; ++i) bytes[i] = static_cast<uint8_t>(first + i);
  return bytes;
}

TEST(OutputDigest, DoesNotDependOnHowRequestsInterleave) {
  const std::vector<uint8_t> a = Bytes(64, 1), b = Bytes(64, 100);
  OutputDigest one(2), other(2);
  one.Add(0, a);
  one.Add(1, b);
  other.Add(1, absl::MakeConstSpan(b).first(16));
  other.Add(0, absl::MakeConstSpan(a).first(32));
  other.Add(1, absl::MakeConstSpan(b).subspan(16));
  other.Add(0, absl::MakeConstSpan(a).subspan(32));
  EXPECT_EQ(one.ToString(), other.ToString());
  EXPECT_EQ(one.ToString().size(), 16u);
}

TEST(OutputDigest, EveryBitPlaceAndOrderCounts) {
  const std::vector<uint8_t> bytes = Bytes(40, 1);
  OutputDigest plain(2);
  plain.Add(0, bytes);
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::vector<uint8_t> changed = bytes;
    changed[i] ^= 0x80;
    OutputDigest digest(2);
    digest.Add(0, changed);
    EXPECT_NE(digest.ToString(), plain.ToString()) << i;
  }
  OutputDigest other_request(2), other_order(2), longer(2), more_requests(3);
  other_request.Add(1, bytes);
  EXPECT_NE(other_request.ToString(), plain.ToString());
  other_order.Add(0, absl::MakeConstSpan(bytes).subspan(8));
  other_order.Add(0, absl::MakeConstSpan(bytes).first(8));
  EXPECT_NE(other_order.ToString(), plain.ToString());
  longer.Add(0, bytes);
  longer.Add(0, std::vector<uint8_t>(8, 0));
  EXPECT_NE(longer.ToString(), plain.ToString());
  more_requests.Add(0, bytes);
  EXPECT_NE(more_requests.ToString(), plain.ToString());
}

}  // namespace
}  // namespace weft::replay
