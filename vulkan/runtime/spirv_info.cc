// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/spirv_info.h"

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace weft::vulkan {
namespace {

// Of the SPIR-V specification, 1.6.
constexpr uint32_t kMagic = 0x07230203;
constexpr size_t kHeaderWords = 5;
enum Op : uint32_t {
  kOpEntryPoint = 15,
  kOpExecutionMode = 16,
  kOpConstant = 43,
  kOpConstantComposite = 44,
  kOpSpecConstant = 50,
  kOpSpecConstantComposite = 51,
  kOpDecorate = 71,
  kOpExecutionModeId = 331,
};
constexpr uint32_t kModelGlCompute = 5;
constexpr uint32_t kModeLocalSize = 17, kModeLocalSizeId = 38;
constexpr uint32_t kDecorationSpecId = 1, kDecorationBuiltIn = 11, kBuiltInWorkgroupSize = 25;

// The pieces of a module that decide its local size.
struct Module {
  bool compute = false;
  std::optional<std::array<uint32_t, 3>> literal_size;
  std::optional<std::array<uint32_t, 3>> size_ids;  // constants, LocalSizeId
  uint32_t workgroup_size_id = 0;                   // a composite, the older way; it wins
  std::map<uint32_t, uint32_t> constants;           // id -> value
  std::map<uint32_t, uint32_t> spec_ids;            // id -> constant_id
  std::map<uint32_t, std::array<uint32_t, 3>> triples;
};

// `operands` are the words behind the first.
void Visit(uint32_t op, absl::Span<const uint32_t> operands, Module& module) {
  auto triple = [&](size_t at) {
    return std::array<uint32_t, 3>{operands[at], operands[at + 1], operands[at + 2]};
  };
  const size_t n = operands.size();
  switch (op) {
    case kOpEntryPoint:
      if (n > 0 && operands[0] == kModelGlCompute) module.compute = true;
      break;
    case kOpExecutionMode:
      if (n == 5 && operands[1] == kModeLocalSize) module.literal_size = triple(2);
      break;
    case kOpExecutionModeId:
      if (n == 5 && operands[1] == kModeLocalSizeId) module.size_ids = triple(2);
      break;
    case kOpDecorate:
      if (n == 3 && operands[1] == kDecorationSpecId) module.spec_ids[operands[0]] = operands[2];
      if (n == 3 && operands[1] == kDecorationBuiltIn && operands[2] == kBuiltInWorkgroupSize) {
        module.workgroup_size_id = operands[0];
      }
      break;
    case kOpConstant:
    case kOpSpecConstant:
      if (n == 3) module.constants[operands[1]] = operands[2];
      break;
    case kOpConstantComposite:
    case kOpSpecConstantComposite:
      if (n == 5) module.triples[operands[1]] = triple(2);
      break;
    default:
      break;
  }
}

absl::StatusOr<Module> Parse(absl::Span<const uint32_t> words) {
  if (words.size() < kHeaderWords || words[0] != kMagic) {
    return absl::InvalidArgumentError("not a SPIR-V module");
  }
  Module module;
  for (size_t at = kHeaderWords; at < words.size();) {
    const size_t length = words[at] >> 16;
    if (length == 0 || length > words.size() - at) {
      return absl::InvalidArgumentError(absl::StrCat("SPIR-V module of ", words.size(),
                                                     " words: instruction at word ", at,
                                                     " has a length of ", length));
    }
    Visit(words[at] & 0xffff, words.subspan(at + 1, length - 1), module);
    at += length;
  }
  if (!module.compute) return absl::InvalidArgumentError("SPIR-V module: no compute entry point");
  return module;
}

}  // namespace

absl::StatusOr<SpirvInfo> ReadSpirv(absl::Span<const uint32_t> words,
                                    absl::Span<const uint32_t> specialization) {
  ASSIGN_OR_RETURN(Module module, Parse(words));
  for (const auto& [id, constant_id] : module.spec_ids) {
    if (constant_id < specialization.size()) module.constants[id] = specialization[constant_id];
  }
  SpirvInfo info;
  std::optional<std::array<uint32_t, 3>> ids = module.size_ids;
  if (auto it = module.triples.find(module.workgroup_size_id); it != module.triples.end()) {
    ids = it->second;
  }
  if (ids.has_value()) {
    std::transform(ids->begin(), ids->end(), info.local_size.begin(),
                   [&](uint32_t id) { return module.constants[id]; });
  } else if (module.literal_size.has_value()) {
    info.local_size = *module.literal_size;
  }
  if (std::find(info.local_size.begin(), info.local_size.end(), 0u) != info.local_size.end()) {
    return absl::InvalidArgumentError("SPIR-V module: no local size, or one of 0");
  }
  return info;
}

}  // namespace weft::vulkan
