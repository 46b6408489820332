// SPDX-License-Identifier: Apache-2.0
#include "core/tile_order.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

namespace weft {
namespace {

// So many times all tiles that a device works at are a group's, at least: within a group too the
// long ones come first and the short ones last.
constexpr int64_t kRoundsOfGroup = 2;

int64_t KeysOf(const PrefillTile& tile) {
  return int64_t{tile.first_position} + tile.num_rows - tile.first_key;
}

}  // namespace

void OrderTiles(int64_t tiles_at_once, std::vector<PrefillTile>& tiles) {
  std::stable_sort(tiles.begin(), tiles.end(), [](const PrefillTile& a, const PrefillTile& b) {
    return KeysOf(a) > KeysOf(b);
  });
  const int64_t least = kRoundsOfGroup * tiles_at_once;
  auto left = static_cast<int64_t>(tiles.size());
  if (least == 0 || left < 2 * least) return;
  std::map<int32_t, int64_t> tiles_of, groups;  // by request
  for (const PrefillTile& tile : tiles) ++tiles_of[tile.request];
  int64_t group = 0;
  int64_t in_group = 0;
  for (const PrefillTile& tile : tiles) {  // each request's longest first
    if (!groups.emplace(tile.request, group).second) continue;
    in_group += tiles_of[tile.request];
    left -= tiles_of[tile.request];
    // What is left must make a group too.
    if (in_group >= least && left >= least) {
      ++group;
      in_group = 0;
    }
  }
  std::stable_sort(tiles.begin(), tiles.end(),
                   [&groups](const PrefillTile& a, const PrefillTile& b) {
                     return groups.at(a.request) < groups.at(b.request);
                   });
}

}  // namespace weft
