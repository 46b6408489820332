#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The command line of weft: exit codes, one-line errors, and what goes to stdout.
set -u
weft=$(readlink -f "$1")
golden=$(readlink -f "$2")
cd "$TEST_TMPDIR" || exit 1
failures=0

fail() {
  echo "FAIL: $*"
  failures=$((failures + 1))
}

# expect CODE TEXT ARGUMENT...: exits with CODE; where that is not 0 there is nothing on stdout and
# one line on stderr, which holds TEXT.
expect() {
  local code=$1 text=$2
  shift 2
  "$weft" "$@" >out 2>err
  local got=$?
  [[ $got == "$code" ]] || fail "weft $* exits with $got instead of $code: $(cat err)"
  grep -qF -- "$text" err || [[ -z $text ]] || fail "weft $* says '$(cat err)', not '$text'"
  if [[ $code != 0 ]]; then
    [[ $(wc -l <err) == 1 ]] || fail "weft $*: stderr is not one line: $(cat err)"
    [[ ! -s out ]] || fail "weft $*: something on stdout: $(head -c 200 out)"
  fi
}

field() { sed -n "s/^  \"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p" out; }

# ---- Flags
expect 2 "a command is needed"
expect 2 "no such command: sing" sing
expect 2 "unknown argument --foo=3" replay --foo=3
expect 2 "unknown argument bar" replay bar
expect 2 "--json=1: takes no value" replay --json=1
expect 2 "--pcp: no value" replay --pcp
expect 2 "--trace=: no value" replay --trace=
expect 2 "--pcp=2: given more than once" replay --pcp=1 --pcp=2
expect 2 "--pcp=x: not a whole number" replay --pcp=x
expect 2 "--pcp=0: must be from 1 to 64" replay --pcp=0
expect 2 "--pcp -1: must be from" replay --pcp -1
expect 2 "--pcp=1e3: not a whole number" replay --pcp=1e3
expect 2 "--requests=0: must be" replay --requests=0
expect 2 "--requests=99999999999999999999: must be" replay --requests=99999999999999999999
expect 2 "--layers=0: must be" replay --layers=0
expect 2 "--check-every=0: must be" replay --check-every=0
expect 2 "--seed=-1: must be" replay --seed=-1
expect 2 "--seed=a\\nb: not a whole number" replay "--seed=a
b"
expect 2 "--scale=0: not a number above 0" replay --scale=0
expect 2 "--scale=1.5: not a number above 0" replay --scale=1.5
expect 2 "--scale=nan: not a number above 0" replay --scale=nan
expect 2 "--scale=inf: not a number above 0" replay --scale=inf
expect 2 "--scale=: no value" replay --scale=
expect 2 "--preset=gpt: no such preset; there are llama-8b, llama-70b-tp8, qwen3-like, gpt-oss-like, " \
  replay --preset=gpt
mkdir -p folder
expect 2 "--report=folder: it is a directory" replay --report=folder
expect 2 "--trace-out=nowhere/t.json: there is no such folder" replay --trace-out=nowhere/t.json
expect 2 "--report=: no value" replay --report=
expect 2 "--kv-dtype=fp8: no such type; there are f16, bf16, fp8_e4m3 and fp8_e5m2" \
  replay --kv-dtype=fp8
expect 2 "--dcp=2: not together with --pcp=2" replay --dcp=2 --pcp=2
expect 2 "--dcp=3: DCP of 3 ranks: 32 heads cannot be dealt out evenly" replay --dcp=3
expect 2 "--dcp=2: DCP of 2 ranks: a layer with a window is not supported" \
  replay --dcp=2 --preset=gpt-oss-like
expect 2 "--backend=metal: no such backend" replay --backend=metal
expect 2 "--backend=Vulkan: no such backend" replay --backend=Vulkan
expect 2 "...: not a whole number" replay "--seed=$(printf 'x%.0s' {1..500})"
expect 3 "--backend=reference:7: no device" replay --backend=reference:7
expect 0 "" --help
expect 0 "" replay --help
grep -q -- --check-every out || fail "replay --help does not list --check-every"
if "$weft" info --json | grep -A1 '"cuda"' | grep -q '"available": false'; then
  expect 3 "--backend=cuda: " replay --backend=cuda
fi

# ---- Traces; a bad one is found before a backend that is not there
line='{"timestamp": 0, "input_length": 600, "output_length": 20, "hash_ids": [0, 1]}'
printf '%s\n\n%s\n' "$line" '{"timestamp": 0, "input_length": 600}' >late.jsonl
expect 2 "late.jsonl:3: no field \"output_length\"" replay --trace=late.jsonl --backend=reference:7
expect 2 "late.jsonl:3: " replay --trace=late.jsonl --requests=1
printf 'TIMESTAMP,ContextTokens,GeneratedTokens\n\n2023-11-16 18:15:46,0,1\n' >zero.csv
expect 2 "zero.csv:3: ContextTokens: must be from 1 to 1073741824: 0" replay --trace=zero.csv
: >empty
expect 2 "empty:1: the trace has no request" replay --trace=empty
expect 2 "cannot read the trace nowhere.csv: no such file" replay --trace=nowhere.csv
expect 2 "cannot read the trace folder: it is a directory" replay --trace=folder
head -c 4096 /dev/zero >binary
expect 2 "binary:1: neither Mooncake JSONL nor an Azure CSV" replay --trace=binary
printf 'TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1000000000,9\n' >huge.csv
expect 2 "the longest request has 1000000009 tokens" replay --trace=huge.csv --scale=1

