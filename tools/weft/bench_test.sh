#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weft bench, every kind of work, tiny: on the reference and on the first Vulkan device. Where there
# is none that half says so, unless WEFT_REQUIRE_BACKENDS names vulkan.
set -u
weft=$(readlink -f "$1")
cd "$TEST_TMPDIR" || exit 1

fail() {
  echo "FAIL: $*"
  exit 1
}

# refuse TEXT ARGUMENT...: exit code 2 and one line with TEXT.
refuse() {
  "$weft" bench "${@:2}" >out 2>err
  local code=$?
  [[ $code == 2 ]] || fail "weft bench ${*:2} exits with $code: $(cat err)"
  grep -qF -- "$1" err || fail "weft bench ${*:2} says '$(cat err)', not '$1'"
}

refuse "--preset=huge: no such preset; there are full and tiny" --preset=huge
refuse "--cases=(: not a regular expression" "--cases=("
refuse "--cases=nothing: matches no case" --cases=nothing
refuse "--seconds=0: not a number above 0" --seconds=0
refuse "--compare=absent.json: cannot be read" --compare=absent.json
refuse "--json=nowhere/x.json: there is no such folder" --json=nowhere/x.json
echo '{}' >other.json
refuse "--compare=other.json: not what weft bench --json writes" --compare=other.json
"$weft" bench --list --cases=decode >out || fail "--list"
[[ $(wc -l <out) == 10 ]] || fail "decode cases: $(cat out)"

"$weft" bench --backend=reference --preset=tiny --commit=abc --json=old.json >out 2>err ||
  fail "reference: $(cat out err)"
cat out
grep -q '"commit": "abc"' old.json || fail "no commit in the file"
grep -q '"verdict": "FAILED"' old.json && fail "a row failed"
[[ $(grep -c '"us":' old.json) == 42 ]] || fail "rows: $(grep -c '"us":' old.json)"
"$weft" bench --backend=reference --preset=tiny --cases='decode/b64' --compare=old.json >out 2>err ||
  fail "compare: $(cat out err)"
grep -q 'against reference (float32), commit abc' out || fail "no comparison: $(cat out)"
grep -Eq '^decode/b64_8k +[0-9.]+ +[0-9.]+ +[0-9.]+' out || fail "no ratio: $(cat out)"

"$weft" bench --backend=vulkan --preset=tiny --json=vulkan.json >out 2>err
code=$?
if [[ $code == 3 && ,${WEFT_REQUIRE_BACKENDS:-}, != *,vulkan,* ]]; then
  echo "skipped: $(cat err)"
  exit 0
fi
cat out
[[ $code == 0 ]] || fail "vulkan: $(cat err)"
grep -q '"verdict": "FAILED"' vulkan.json && fail "a row failed"
[[ $(grep -c '"us":' vulkan.json) == 42 ]] || fail "rows: $(grep -c '"us":' vulkan.json)"
