// SPDX-License-Identifier: Apache-2.0
#include <iterator>

#include "gtest/gtest.h"
#include "tools/build_defs/glsl/test_shader.h"

namespace weft::testing {
namespace {

TEST(GlslShaderTest, EmbedsSpirv16) {
  ASSERT_GT(std::size(kTestShader), 5u);
  EXPECT_EQ(kTestShader[0], 0x07230203u);
  EXPECT_EQ(kTestShader[1], 0x00010600u);  // of Vulkan 1.3
}

}  // namespace
}  // namespace weft::testing
