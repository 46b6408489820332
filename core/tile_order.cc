// SPDX-License-Identifier: Apache-2.0
#include "core/tile_order.h"

#include <algorithm>
#include <cstddef>
#include <map>

namespace weft {
namespace {

// So many times all tiles that a device works at are a group's, at least: within a group too the
// long ones come first and the short ones last.
constexpr int64_t kRoundsOfGroup = 2;

int64_t KeysOf(const PrefillTile& tile) {
  return int64_t{tile.first_position} + tile.num_rows - tile.first_key;
}

struct OfRequest {
  int32_t request = 0;
  int64_t longest = 0;  // keys of a tile
  int64_t tiles = 0;
};

// The group of each request, in the order of groups.
std::map<int32_t, int64_t> GroupsOf(int64_t least_tiles, const std::vector<PrefillTile>& tiles) {
  std::map<int32_t, OfRequest> by_request;
  for (const PrefillTile& tile : tiles) {
    OfRequest& of = by_request[tile.request];
    of.request = tile.request;
    of.longest = std::max(of.longest, KeysOf(tile));
    ++of.tiles;
  }
  std::vector<OfRequest> requests;
  requests.reserve(by_request.size());
  for (const auto& [request, of] : by_request) requests.push_back(of);
  std::stable_sort(requests.begin(), requests.end(),
                   [](const OfRequest& a, const OfRequest& b) { return a.longest > b.longest; });
  std::map<int32_t, int64_t> groups;
  int64_t group = 0;
  int64_t in_group = 0;
  auto left = static_cast<int64_t>(tiles.size());
  for (const OfRequest& of : requests) {
    groups[of.request] = group;
    in_group += of.tiles;
    left -= of.tiles;
    // What is left must make a group too.
    if (in_group >= least_tiles && left >= least_tiles) {
      ++group;
      in_group = 0;
    }
  }
  return groups;
}

}  // namespace

void OrderTiles(int64_t tiles_at_once, std::vector<PrefillTile>& tiles) {
  const int64_t least = kRoundsOfGroup * tiles_at_once;
  std::map<int32_t, int64_t> groups;
  if (least > 0 && static_cast<int64_t>(tiles.size()) >= 2 * least) groups = GroupsOf(least, tiles);
  struct Placed {
    int64_t group;
    int64_t keys;
    PrefillTile tile;
  };
  std::vector<Placed> placed;
  placed.reserve(tiles.size());
  for (const PrefillTile& tile : tiles)
    placed.push_back({groups.empty() ? 0 : groups[tile.request], KeysOf(tile), tile});
  std::stable_sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) {
    return a.group != b.group ? a.group < b.group : a.keys > b.keys;
  });
  for (size_t i = 0; i < tiles.size(); ++i) tiles[i] = placed[i].tile;
}

}  // namespace weft
