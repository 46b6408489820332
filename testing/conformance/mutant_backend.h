// SPDX-License-Identifier: Apache-2.0
//
// A backend with a planted fault, to see the checks fail: the reference backend's memory and
// queue, but the operations are done here on host memory, and one of them wrongly.
#ifndef WEFT_TESTING_CONFORMANCE_MUTANT_BACKEND_H_
#define WEFT_TESTING_CONFORMANCE_MUTANT_BACKEND_H_

#include <memory>

#include "core/backend.h"
#include "core/queue.h"
#include "testing/conformance/faults.h"

namespace weft::testing {

// `reference` is reference:0. Everything lives as long as it is used.
std::shared_ptr<Backend> MakeMutant(std::shared_ptr<Backend> reference, Fault fault);

// The operations on host memory, with a fault. The arguments are valid.
void RunMutantAttention(const AttentionArgs& args, Fault fault);
void RunMutantReshape(const ReshapeAndCacheArgs& args, Fault fault);
void RunMutantGather(const GatherRowsArgs& args, Fault fault);
void RunMutantMerge(const MergeStatesArgs& args, Fault fault);
void RunMutantCorrect(const CorrectAttnOutArgs& args, Fault fault);
void RunMutantQuantize(const QuantizeFp8Args& args, Fault fault);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_MUTANT_BACKEND_H_
