#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Replays on the first Vulkan device: checked, and one digest for every number of ranks. Where
# there is no device the test passes and says so, unless WEFT_REQUIRE_BACKENDS names vulkan.
set -u
weft=$(readlink -f "$1")
cd "$TEST_TMPDIR" || exit 1
digest=
for pcp in 1 2 4; do
  "$weft" replay --backend=vulkan --preset=small --requests=30 --scale=0.02 --check-every=3 \
    --pcp=$pcp --json >out 2>err
  code=$?
  if [[ $code == 3 && ,${WEFT_REQUIRE_BACKENDS:-}, != *,vulkan,* ]]; then
    echo "skipped: $(cat err)"
    exit 0
  fi
  cat out err
  [[ $code == 0 ]] || exit 1
  grep -q '"mismatches": 0,' out || exit 1
  got=$(sed -n 's/.*"output_digest": "\(.*\)".*/\1/p' out)
  [[ -n $got && $got == "${digest:-$got}" ]] || { echo "digests differ"; exit 1; }
  digest=$got
done
# Windows, sinks, capped logits; caches that round; ranks that share the cache.
for flags in --preset=small-window "--preset=small --kv-dtype=fp8_e4m3" \
  "--preset=small --dcp=2 --kv-dtype=fp8_e5m2"; do
  # shellcheck disable=SC2086
  "$weft" replay --backend=vulkan --requests=20 --scale=0.02 --check-every=3 --json $flags >out || exit 1
  echo "$flags"
  cat out
  grep -q '"mismatches": 0,' out || exit 1
done
