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
  kOpTypeBool = 20,
  kOpTypeInt = 21,
  kOpTypeFloat = 22,
  kOpTypeVector = 23,
  kOpTypeMatrix = 24,
  kOpTypeArray = 28,
  kOpTypeStruct = 30,
  kOpTypePointer = 32,
  kOpConstant = 43,
  kOpConstantComposite = 44,
  kOpSpecConstant = 50,
  kOpSpecConstantComposite = 51,
  kOpSpecConstantOp = 52,
  kOpVariable = 59,
  kOpDecorate = 71,
  kOpIAdd = 128,
  kOpISub = 130,
  kOpIMul = 132,
  kOpUDiv = 134,
  kOpUMod = 137,
  kOpShiftRightLogical = 194,
  kOpShiftLeftLogical = 196,
  kOpBitwiseOr = 197,
  kOpBitwiseAnd = 199,
  kOpExecutionModeId = 331,
};
constexpr uint32_t kModelGlCompute = 5;
constexpr uint32_t kModeLocalSize = 17, kModeLocalSizeId = 38;
constexpr uint32_t kDecorationSpecId = 1, kDecorationBuiltIn = 11, kBuiltInWorkgroupSize = 25;
constexpr uint32_t kStorageWorkgroup = 4;

// Reads a module in one pass: SPIR-V has decorations before constants, and both before their uses.
class Reader {
 public:
  explicit Reader(absl::Span<const uint32_t> specialization) : specialization_(specialization) {}

  // `operands` are the words behind the first.
  void Visit(uint32_t op, absl::Span<const uint32_t> operands);
  absl::StatusOr<SpirvInfo> Info() const;

 private:
  using Triple = std::array<uint32_t, 3>;

  void VisitType(uint32_t op, absl::Span<const uint32_t> operands);
  void VisitConstant(uint32_t op, absl::Span<const uint32_t> operands);
  std::optional<uint32_t> Fold(absl::Span<const uint32_t> op_and_operands) const;
  // 0 for what is not known: it then counts for nothing.
  static int64_t Get(const std::map<uint32_t, int64_t>& map, uint32_t id) {
    auto it = map.find(id);
    return it == map.end() ? 0 : it->second;
  }

  absl::Span<const uint32_t> specialization_;
  bool compute_ = false;
  std::optional<Triple> literal_size_;
  std::optional<Triple> size_ids_;          // constants: LocalSizeId
  uint32_t workgroup_size_id_ = 0;          // a composite, the older way; it wins
  std::map<uint32_t, uint32_t> spec_ids_;   // id -> constant_id
  std::map<uint32_t, int64_t> constants_;   // id -> value
  std::map<uint32_t, Triple> triples_;      // id of a composite -> ids
  std::map<uint32_t, int64_t> type_bytes_;  // id -> size
  std::map<uint32_t, uint32_t> pointees_;   // id of a pointer to Workgroup memory -> type
  int64_t shared_memory_bytes_ = 0;
};

void Reader::Visit(uint32_t op, absl::Span<const uint32_t> operands) {
  const size_t n = operands.size();
  auto triple = [&] { return Triple{operands[2], operands[3], operands[4]}; };
  switch (op) {
    case kOpEntryPoint:
      if (n > 0 && operands[0] == kModelGlCompute) compute_ = true;
      break;
    case kOpExecutionMode:
      if (n == 5 && operands[1] == kModeLocalSize) literal_size_ = triple();
      break;
    case kOpExecutionModeId:
      if (n == 5 && operands[1] == kModeLocalSizeId) size_ids_ = triple();
      break;
    case kOpDecorate:
      if (n != 3) break;
      if (operands[1] == kDecorationSpecId) spec_ids_[operands[0]] = operands[2];
      if (operands[1] == kDecorationBuiltIn && operands[2] == kBuiltInWorkgroupSize) {
        workgroup_size_id_ = operands[0];
      }
      break;
    case kOpConstantComposite:
    case kOpSpecConstantComposite:
      if (n == 5) triples_[operands[1]] = triple();
      break;
    case kOpVariable:
      if (n >= 3 && operands[2] == kStorageWorkgroup) {
        auto it = pointees_.find(operands[0]);
        if (it != pointees_.end()) shared_memory_bytes_ += Get(type_bytes_, it->second);
      }
      break;
    default:
      if (n >= 1 && op >= kOpTypeBool && op <= kOpTypePointer) VisitType(op, operands);
      if (n >= 3 && op >= kOpConstant && op <= kOpSpecConstantOp) VisitConstant(op, operands);
      break;
  }
}

