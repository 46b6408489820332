// SPDX-License-Identifier: Apache-2.0
//
// What must hold for every input. Each function makes a case of any bytes, runs the code, and dies
// with a message (CHECK) if something is wrong. libFuzzer drives them (--config=fuzz), and
// corpus_test drives them over the checked-in corpus and some mutations of it as an ordinary test.
#ifndef WEFT_TESTING_FUZZ_PROPERTIES_H_
#define WEFT_TESTING_FUZZ_PROPERTIES_H_

#include <cstdint>

#include "absl/types/span.h"

namespace weft::fuzz {

// AttentionMetadataBuilder over hostile batches: the verdict is that of a model in 128-bit
// arithmetic; what is accepted has the right arrays, and the plans of all ranks stay inside the
// cache.
void MetadataProperty(absl::Span<const uint8_t> bytes);

// PcpPartition, all ranks together: P1 to P5 of docs/reliability.md.
void PartitionProperty(absl::Span<const uint8_t> bytes);

// ParseTrace over a file's text: a trace that keeps its promises, or one line that tells why not.
// A first byte of 0: the rest are the numbers of a Mooncake trace, whose verdict is known.
void TraceProperty(absl::Span<const uint8_t> bytes);

// SafeTensorsFile::Parse: the first byte says how many of the last bytes are data (255: the rest is
// the whole file); what is between is the header. Held to an independent reading of the header.
void SafeTensorsProperty(absl::Span<const uint8_t> bytes);

// ParseManifest, and the arguments of the cases it gives.
void ManifestProperty(absl::Span<const uint8_t> bytes);

}  // namespace weft::fuzz

#endif  // WEFT_TESTING_FUZZ_PROPERTIES_H_
