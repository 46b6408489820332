// SPDX-License-Identifier: Apache-2.0
//
// The fuzzers' corpus as an ordinary test: every file of corpus/TARGET, and mutations of it that
// are the same each time. What a fuzzer once found stays found.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "testing/fuzz/properties.h"

namespace weft::fuzz {
namespace {

using Bytes = std::vector<uint8_t>;

struct Target {
  const char* name;  // the folder of its corpus
  void (*property)(absl::Span<const uint8_t>);
  int64_t mutations;  // of each file
};

constexpr Target kTargets[] = {{"metadata", MetadataProperty, 400},
                               {"partition", PartitionProperty, 400},
                               {"trace", TraceProperty, 100},
                               {"safetensors", SafeTensorsProperty, 100},
                               {"manifest", ManifestProperty, 100}};

std::map<std::string, Bytes> Corpus(const Target& target) {
  std::map<std::string, Bytes> files;
  const std::string folder = std::string("testing/fuzz/corpus/") + target.name;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    files[entry.path().filename()] =
        Bytes(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return files;
}

// One to four changes: a byte, a bit, a piece left out, a piece of another file put in.
Bytes Mutated(Bytes bytes, const Bytes& other, std::mt19937& random) {
  const auto below = [&](size_t bound) { return random() % std::max<size_t>(bound, 1); };
  for (size_t changes = 1 + below(4); changes > 0; --changes) {
    const size_t place = below(bytes.size());
    const auto at = bytes.begin() + place;
    switch (below(4)) {
      case 0:
        if (!bytes.empty()) *at = static_cast<uint8_t>(random());
        break;
      case 1:
        if (!bytes.empty()) *at ^= static_cast<uint8_t>(1 << below(8));
        break;
      case 2:
        bytes.erase(at, at + std::min(below(16), bytes.size() - place));
        break;
      default: {
        const size_t from = below(other.size());
        const size_t count = std::min(below(32), other.size() - from);
        bytes.insert(at, other.begin() + from, other.begin() + from + count);
      }
    }
  }
  return bytes;
}

class CorpusTest : public ::testing::TestWithParam<Target> {};

std::string TargetName(const ::testing::TestParamInfo<Target>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Targets, CorpusTest, ::testing::ValuesIn(kTargets), TargetName);

// A property dies with a message where it does not hold; the last file that was named is the one.
TEST_P(CorpusTest, Files) {
  const std::map<std::string, Bytes> corpus = Corpus(GetParam());
  ASSERT_GE(corpus.size(), 5u);
  for (const auto& [name, bytes] : corpus) {
    std::printf("%s/%s\n", GetParam().name, name.c_str());
    GetParam().property(bytes);
  }
  GetParam().property({});
}

TEST_P(CorpusTest, Mutations) {
  const std::map<std::string, Bytes> corpus = Corpus(GetParam());
  std::vector<Bytes> files;
  for (const auto& [name, bytes] : corpus) files.push_back(bytes);
  std::mt19937 random(42);
  for (size_t i = 0; i < files.size(); ++i) {
    std::printf("mutations of %s/%s\n", GetParam().name,
                std::next(corpus.begin(), i)->first.c_str());
    for (int64_t k = 0; k < GetParam().mutations; ++k) {
      GetParam().property(Mutated(files[i], files[random() % files.size()], random));
    }
  }
}

// Far longer than a fuzzer's inputs: whoever reads a file by recursion runs out of stack.
TEST(DeepNestingTest, IsRefused) {
  constexpr size_t kDepth = 1 << 20;
  const auto run = [](const Target& target, const std::string& text) {
    target.property({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  };
  const std::string deep = std::string(kDepth, '[') + std::string(kDepth, ']');
  run(kTargets[2], "{\"timestamp\": " + deep + "}");
  run(kTargets[3], std::string(1, '\0') + "{\"a\": {\"dtype\": \"U8\", \"shape\": [" + deep +
                       "], \"data_offsets\": [0, 0]}}");
  run(kTargets[4],
      "{\"cases\": [{\"name\": \"a\", \"op\": \"b\", \"file\": \"c\", "
      "\"args\": {\"x\": " +
          deep + "}}]}");
}

}  // namespace
}  // namespace weft::fuzz
