// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/attention_case.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/status_macros.h"
#include "testing/conformance/case_line.h"
#include "testing/conformance/random.h"

namespace weft::testing {
namespace {

const std::vector<std::string_view>& DataWords() {
  static const auto* const words = new std::vector<std::string_view>{
      "planted", "random", "huge", "negative", "identical", "equalv", "zerok"};
  return *words;
}
const std::vector<std::string_view>& LseWords() {
  static const auto* const words = new std::vector<std::string_view>{"dense", "strided", "none"};
  return *words;
}
const std::vector<std::string_view>& LayoutWords() {
  static const auto* const words = new std::vector<std::string_view>{"nhd", "apart"};
  return *words;
}
const std::vector<std::string_view>& IoWords() {
  static const auto* const words = new std::vector<std::string_view>{"dense", "strided"};
  return *words;
}

// "8/2".
void ReadHeads(CaseLineReader& reader, AttentionCase& c) {
  std::string text;
  reader.Read("heads", &text);
  if (text.empty()) return;
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('/', 1));
  if (!absl::SimpleAtoi(parts.first, &c.heads) || !absl::SimpleAtoi(parts.second, &c.kv_heads) ||
      c.kv_heads < 1 || c.heads < 1 || c.heads % c.kv_heads != 0) {
    reader.Fail("heads", "heads/kv_heads, the first a multiple of the second");
  }
}

// "0:5:kv": request, position, what.
void ReadNan(CaseLineReader& reader, AttentionCase& c) {
  std::string text;
  reader.Read("nan", &text);
  if (text.empty()) return;
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &c.nan_request) ||
      !absl::SimpleAtoi(parts[1], &c.nan_from) || c.nan_request < 0 || c.nan_from < 0 ||
      (parts[2] != "k" && parts[2] != "v" && parts[2] != "kv")) {
    return reader.Fail("nan", "request:position:k, v or kv");
  }
  c.nan_keys = parts[2] != "v";
  c.nan_values = parts[2] != "k";
}

void ReadRequests(CaseLineReader& reader, AttentionCase& c) {
  std::vector<int64_t> new_tokens, context, ids;
  std::string kinds;
  reader.Read("q", 0, &new_tokens);
  reader.Read("ctx", 0, &context);
  reader.Read("ids", 0, &ids);
  reader.Read("kinds", &kinds);
  const std::vector<std::string> letters = absl::StrSplit(kinds, ',', absl::SkipEmpty());
  for (size_t i = 0; i < new_tokens.size(); ++i) {
    CaseRequest request;
    request.new_tokens = new_tokens[i];
    request.context = i < context.size() ? context[i] : 0;
    request.id = i < ids.size() ? ids[i] : static_cast<int64_t>(i);
    if (i < letters.size()) {
      if (letters[i] != "d" && letters[i] != "p") return reader.Fail("kinds", "d or p");
      request.kind = letters[i] == "d" ? RequestKind::kDecode : RequestKind::kPrefill;
    }
    c.requests.push_back(request);
  }
  const size_t count = c.requests.size();
  if (context.size() > count || ids.size() > count || letters.size() > count) {
    reader.Fail("q", "as long as ctx, ids and kinds");
  }
}

}  // namespace

int64_t AttentionCase::num_rows() const {
  int64_t rows = 0;
  for (const CaseRequest& request : requests) rows += request.new_tokens;
  return rows;
}

AttentionSpec AttentionCase::Spec() const {
  AttentionSpec spec;
  spec.num_heads = heads;
  spec.num_kv_heads = kv_heads;
  spec.head_size = head_size;
  spec.dtype = dtype;
  spec.kv_dtype = dtype;
  return spec;
}

absl::StatusOr<KvCacheLayout> AttentionCase::Layout() const {
  if (layout == LayoutKind::kNhd) {
    return KvCacheLayout::Nhd(dtype, block_size, kv_heads, head_size);
  }
  // Tokens inside heads (HND order), every stride with a gap, keys and values with other gaps.
  const auto strides = [&](int64_t gap) {
    KvStrides s;
    s.token = head_size + gap;
    s.head = block_size * s.token + gap;
    s.block = kv_heads * s.head + gap;
    return s;
  };
  return KvCacheLayout::Strided(dtype, block_size, kv_heads, head_size, strides(2), strides(4), 0,
                                0);
}