# ---- A replay: one JSON object, the same digest for every number of ranks
for i in {0..11}; do echo "${line/ 0,/ $((i * 1000)),}"; done >same.jsonl
digests=
for pcp in 1 2 4; do
  expect 0 "" replay --backend=reference --preset=small --requests=40 --scale=0.01 --pcp=$pcp \
    --check-every=4 --json
  [[ $(head -c 1 out) == "{" && $(tail -n 1 out) == "}" ]] || fail "--json: $(head -c 200 out)"
  [[ $(field mismatches) == 0 ]] || fail "--pcp=$pcp: mismatches"
  [[ $(field checked_steps) -gt 1 ]] || fail "--pcp=$pcp: checked_steps $(field checked_steps)"
  [[ $(field requests) == 40 && $(field pcp) == "$pcp" ]] || fail "--pcp=$pcp: $(cat out)"
  [[ $(field backend) == reference ]] || fail "backend: $(cat out)"
  for name in device prefill_tokens decode_tokens steps bytes_communicated; do
    [[ -n $(field $name) ]] || fail "--json has no $name"
  done
  digests+="$(field output_digest) "
done
read -r one two four <<<"$digests"
[[ -n $one && $one == "$two" && $one == "$four" ]] || fail "digests differ: $digests"
expect 0 "" replay --backend=reference --preset=small --trace=same.jsonl --scale=0.05
# 11 requests find the first block, of 26 tokens, of the first.
grep -q "^prefix hits  *286 tokens" out || fail "reuse: $(grep prefix out)"
# Presets with windows, fp8 caches, and ranks that share the cache.
for flags in --preset=gpt-oss-like --preset=gemma-like --kv-dtype=fp8_e4m3 --kv-dtype=fp8_e5m2 \
  "--preset=small --dcp=2" "--preset=small --dcp=4 --kv-dtype=fp8_e4m3"; do
  # shellcheck disable=SC2086
  expect 0 "" replay --backend=reference --requests=4 --scale=0.005 --check-every=2 --json $flags
  [[ $(field mismatches) == 0 && $(field checked_steps) -gt 1 ]] || fail "$flags: $(cat out)"
done
# The page and the trace, and nothing of them on stdout.
expect 0 "" replay --backend=reference --preset=small --trace=same.jsonl --scale=0.05 --pcp=2 \
  --report=run.html --trace-out=run.json --json
[[ $(head -c 1 out) == "{" && $(tail -n 1 out) == "}" ]] || fail "--json: $(head -c 200 out)"
grep -qF "$(field output_digest)" run.html || fail "the page has no $(field output_digest)"
[[ $(head -n 1 run.html) == "<!doctype html>" ]] || fail "the page: $(head -c 200 run.html)"
grep -q "://" run.html && fail "the page names an address: $(grep -o ".\{20\}://.*" run.html)"
grep -q '"name":"attention"' run.json || fail "the trace: $(head -c 200 run.json)"
BUILD_WORKING_DIRECTORY=$PWD expect 0 "" replay --backend=reference --preset=small \
  --trace=same.jsonl --requests=1 --scale=0.05

# ---- The other commands
expect 0 "" info
grep -q "^reference:0 " out || fail "info: $(cat out)"
expect 0 "" partition --pcp=2 --tokens=1,5,8 --computed=10,0,0 --json
restore='"restore_idx":[0,9,1,2,10,11,12,13,3,4,5,6,14,15,16,17,7,8]'
grep -qF "$restore" out || fail "partition: $(cat out)"
expect 0 "" partition --pcp=1 --tokens=3
expect 2 "request 1" partition --pcp=2 --tokens=5,1 --computed=0,9
expect 2 "--tokens=1,,2: number 2 \"\": not a whole number" partition --pcp=2 --tokens=1,,2
expect 2 "--tokens is required" partition --pcp=2
expect 2 "--computed=1: 1 numbers for the 2 of --tokens=1,2" partition --pcp=2 --tokens=1,2 \
  --computed=1
expect 2 "--tokens=1000000000: " partition --pcp=2 --tokens=1000000000
expect 0 "" check --golden="$golden" --backend=reference
[[ $(tail -n 1 out) == "69 passed, 0 failed" ]] || fail "check: $(tail -n 3 out)"
expect 2 "--golden=nowhere: " check --golden=nowhere --backend=reference
expect 2 "--backend=auto: no such backend" check --golden="$golden" --backend=auto

[[ $failures == 0 ]] || exit 1
echo "all as expected"
