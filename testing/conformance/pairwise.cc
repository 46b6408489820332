// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/pairwise.h"

#include <cstddef>

#include "absl/strings/str_cat.h"

namespace weft::testing {
namespace {

constexpr size_t kFree = static_cast<size_t>(-1);

// Which pairs of values still have to meet.
class Pairs {
 public:
  Pairs(const std::vector<Factor>& factors, MayMeet may_meet)
      : factors_(factors), may_meet_(may_meet) {
    for (const Factor& factor : factors) {
      first_.push_back(total_);
      total_ += factor.values.size();
    }
    open_.assign(total_ * total_, false);
    for (size_t i = 0; i < factors.size(); ++i) {
      for (size_t j = i + 1; j < factors.size(); ++j) {
        for (size_t a = 0; a < factors[i].values.size(); ++a) {
          for (size_t b = 0; b < factors[j].values.size(); ++b) {
            if (Allowed(i, a, j, b)) Set(i, a, j, b, true);
          }
        }
      }
    }
  }

  bool Allowed(size_t i, size_t a, size_t j, size_t b) const {
    return i < j ? may_meet_(factors_[i], a, factors_[j], b)
                 : may_meet_(factors_[j], b, factors_[i], a);
  }
  bool Open(size_t i, size_t a, size_t j, size_t b) const {
    return open_[(first_[i] + a) * total_ + first_[j] + b];
  }
  void Close(const std::vector<size_t>& row) {
    for (size_t i = 0; i < row.size(); ++i) {
      for (size_t j = i + 1; j < row.size(); ++j) Set(i, row[i], j, row[j], false);
    }
  }
  // Assigns the first pair that is open to `row`, all of which is free.
  bool Start(std::vector<size_t>& row) const {
    for (size_t i = 0; i < factors_.size(); ++i) {
      for (size_t j = i + 1; j < factors_.size(); ++j) {
        for (size_t a = 0; a < factors_[i].values.size(); ++a) {
          for (size_t b = 0; b < factors_[j].values.size(); ++b) {
            if (!Open(i, a, j, b)) continue;
            row[i] = a;
            row[j] = b;
            return true;
          }
        }
      }
    }
    return false;
  }

 private:
  void Set(size_t i, size_t a, size_t j, size_t b, bool open) {
    open_[(first_[i] + a) * total_ + first_[j] + b] = open;
    open_[(first_[j] + b) * total_ + first_[i] + a] = open;
  }

  const std::vector<Factor>& factors_;
  MayMeet may_meet_;
  std::vector<size_t> first_;
  size_t total_ = 0;
  std::vector<bool> open_;
};

// The value of factor `i` that closes most pairs with what `row` has; the least used one of those.
size_t BestValue(const Pairs& pairs, const std::vector<Factor>& factors,
                 const std::vector<size_t>& row, size_t i, const std::vector<size_t>& uses) {
  size_t best = kFree, best_closed = 0;
  for (size_t a = 0; a < factors[i].values.size(); ++a) {
    size_t closed = 0;
    bool allowed = true;
    for (size_t j = 0; j < row.size(); ++j) {
      if (row[j] == kFree) continue;
      allowed = allowed && pairs.Allowed(i, a, j, row[j]);
      closed += pairs.Open(i, a, j, row[j]) ? 1 : 0;
    }
    if (!allowed) continue;
    const bool better =
        best == kFree || closed > best_closed || (closed == best_closed && uses[a] < uses[best]);
    if (!better) continue;
    best = a;
    best_closed = closed;
  }
  return best;
}

}  // namespace

std::vector<std::vector<size_t>> CoveringArray(const std::vector<Factor>& factors,
                                               MayMeet may_meet) {
  Pairs pairs(factors, may_meet);
  std::vector<std::vector<size_t>> rows;
  std::vector<std::vector<size_t>> uses;
  for (const Factor& factor : factors) uses.emplace_back(factor.values.size(), 0);
  for (;;) {
    std::vector<size_t> row(factors.size(), kFree);
    if (!pairs.Start(row)) return rows;
    for (size_t i = 0; i < factors.size(); ++i) {
      if (row[i] == kFree) row[i] = BestValue(pairs, factors, row, i, uses[i]);
      ++uses[i][row[i]];
    }
    pairs.Close(row);
    rows.push_back(std::move(row));
  }
}

const std::vector<Factor>& AttentionFactors() {
  static const auto* const factors = new std::vector<Factor>{
      {"heads",
       {"heads=4/2", "heads=2/2", "heads=3/1", "heads=4/1", "heads=5/1", "heads=6/1", "heads=7/1",
        "heads=16/2", "heads=16/1", "heads=64/1"}},
      {"block",
       {"block=16", "block=1", "block=3", "block=17", "block=32", "block=64", "block=128",
        "block=544"}},
      // Few (dtype, head size up to 64, 128, 256): each costs a backend kernels.
      {"shape",
       {"dtype=f16 d=64", "dtype=bf16 d=80", "dtype=f32 d=33", "dtype=f16 d=200", "dtype=bf16 d=46",
        "dtype=f32 d=72"}},
      {"kv",
       {"", "kv=f8e4m3", "kv=f8e4m3 scales=tensor", "kv=f8e4m3 scales=head", "kv=f8e5m2",
        "kv=f8e5m2 scales=head"}},
      {"keys", {"", "keys=context", "keys=new", "keys=split", "keys=shared"}},
      {"batch",
       {"q=1,5,2 ctx=40,12,530 kinds=d,p,d", "q=1,1,17 ctx=513,1,3 kinds=d,d,p",
        "q=3,0,20,1 ctx=0,5,511,0 kinds=p,d,p,p", "q=2,19 ctx=17,0 kinds=d,p"}},
      {"window", {"", "window=1", "window=17", "window=300 evict=yes"}},
      {"layout", {"", "layout=hnd", "layout=x", "layout=apart"}},
      {"out", {"", "out=f32", "out=f8e4m3"}},
      {"io", {"", "io=strided", "io=offset"}},
      {"lse", {"", "lse=strided", "lse=none"}},
      {"rows", {"", "rows=decodes", "rows=prefills"}},
      {"data", {"", "data=random", "data=large"}},
      {"query", {"", "query=f8e4m3"}},
      {"softcap", {"", "softcap=20"}},
      {"alibi", {"", "alibi=some"}},
      {"sinks", {"", "sinks=some"}},
      {"segments", {"", "segments=3"}},
      {"ranks", {"", "pcp=3"}},
  };
  return *factors;
}

bool FactorsMayMeet(const Factor& a, size_t a_value, const Factor& b, size_t b_value) {
  const std::string_view x = a.values[a_value], y = b.values[b_value];
  // Factors come in the order of the list above: kv, keys, out, rows, query.
  if (a.name == "kv" && b.name == "query") return y.empty() || !x.empty();
  // A partial state is merged before it is rounded.
  if (a.name == "keys" && y == "out=f8e4m3") return x != "keys=context" && x != "keys=new";
  if (x == "keys=split" && b.name == "rows") return y.empty();
  return true;
}

std::vector<std::string> PairwiseLines() {
  const std::vector<Factor>& factors = AttentionFactors();
  std::vector<std::string> lines;
  for (const std::vector<size_t>& row : CoveringArray(factors, FactorsMayMeet)) {
    std::string line = absl::StrCat("attention seed=", 1000 + lines.size());
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string_view value = factors[i].values[row[i]];
      if (!value.empty()) absl::StrAppend(&line, " ", value);
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace weft::testing