std::string AttentionCase::ToString() const {
  std::vector<int64_t> new_tokens, context, ids;
  std::vector<std::string> kinds;
  bool plain_ids = true;
  for (const CaseRequest& request : requests) {
    plain_ids &= request.id == static_cast<int64_t>(ids.size());
    new_tokens.push_back(request.new_tokens);
    context.push_back(request.context);
    ids.push_back(request.id);
    kinds.push_back(request.kind == RequestKind::kDecode ? "d" : "p");
  }
  std::string line =
      absl::StrCat("attention dtype=", Name(dtype), " heads=", heads, "/", kv_heads,
                   " d=", head_size, " block=", block_size, " q=", absl::StrJoin(new_tokens, ","),
                   " ctx=", absl::StrJoin(context, ","), " kinds=", absl::StrJoin(kinds, ","),
                   " seed=", seed, " pcp=", pcp);
  const AttentionCase defaults;
  if (!plain_ids) absl::StrAppend(&line, " ids=", absl::StrJoin(ids, ","));
  if (data != defaults.data) {
    absl::StrAppend(&line, " data=", DataWords()[static_cast<int>(data)]);
  }
  if (lse != defaults.lse) absl::StrAppend(&line, " lse=", LseWords()[static_cast<int>(lse)]);
  if (layout != defaults.layout) {
    absl::StrAppend(&line, " layout=", LayoutWords()[static_cast<int>(layout)]);
  }
  if (strided) absl::StrAppend(&line, " io=strided");
  if (segments != defaults.segments) absl::StrAppend(&line, " segments=", segments);
  if (pages != defaults.pages) absl::StrAppend(&line, " pages=", pages);
  if (nan_request >= 0) {
    absl::StrAppend(&line, " nan=", nan_request, ":", nan_from, ":", nan_keys ? "k" : "",
                    nan_values ? "v" : "");
  }
  return line;
}

absl::StatusOr<AttentionCase> AttentionCase::Parse(std::string_view line) {
  CaseLineReader reader(line, "attention");
  AttentionCase c;
  reader.Read("dtype", &c.dtype);
  ReadHeads(reader, c);
  reader.Read("d", 1, &c.head_size);
  reader.Read("block", 1, &c.block_size);
  ReadRequests(reader, c);
  reader.Read("seed", &c.seed);
  reader.Read("pcp", 1, &c.pcp);
  int data = 0, lse = 0, layout = 0, io = 0;
  reader.ReadWord("data", DataWords(), &data);
  reader.ReadWord("lse", LseWords(), &lse);
  reader.ReadWord("layout", LayoutWords(), &layout);
  reader.ReadWord("io", IoWords(), &io);
  c.data = static_cast<DataKind>(data);
  c.lse = static_cast<LseKind>(lse);
  c.layout = static_cast<LayoutKind>(layout);
  c.strided = io == 1;
  reader.Read("segments", 1, &c.segments);
  reader.Read("pages", &c.pages);
  ReadNan(reader, c);
  if (c.nan_request >= static_cast<int64_t>(c.requests.size())) {
    reader.Fail("nan", "in a request that there is");
  }
  if (!IsFloat(c.dtype)) reader.Fail("dtype", "f32, f16 or bf16");
  RETURN_IF_ERROR(reader.Finish());
  return c;
}

AttentionCase AttentionCase::Random(uint64_t seed) {
  RandomStream random({seed, 77});
  const auto pick = [&](auto list) { return list[random.Below(std::size(list))]; };
  AttentionCase c;
  c.seed = seed;
  const std::pair<DType, int64_t> shapes[] = {{DType::kF16, 64},
                                              {DType::kF16, 128},
                                              {DType::kBF16, 64},
                                              {DType::kBF16, 128},
                                              {DType::kF32, 64}};
  const auto& [dtype, head_size] = shapes[random.Below(std::size(shapes))];
  c.dtype = dtype;
  c.head_size = head_size;
  c.kv_heads = pick(std::vector<int64_t>{1, 2, 3});
  c.heads = c.kv_heads * pick(std::vector<int64_t>{1, 2, 3, 4, 5});
  c.block_size = pick(std::vector<int64_t>{1, 5, 16, 32, 100});
  c.pcp = pick(std::vector<int64_t>{1, 1, 1, 2, 3});
  c.lse = static_cast<LseKind>(random.Below(3));
  c.layout = static_cast<LayoutKind>(random.Below(2));
  c.strided = random.Below(2) == 1;
  c.segments = 1 + static_cast<int64_t>(random.Below(2));
  c.pages = random.Below(1000);
  const int64_t count = 1 + static_cast<int64_t>(random.Below(6));
  for (int64_t i = 0; i < count; ++i) {
    CaseRequest request;
    request.id = i;
    request.kind = random.Below(2) == 0 ? RequestKind::kDecode : RequestKind::kPrefill;
    request.new_tokens = request.kind == RequestKind::kDecode
                             ? pick(std::vector<int64_t>{1, 1, 1, 2})
                             : static_cast<int64_t>(random.Below(24));
    request.context = pick(std::vector<int64_t>{0, 1, 15, 16, 17, 100, 509, 520});
    if (request.kind == RequestKind::kDecode) {
      request.context = std::max<int64_t>(request.context, 1);
    }
    c.requests.push_back(request);
  }
  return c;
}

}  // namespace weft::testing
