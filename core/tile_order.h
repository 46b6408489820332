// SPDX-License-Identifier: Apache-2.0
//
// The order in which a device takes up the prefill tiles of a plan. Results do not depend on it.
#ifndef WEFT_CORE_TILE_ORDER_H_
#define WEFT_CORE_TILE_ORDER_H_

#include <cstdint>
#include <vector>

#include "core/plan_tables.h"

namespace weft {

// Tiles with many keys first, so that none that takes long begins when all others are done. Where
// there are so many tiles that a device which works at `tiles_at_once` of them (0: not known) gets
// through a few requests several times before it comes to the next, requests are taken a few at a
// time, those with long tiles first: what they read stays in the cache between memory and
// multiprocessors, which costs less power than memory does (docs/measurements). What is equal keeps
// its order. tiles_at_once >= 0; cannot fail.
void OrderTiles(int64_t tiles_at_once, std::vector<PrefillTile>& tiles);

}  // namespace weft

#endif  // WEFT_CORE_TILE_ORDER_H_