void Reader::VisitType(uint32_t op, absl::Span<const uint32_t> operands) {
  const size_t n = operands.size();
  int64_t& bytes = type_bytes_[operands[0]];
  switch (op) {
    case kOpTypeBool:
      bytes = 4;
      break;
    case kOpTypeInt:
    case kOpTypeFloat:
      if (n >= 2) bytes = operands[1] / 8;
      break;
    case kOpTypeVector:
    case kOpTypeMatrix:
      if (n == 3) bytes = Get(type_bytes_, operands[1]) * operands[2];
      break;
    case kOpTypeArray:
      if (n == 3) bytes = Get(type_bytes_, operands[1]) * Get(constants_, operands[2]);
      break;
    case kOpTypeStruct:
      for (uint32_t member : operands.subspan(1)) bytes += Get(type_bytes_, member);
      break;
    case kOpTypePointer:
      if (n == 3 && operands[1] == kStorageWorkgroup) pointees_[operands[0]] = operands[2];
      break;
    default:
      break;
  }
}

void Reader::VisitConstant(uint32_t op, absl::Span<const uint32_t> operands) {
  const uint32_t id = operands[1];
  if (op == kOpConstant && operands.size() == 3) {
    constants_[id] = operands[2];
  } else if (op == kOpSpecConstant && operands.size() == 3) {
    auto it = spec_ids_.find(id);
    const bool given = it != spec_ids_.end() && it->second < specialization_.size();
    constants_[id] = given ? specialization_[it->second] : operands[2];
  } else if (op == kOpSpecConstantOp) {
    if (auto value = Fold(operands.subspan(2)); value.has_value()) constants_[id] = *value;
  }
}

// What glslang makes of an array's length, or of a local size.
std::optional<uint32_t> Reader::Fold(absl::Span<const uint32_t> words) const {
  if (words.size() != 3) return std::nullopt;
  auto left = constants_.find(words[1]), right = constants_.find(words[2]);
  if (left == constants_.end() || right == constants_.end()) return std::nullopt;
  const uint32_t a = static_cast<uint32_t>(left->second), b = static_cast<uint32_t>(right->second);
  switch (words[0]) {
    case kOpIAdd:
      return a + b;
    case kOpISub:
      return a - b;
    case kOpIMul:
      return a * b;
    case kOpUDiv:
      return b == 0 ? std::nullopt : std::optional<uint32_t>(a / b);
    case kOpUMod:
      return b == 0 ? std::nullopt : std::optional<uint32_t>(a % b);
    case kOpShiftRightLogical:
      return b > 31 ? 0 : a >> b;
    case kOpShiftLeftLogical:
      return b > 31 ? 0 : a << b;
    case kOpBitwiseOr:
      return a | b;
    case kOpBitwiseAnd:
      return a & b;
    default:
      return std::nullopt;
  }
}

absl::StatusOr<SpirvInfo> Reader::Info() const {
  if (!compute_) return absl::InvalidArgumentError("SPIR-V module: no compute entry point");
  SpirvInfo info;
  info.shared_memory_bytes = shared_memory_bytes_;
  std::optional<Triple> ids = size_ids_;
  if (auto it = triples_.find(workgroup_size_id_); it != triples_.end()) ids = it->second;
  if (ids.has_value()) {
    std::transform(ids->begin(), ids->end(), info.local_size.begin(),
                   [this](uint32_t id) { return static_cast<uint32_t>(Get(constants_, id)); });
  } else if (literal_size_.has_value()) {
    info.local_size = *literal_size_;
  }
  if (std::find(info.local_size.begin(), info.local_size.end(), 0u) != info.local_size.end()) {
    return absl::InvalidArgumentError("SPIR-V module: no local size, or one of 0");
  }
  return info;
}

}  // namespace

absl::StatusOr<SpirvInfo> ReadSpirv(absl::Span<const uint32_t> words,
                                    absl::Span<const uint32_t> specialization) {
  if (words.size() < kHeaderWords || words[0] != kMagic) {
    return absl::InvalidArgumentError("not a SPIR-V module");
  }
  Reader reader(specialization);
  for (size_t at = kHeaderWords; at < words.size();) {
    const size_t length = words[at] >> 16;
    if (length == 0 || length > words.size() - at) {
      return absl::InvalidArgumentError(absl::StrCat("SPIR-V module of ", words.size(),
                                                     " words: instruction at word ", at,
                                                     " has a length of ", length));
    }
    reader.Visit(words[at] & 0xffff, words.subspan(at + 1, length - 1));
    at += length;
  }
  return reader.Info();
}

}  // namespace weft::vulkan
