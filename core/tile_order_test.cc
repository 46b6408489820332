// SPDX-License-Identifier: Apache-2.0
#include "core/tile_order.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAreArray;

// Tiles of 32 tokens of one request after the other, of so many tokens each.
std::vector<PrefillTile> TilesOf(const std::vector<int32_t>& lengths) {
  std::vector<PrefillTile> tiles;
  for (size_t r = 0; r < lengths.size(); ++r) {
    for (int32_t at = 0; at < lengths[r]; at += 32) {
      PrefillTile tile = {};
      tile.first_position = at;
      tile.num_rows = std::min(32, lengths[r] - at);
      tile.request = static_cast<int32_t>(r);
      tiles.push_back(tile);
    }
  }
  return tiles;
}

// (request, first position) of each.
std::vector<std::pair<int32_t, int32_t>> NamesOf(const std::vector<PrefillTile>& tiles) {
  std::vector<std::pair<int32_t, int32_t>> names;
  for (const PrefillTile& tile : tiles) names.emplace_back(tile.request, tile.first_position);
  return names;
}

TEST(TileOrder, LongTilesComeFirst) {
  std::vector<PrefillTile> tiles = TilesOf({64, 100});
  OrderTiles(0, tiles);
  EXPECT_THAT(NamesOf(tiles), ElementsAre(std::pair(1, 96), std::pair(1, 64), std::pair(0, 32),
                                          std::pair(1, 32), std::pair(0, 0), std::pair(1, 0)));
}

TEST(TileOrder, KeysBeforeAWindowDoNotCount) {
  std::vector<PrefillTile> tiles = TilesOf({64});
  tiles[1].first_key = 40;
  OrderTiles(0, tiles);
  EXPECT_THAT(NamesOf(tiles), ElementsAre(std::pair(0, 0), std::pair(0, 32)));
}

TEST(TileOrder, FewTilesAreOneGroup) {
  std::vector<PrefillTile> tiles = TilesOf({320, 320});
  std::vector<PrefillTile> alone = tiles;
  OrderTiles(6, tiles);  // 20 tiles, and two groups want 24
  OrderTiles(0, alone);
  EXPECT_EQ(NamesOf(tiles), NamesOf(alone));
}

TEST(TileOrder, ManyTilesAreTakenAFewRequestsAtATime) {
  // 4, 10, 5, 5 tiles; groups of at least 6.
  std::vector<PrefillTile> tiles = TilesOf({128, 320, 160, 160});
  const auto before = NamesOf(tiles);
  OrderTiles(3, tiles);
  const auto names = NamesOf(tiles);
  EXPECT_THAT(names, UnorderedElementsAreArray(before));
  std::vector<int32_t> keys;
  for (const PrefillTile& tile : tiles) keys.push_back(tile.first_position);
  // The longest request, then the three others, whose last one alone would be too few.
  for (int i = 0; i < 10; ++i) EXPECT_EQ(names[i].first, 1) << i;
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.begin() + 10, std::greater<>()));
  EXPECT_TRUE(std::is_sorted(keys.begin() + 10, keys.end(), std::greater<>()));
}

TEST(TileOrder, EachGroupKeepsTheDeviceBusy) {
  for (int64_t at_once : {1, 2, 5, 33}) {
    std::vector<PrefillTile> tiles = TilesOf({2048, 300, 2048, 64, 32, 777, 2048, 2048, 64});
    const auto before = NamesOf(tiles);
    OrderTiles(at_once, tiles);
    EXPECT_THAT(NamesOf(tiles), UnorderedElementsAreArray(before));
    // A group ends where keys grow.
    int64_t in_group = 0;
    for (size_t i = 0; i < tiles.size(); ++i) {
      const bool begins = i > 0 && tiles[i].first_position > tiles[i - 1].first_position;
      if (begins) {
        EXPECT_GE(in_group, 2 * at_once);
        in_group = 0;
      }
      ++in_group;
    }
    EXPECT_GE(in_group, std::min<int64_t>(2 * at_once, static_cast<int64_t>(tiles.size())));
  }
}

}  // namespace
}  // namespace weft
