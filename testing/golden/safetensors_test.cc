// SPDX-License-Identifier: Apache-2.0
//
// Files that lie must be found out, by a message that names the file and what is wrong.
#include "testing/golden/safetensors.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace weft::testing {
namespace {

std::vector<uint8_t> File(const std::string& header, int64_t data_bytes,
                          int64_t header_length = -1) {
  const uint64_t length = header_length < 0 ? header.size() : static_cast<uint64_t>(header_length);
  std::vector<uint8_t> bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<uint8_t>(length >> (8 * i)));
  bytes.insert(bytes.end(), header.begin(), header.end());
  for (int64_t i = 0; i < data_bytes; ++i) bytes.push_back(static_cast<uint8_t>(i));
  return bytes;
}

std::string Tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"a": {"dtype": ")" + dtype + R"(", "shape": )" + shape + R"(, "data_offsets": )" +
         offsets + "}}";
}

std::string Error(std::vector<uint8_t> bytes) {
  const auto file = SafeTensorsFile::Parse("some.safetensors", std::move(bytes));
  return file.ok() ? "" : std::string(file.status().message());
}

TEST(SafeTensorsTest, ReadsATensor) {
  auto file = SafeTensorsFile::Parse("x", File(Tensor("I32", "[2, 1]", "[4, 12]"), 12));
  ASSERT_TRUE(file.ok()) << file.status();
  const SafeTensorsFile moved = *std::move(file);
  const auto tensor = moved.Get("a", "I32", {2, -1});
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->shape, (std::vector<int64_t>{2, 1}));
  ASSERT_EQ(tensor->data.size(), 8u);
  EXPECT_EQ(tensor->data[0], 4);
  EXPECT_TRUE(moved.Has("a"));
  EXPECT_FALSE(moved.Has("b"));
}

TEST(SafeTensorsTest, IgnoresMetadata) {
  EXPECT_EQ(Error(File(R"({"__metadata__": {"format": "pt"}})", 0)), "");
}

TEST(SafeTensorsTest, GetNamesWhatDoesNotFit) {
  const auto file = SafeTensorsFile::Parse("x", File(Tensor("I32", "[2, 1]", "[0, 8]"), 8));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->Get("b", "I32", {-1}).status().message(), "x: has no tensor \"b\"");
  EXPECT_EQ(file->Get("a", "F32", {2, 1}).status().message(),
            "x: tensor \"a\" is I32[2, 1], expected F32[2, 1] (-1: any)");
  EXPECT_FALSE(file->Get("a", "I32", {2}).ok());
  EXPECT_FALSE(file->Get("a", "I32", {1, 1}).ok());
}

TEST(SafeTensorsTest, RefusesBadFiles) {
  const std::string good = Tensor("I32", "[2]", "[0, 8]");
  EXPECT_EQ(Error(File(good, 8)), "");
  EXPECT_EQ(Error({1, 2, 3}), "some.safetensors: has 3 bytes, the header length alone takes 8");
  EXPECT_EQ(Error(File("{}", 0, 100)),
            "some.safetensors: says its header has 100 bytes, the file has 10");
  EXPECT_NE(Error(File("{}", 0, INT64_MAX)), "");
  EXPECT_NE(Error(File("[]", 0)), "");
  EXPECT_NE(Error(File("{\"a\":", 0)), "");
  EXPECT_NE(Error(File("{\"\xff\": 1}", 0)), "");
  EXPECT_NE(Error(File(R"({"a": 7})", 0)), "");
  EXPECT_NE(Error(File(R"({"a": {"dtype": 3, "shape": [], "data_offsets": [0, 4]}})", 4)), "");
}

TEST(SafeTensorsTest, RefusesBadTensors) {
  EXPECT_EQ(Error(File(Tensor("X7", "[2]", "[0, 8]"), 8)),
            "some.safetensors: tensor \"a\" has unknown dtype \"X7\"");
  EXPECT_EQ(Error(File(Tensor("I32", "[3]", "[0, 8]"), 8)),
            "some.safetensors: tensor \"a\" is I32[3], 12 bytes, but data_offsets give it 8");
  EXPECT_EQ(Error(File(Tensor("I32", "[2]", "[0, 8]"), 7)),
            "some.safetensors: tensor \"a\" has data_offsets [0,8], the file has 7 bytes of data");
  EXPECT_NE(Error(File(Tensor("I32", "[2]", "[8, 0]"), 8)), "");
  EXPECT_NE(Error(File(Tensor("I32", "[2]", "[-8, 0]"), 8)), "");
  EXPECT_NE(Error(File(Tensor("I32", "[-2]", "[0, 8]"), 8)), "");
  EXPECT_NE(Error(File(Tensor("I32", "[2.5]", "[0, 8]"), 8)), "");
  EXPECT_NE(Error(File(Tensor("I32", "[2]", "[0, 8, 9]"), 9)), "");
  EXPECT_NE(Error(File(Tensor("I32", "[4611686018427387904, 4611686018427387904]", "[0, 0]"), 0)),
            "");
  EXPECT_NE(Error(File(Tensor("I32", "[18446744073709551615]", "[0, 8]"), 8)), "");
}

TEST(SafeTensorsTest, NamesAFileThatIsNotThere) {
  EXPECT_EQ(SafeTensorsFile::Read("/nowhere/x.safetensors").status().message(),
            "/nowhere/x.safetensors: cannot be opened");
}

}  // namespace
}  // namespace weft::testing
