#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [OPTION]... -- judges weft on this machine's GPU; packed by tools/gpu_run.sh.
#
#   --steps=A,B,...    of info, conformance, tests, sanitizers, replay, bench, in this order (all but
#                      replay and bench)
#   --require=A,B      backends that must not skip themselves: cuda,vulkan
#   --cases=FILTER     a gtest filter for the conformance suites (*)
#   --sanitize=FILTER  a gtest filter for what runs under compute-sanitizer (the golden cases)
#   --program=NAME     the program of bin/ that runs there (cuda_conformance_test)
#   --tools=A,B        of memcheck, racecheck, initcheck, synccheck (all)
#   --bench="ARGS"     of `weft bench`; adds the step
#   --replay="ARGS"    of `weft replay`; adds the step
#   --timeout=SECONDS  for each program, each checker and each other command (300)
#   --out=FOLDER       for the logs ($OUT, or ./out)
#
# Exit code: 0 if nothing failed, ran too long, or died; 1 otherwise; 2 for wrong usage. What is not on
# the machine (a backend, compute-sanitizer) is said and is no failure, unless --require names it.
set -uo pipefail
started=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 2
steps=info,conformance,tests,sanitizers
cases='*' sanitize='*GoldenTest*' program=cuda_conformance_test
tools=memcheck,racecheck,initcheck,synccheck
bench='' replay='' limit=300 out=${OUT:-$started/out}
for argument in "$@"; do
  value=${argument#*=}
  case $argument in
    --steps=*) steps=$value ;;
    --require=*) export WEFT_REQUIRE_BACKENDS=$value ;;
    --cases=*) cases=$value ;;
    --sanitize=*) sanitize=$value ;;
    --program=*) program=$value ;;
    --tools=*) tools=$value ;;
    --bench=*) bench=$value steps+=,bench ;;
    --replay=*) replay=$value steps+=,replay ;;
    --timeout=*) limit=$value ;;
    --out=*) out=$(cd "$started" && realpath -m "$value") ;;
    *) sed -n '3,/^set/{/^#/s/^# \{0,1\}//p}' "$PWD/run.sh"; [[ $argument == --help ]] && exit 0 || exit 2 ;;
  esac
done
[[ $limit =~ ^[0-9]+$ ]] || { echo "--timeout=$limit: no number of seconds" >&2; exit 2; }
for step in ${steps//,/ }; do
  case $step in
    info | conformance | tests | sanitizers | replay | bench) ;;
    *) echo "--steps: there is no step $step" >&2; exit 2 ;;
  esac
done
mkdir -p "$out" || exit 2
failed=0
summary=$out/summary.txt
: >"$summary"

wanted() { [[ ,$steps, == *,$1,* ]]; }
say() { printf '%s\n' "$*" | tee -a "$summary"; }
required() { [[ ,${WEFT_REQUIRE_BACKENDS:-}, == *,$1,* ]]; }

# run LOG COMMAND...: within the limit. Sets code and seconds; says how it ended if not by itself.
run() {
  local log=$1 begin=$SECONDS
  shift
  timeout -k 10 "$limit" "$@" >"$out/$log" 2>&1
  code=$?
  seconds=$((SECONDS - begin))
  case $code in
    124 | 137) ended="over $limit s" ;;
    *) if ((code > 128 && code <= 192)); then ended="died of signal $((code - 128))"; else ended="exit $code"; fi ;;
  esac
}

# counts LOG [PATTERN [NOT]]: passed failed skipped unfinished, of the tests whose names have the
# pattern, or have it not.
counts() {
  awk -v pattern="${2:-.}" -v without="${3:-}" '
    $1 != "[" || $3 != "]" || ($4 ~ pattern) == (without != "") { next }
    $2 == "RUN" { unfinished++; next }
    !/\([0-9]+ ms\)$/ { next }  # the list at the end names them again
    $2 == "OK" || $2 == "FAILED" || $2 == "SKIPPED" { seen[$2]++; unfinished-- }
    END { print seen["OK"] + 0, seen["FAILED"] + 0, seen["SKIPPED"] + 0, unfinished + 0 }' "$out/$1"
}

# fail_unless_good NAME: of what has run last, with the log NAME.log. That no test has run is no success.
fail_unless_good() {
  local ran
  ran=$(counts "$1.log")
  [[ $code != 0 || $ran != "0 0 0 0" ]] || ended="no test has such a name"
  [[ $code == 0 && $ran != "0 0 0 0" ]] && return
  failed=1
  say "$1: FAILED: $ended; see $1.log"
}

info() {
  say "weft $(tr '\n' ' ' <commit)"
  say "$(uname -srm), $(nproc) cores"
  if command -v nvidia-smi >/dev/null; then
    say "$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>&1)"
  fi
  run info.log bin/weft info
  say "$(cat "$out/info.log")"
}

