// SPDX-License-Identifier: Apache-2.0
//
// AttentionCase from a line, and back.
#include <cstddef>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/status_macros.h"
#include "testing/conformance/attention_case.h"
#include "testing/conformance/case_line.h"

namespace weft::testing {
namespace {

using Words = std::vector<std::string_view>;

// Every optional field of a case once, for reading and for printing. `Visit` has Word(key, words,
// field) and Number(key, min, field).
template <typename Case, typename Visit>
void VisitFields(Case& c, Visit& visit) {
  visit.Word("kv", Words{"same", "f8e4m3", "f8e5m2"}, c.kv);
  visit.Word("scales", Words{"none", "tensor", "head", "powers"}, c.scales);
  visit.Word("query", Words{"same", "f8e4m3"}, c.fp8_query);
  visit.Word("out", Words{"same", "f32", "f8e4m3"}, c.out);
  visit.Number("scale", 0, c.scale);
  visit.Number("softcap", 0, c.softcap);
  visit.Word("alibi", Words{"none", "some", "zero"}, c.alibi);
  visit.Number("window", 0, c.window);
  visit.Word("evict", Words{"no", "yes"}, c.evict);
  visit.Word("sinks", Words{"none", "some", "minus"}, c.sinks);
  visit.Word("keys", Words{"all", "context", "new", "split", "shared"}, c.keys);
  visit.Word("rows", Words{"all", "decodes", "prefills"}, c.rows);
  visit.Word("data",
             Words{"planted", "random", "huge", "negative", "identical", "equalv", "zerok", "large",
                   "coarse"},
             c.data);
  visit.Word("lse", Words{"dense", "strided", "none"}, c.lse);
  visit.Word("layout", Words{"nhd", "hnd", "x", "apart"}, c.layout);
  visit.Word("io", Words{"dense", "strided", "offset"}, c.io);
  visit.Number("segments", 1, c.segments);
  visit.Number("pages", 0, c.pages);
  visit.Word("kpoison", Words{"nan", "inf", "big", "zero"}, c.poison_keys);
  visit.Word("vpoison", Words{"nan", "inf", "big", "zero"}, c.poison_values);
  visit.Number("bias", 0, c.bias);
  visit.Word("place", PlaceWords(), c.place);
  visit.Number("qfactor", 0, c.query_factor);
  visit.Number("vfactor", 0, c.value_factor);
  visit.Number("shift", 0, c.shift);
  visit.Word("reverse", Words{"no", "yes"}, c.reverse);
  visit.Number("repeat", 1, c.repeat);
}

class Reader {
 public:
  explicit Reader(CaseLineReader& reader) : reader_(reader) {}

  template <typename T>
  void Word(std::string_view key, const Words& words, T& field) {
    int index = static_cast<int>(field);
    reader_.ReadWord(key, words, &index);
    field = static_cast<T>(index);
  }
  void Number(std::string_view key, int64_t min, int64_t& field) { reader_.Read(key, min, &field); }
  void Number(std::string_view key, int64_t, uint64_t& field) { reader_.Read(key, &field); }
  void Number(std::string_view key, int64_t min, double& field) {
    std::string text;
    reader_.Read(key, &text);
    if (text.empty()) return;
    if (!absl::SimpleAtod(text, &field) || !(field >= static_cast<double>(min))) {
      reader_.Fail(key, absl::StrCat("a number >= ", min));
    }
  }

 private:
  CaseLineReader& reader_;
};

// Appends what is not as in `defaults`.
class Printer {
 public:
  explicit Printer(std::string& line) : line_(line) {}

  template <typename T>
  void Word(std::string_view key, const Words& words, const T& field) {
    if (field != T{}) absl::StrAppend(&line_, " ", key, "=", words[static_cast<size_t>(field)]);
  }
  template <typename T>
  void Number(std::string_view key, int64_t, const T& field) {
    const bool one = key == "segments" || key == "pages" || key == "qfactor" || key == "vfactor" ||
                     key == "repeat";
    if (field != static_cast<T>(one ? 1 : 0)) absl::StrAppend(&line_, " ", key, "=", field);
  }

 private:
  std::string& line_;
};

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

void CheckFields(CaseLineReader& reader, const AttentionCase& c) {
  if (c.nan_request >= static_cast<int64_t>(c.requests.size())) {
    reader.Fail("nan", "in a request that there is");
  }
  if (!IsFloat(c.dtype)) reader.Fail("dtype", "f32, f16 or bf16");
  if (c.kv == KvKind::kSame && (c.scales != ScaleKind::kNone || c.fp8_query)) {
    reader.Fail("kv", "an fp8 type, for scales or an fp8 query");
  }
  if (c.keys == KeyMode::kSplit && c.rows != RowScope::kAll) {
    reader.Fail("rows", "all, if states of all rows are merged");
  }
  if (c.partial() && c.out == OutKind::kE4M3) reader.Fail("out", "no fp8 type for a partial state");
  if (c.evict && c.window < 1) reader.Fail("window", "given, if blocks before it are freed");
  if (c.kv_heads % c.repeat != 0) {
    reader.Fail("repeat", "a divisor of the KV heads");
  }
  for (const CaseRequest& request : c.requests) {
    if (request.context < c.shift) reader.Fail("shift", "at most each context");
  }
}

}  // namespace

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
  if (!plain_ids) absl::StrAppend(&line, " ids=", absl::StrJoin(ids, ","));
  Printer printer(line);
  VisitFields(*this, printer);
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
  Reader fields(reader);
  VisitFields(c, fields);
  ReadNan(reader, c);
  CheckFields(reader, c);
  RETURN_IF_ERROR(reader.Finish());
  return c;
}

}  // namespace weft::testing
