// SPDX-License-Identifier: Apache-2.0
//
// Cases in which every pair of feature values occurs: what breaks only when two features meet is
// found with some hundred cases instead of millions.
#ifndef WEFT_TESTING_CONFORMANCE_PAIRWISE_H_
#define WEFT_TESTING_CONFORMANCE_PAIRWISE_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace weft::testing {

// A feature and the words that a case line has for its values; one of them may be "".
struct Factor {
  std::string_view name;
  std::vector<std::string_view> values;
};

// Whether two values of two factors may stand in one line. Asked with the factors in the order of
// the list.
using MayMeet = bool (*)(const Factor& a, size_t a_value, const Factor& b, size_t b_value);

// Rows of value indices, one for each factor, so that every two values that may meet do so in some
// row. Greedy and deterministic. Each factor must have a value that may meet all others.
std::vector<std::vector<size_t>> CoveringArray(const std::vector<Factor>& factors,
                                               MayMeet may_meet);

// The features of attention, and when they may meet.
const std::vector<Factor>& AttentionFactors();
bool FactorsMayMeet(const Factor& a, size_t a_value, const Factor& b, size_t b_value);

// Lines for AttentionCase::Parse.
std::vector<std::string> PairwiseLines();

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_PAIRWISE_H_
