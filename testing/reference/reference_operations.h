// SPDX-License-Identifier: Apache-2.0
//
// The operations of the reference backend other than attention: what core/queue.h says of each, in
// plain loops. Arguments are valid; they run at once.
#ifndef WEFT_TESTING_REFERENCE_REFERENCE_OPERATIONS_H_
#define WEFT_TESTING_REFERENCE_REFERENCE_OPERATIONS_H_

#include "core/queue.h"
#include "testing/reference/precision.h"

namespace weft {

void RunFill(uint64_t destination, int64_t bytes, uint32_t pattern);
// x / scale is computed in float32 whatever the precision of the rest: a cache has one set of bits.
void RunReshapeAndCache(const ReshapeAndCacheArgs& args);
void RunQuantizeFp8(const QuantizeFp8Args& args);
void RunGatherRows(const GatherRowsArgs& args);
void RunMergeStates(const MergeStatesArgs& args, Precision precision);
void RunCorrectAttnOut(const CorrectAttnOutArgs& args, Precision precision);

}  // namespace weft

#endif  // WEFT_TESTING_REFERENCE_REFERENCE_OPERATIONS_H_