# conformance_of NAME BACKEND [VARIABLE=VALUE]...: the backend's suite, in this environment.
conformance_of() {
  local name=$1 backend=$2 suite passed failing skipped unfinished
  shift 2
  if [[ ! -x bin/${backend}_conformance_test ]]; then
    say "$backend: its conformance suite was not packed"
    required "$backend" && failed=1
    return
  fi
  run "$name.log" env "$@" "bin/${backend}_conformance_test" --gtest_filter="$cases"
  for suite in golden conformance; do
    read -r passed failing skipped unfinished <<<"$(counts "$name.log" GoldenTest "${suite#golden}")"
    say "$(printf '%-12s %-16s %8d %8d %8d %10d %8d' "$suite" "$name" "$passed" "$failing" "$skipped" "$unfinished" "$seconds")"
  done
  fail_unless_good "$name"
  grep -hE '^\[  FAILED  \].*\([0-9]+ ms\)$' "$out/$name.log" | head -n 20 | tee -a "$summary"
  grep -hE '^[0-9]+ pipelines$' "$out/$name.log" | tee -a "$summary"
}

conformance() {
  say ''
  say "$(printf '%-12s %-16s %8s %8s %8s %10s %8s' suite backend passed failed skipped unfinished seconds)"
  conformance_of cuda cuda
  conformance_of cuda_large_batch cuda WEFT_CUDA_PRETEND_MULTIPROCESSORS=1
  conformance_of vulkan vulkan
}

tests() {
  local test name passed failing skipped
  say ''
  say "$(printf '%-32s %8s %8s %8s %8s' test passed failed skipped seconds)"
  for test in bin/*_test; do
    name=${test##*/}
    [[ $name == *_conformance_test ]] && continue
    run "$name.log" "$test"
    read -r passed failing skipped _ <<<"$(counts "$name.log")"
    say "$(printf '%-32s %8d %8d %8d %8d' "$name" "$passed" "$failing" "$skipped" "$seconds")"
    fail_unless_good "$name"
  done
}

sanitizers() {
  local tool checker candidate passed failing skipped unfinished
  say ''
  for candidate in compute-sanitizer /usr/local/cuda/bin/compute-sanitizer /opt/cuda/bin/compute-sanitizer; do
    checker=$(command -v "$candidate") && break
  done
  if [[ -z ${checker:-} ]]; then say "compute-sanitizer is not on this machine"; return; fi
  if [[ ! -x bin/$program ]]; then say "compute-sanitizer: no program $program was packed"; failed=1; return; fi
  say "compute-sanitizer: $program --gtest_filter=$sanitize"
  for tool in ${tools//,/ }; do
    run "$tool.log" "$checker" --tool "$tool" --error-exitcode 99 "bin/$program" --gtest_filter="$sanitize"
    read -r passed failing skipped unfinished <<<"$(counts "$tool.log")"
    say "$(printf '%-10s' "$tool") $passed passed, $failing failed, $skipped skipped, $unfinished unfinished; $seconds s;" \
      "$(grep -hE '=+ .*SUMMARY' "$out/$tool.log" | tail -n 1)"
    fail_unless_good "$tool"
    if [[ ! -x bin/checker_faults ]]; then say "$tool: its planted fault was not packed"; continue; fi
    run "$tool.fault.log" "$checker" --tool "$tool" --error-exitcode 99 bin/checker_faults "$tool"
    if ((code == 99)); then
      say "$(printf '%-10s' "$tool") sees a planted fault: $(grep -hE '=+ .*SUMMARY' "$out/$tool.fault.log" | tail -n 1)"
    else
      failed=1
      say "$tool: FAILED to see a planted fault: $ended; see $tool.fault.log"
    fi
  done
}

# weft_step NAME ARGS: a command of weft's, its output in the summary.
weft_step() {
  say ''
  say "weft $1 $2"
  # Split as a shell does; the words are the caller's own.
  # shellcheck disable=SC2086
  run "$1.log" bin/weft "$1" $2
  say "$(tail -n 60 "$out/$1.log")"
  say "$1: $ended, $seconds s"
  ((code == 0)) || failed=1
}

# Where the machine has no Vulkan loader, the one that was packed; where its driver's manifest lies in
# an unusual place, that one.
if ! ldconfig -p 2>/dev/null | grep -q libvulkan.so.1 && [[ -e lib/libvulkan.so.1 ]]; then
  export LD_LIBRARY_PATH=$PWD/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
if [[ -z ${VK_DRIVER_FILES:-} ]] &&
  ! compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null && ! compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null; then
  manifests=$(compgen -G '/usr/local/*/share/vulkan/icd.d/*.json' | paste -sd:)
  [[ -z $manifests ]] || export VK_DRIVER_FILES=$manifests
fi

wanted info && info
wanted conformance && conformance
wanted tests && tests
wanted sanitizers && sanitizers
wanted replay && weft_step replay "$replay"
wanted bench && weft_step bench "$bench"
say ''
if ((failed)); then say "FAILED"; else say "nothing failed"; fi
exit "$failed"
