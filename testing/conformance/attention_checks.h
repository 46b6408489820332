// SPDX-License-Identifier: Apache-2.0
//
// What attention must satisfy on every backend. Each check returns OK, FAILED_PRECONDITION with a
// report that ends in the one-line case, or UNIMPLEMENTED if the backend does not support the case.
#ifndef WEFT_TESTING_CONFORMANCE_ATTENTION_CHECKS_H_
#define WEFT_TESTING_CONFORMANCE_ATTENTION_CHECKS_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/backend.h"
#include "testing/conformance/attention_case.h"

namespace weft::testing {

// Against the float64 oracle, and exactly where the answer is known exactly.
absl::Status CheckAttention(Backend& backend, const AttentionCase& c);

// A property: the case run in two ways gives the same bits, or nearly the same numbers (design.md,
// semantics; reliability.md, 6).
struct AttentionProperty {
  std::string_view name;
  absl::Status (*check)(Backend& backend, const AttentionCase& c);
};

// Of what a result does not depend; bit by bit.
// repeat               run again
// pages                other page numbers, other segments, other tails of block tables (P7)
// page_size            pages of 1, 3, 16, 17, 32, 64, 128 and 544 tokens (P8)
// layout               other layouts and strides of cache, query, output and LSE; no LSE (P9)
// batch                each request alone, and the batch in reverse (P6, P11)
// chunks               each request in pieces, as it would come in several steps (P12)
// world_size           2, 3 and 4 ranks
// causality            NaN in the keys or values of positions that a row does not see (P19)
// independence         other data in one request (P20)
// steps                as two steps of two layers, all submitted at once
// poison               other things where no token is, keys and values apart (section 7)
const std::vector<AttentionProperty>& IndependenceProperties();

// What features do. Bit by bit where it is not said otherwise.
// kinds                decodes as prefills and the reverse, within the tolerance (P12)
// split                context and new tokens apart, then merged: the oracle's answer; an empty
//                      context changes nothing (P10)
// window               longer than all: as none; 1: the row's own value; 2 and 17 with the blocks
//                      before them freed (P13)
// gqa                  as many KV heads as heads, with repeated data, within the tolerance (P14)
// alibi                slopes of 0: as none; all positions a granule further: no change (P15)
// softcap              a large one is nearly none (P16)
// sinks                of -inf: as none; with a split they count once (P16)
// scale                twice the query and half the scale; twice the values: twice the output (P17)
// order                the keys of the context in reverse, within the tolerance (P17)
// quantized            numbers that fp8 holds, powers of two as scales: as the plain cache (P18)
const std::vector<AttentionProperty>& FeatureProperties();

// Both.
const std::vector<AttentionProperty>& AttentionProperties();

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_ATTENTION_CHECKS_H_
