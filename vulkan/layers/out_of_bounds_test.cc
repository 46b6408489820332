// SPDX-License-Identifier: Apache-2.0
//
// GPU-assisted validation sees a kernel that writes to an address where no buffer is; so its
// silence over the conformance suite means something.
#include <memory>
#include <string>

#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "vulkan/runtime/test_stream.h"

namespace weft::vulkan {
namespace {

class OutOfBoundsTest : public StreamTest {
 protected:
  bool validate() const override { return true; }

  void RunTo(uint64_t destination) {
    std::unique_ptr<CommandStream> stream = Stream();
    const uint64_t a = Words(64), sizes = Words(2);
    ASSERT_TRUE(Dispatch(*stream, *Affine(), 64, {a, destination, sizes, 64, 1}).ok());
    ASSERT_TRUE(stream->Submit().ok());
    ASSERT_TRUE(stream->Wait(absl::Now() + absl::Seconds(60)).ok());
  }
};

TEST_F(OutOfBoundsTest, IsSeen) {
  RunTo(Words(64));
  ASSERT_EQ(ValidationMessageCount(), 0) << absl::StrJoin(ValidationMessages(), "\n");
  RunTo(16);
  const std::string messages = absl::StrJoin(ValidationMessages(), "\n");
  EXPECT_NE(messages.find("trying to write 4 bytes at [0x10,"), std::string::npos) << messages;
}

}  // namespace
}  // namespace weft::vulkan
