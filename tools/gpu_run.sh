#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/gpu_run.sh [--out=FOLDER] [BAZEL FLAG]... -- packs what a machine with a GPU needs to judge weft.
#
# Builds the CUDA and Vulkan conformance suites, every test that wants a GPU and the weft command, and
# puts them, stripped, with the golden cases and run.sh into FOLDER (.carry), and FOLDER into
# FOLDER.tar.xz, at most 64 MiB: every program holds the same kernels, so that the archive is a small
# part of the folder. The folder is whole: copy it to a machine of the same architecture that has a
# driver but need not have Bazel, a compiler or this repository, and start its run.sh there
# (run.sh --help).
#
#   tools/gpu_run.sh --//tools/build_defs/cuda:archs=sm_90 && scp .carry.tar.xz gpu: &&
#     ssh gpu 'tar xf .carry.tar.xz && .carry/run.sh --require=cuda,vulkan'
#
# Keep both out of commits: echo '/.carry*' >>.git/info/exclude
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly LIMIT_KIB=$((64 * 1024))
out=.carry
flags=(-c opt)
for argument in "$@"; do
  case $argument in
    --out=*) out=${argument#*=} ;;
    *) flags+=("$argument") ;;
  esac
done
while [[ $out == */ ]]; do out=${out%/}; done
case $(realpath -m "$out")/ in "$(realpath .)"/ | /) echo "--out=$out: a folder of its own, please" >&2; exit 2 ;; esac
if [[ -e $out && ! -e $out/run.sh ]]; then
  echo "$out is there, and not of this script's making" >&2
  exit 2
fi

# A new test with the tag "gpu" comes along by itself; those that are scripts stay, and so does the
# suite as a large batch, which is the same program in another environment (run.sh makes it).
mapfile -t tests < <(./bazelw query --noshow_progress --ui_event_filters=-info \
  'kind(cc_test, attr(tags, "[\[ ]gpu[,\]]", //...)) union //vulkan:vulkan_conformance_test
  except //cuda:cuda_large_batch_conformance_test')
((${#tests[@]} > 1)) || exit 1  # the query has said why
targets=("${tests[@]}" //cuda:checker_faults //tools/weft)
./bazelw build "${flags[@]}" --skip_incompatible_explicit_targets "${targets[@]}"
built=$(./bazelw info "${flags[@]}" bazel-bin 2>/dev/null)

rm -rf "$out"
mkdir -p "$out/bin" "$out/lib" "$out/testing/golden"
for target in "${targets[@]}"; do
  package=${target%%:*} name=${target##*[:/]}
  program=$built/${package#//}/$name
  if [[ ! -e $program ]]; then
    echo "left out, not built here: $target"
  elif [[ -e $out/bin/$name ]]; then
    echo "two programs are called $name" >&2
    exit 1
  else
    strip -o "$out/bin/$name" "$program"
  fi
done
cp testing/golden/manifest.json testing/golden/*.safetensors "$out/testing/golden/"
cp tools/gpu_run_there.sh "$out/run.sh"
# A machine may have a Vulkan driver and no loader.
loader=$(find -L "$built/tools/weft/weft.runfiles" -name 'libvulkan.so.1' -print -quit 2>/dev/null || true)
[[ -z $loader ]] || cp -L "$loader" "$out/lib/"
{
  git rev-parse HEAD
  git diff --quiet HEAD && echo clean || echo "with changes"
  echo "${flags[*]}"
} >"$out/commit"
chmod -R u+w "$out"

tar -C "$(dirname "$out")" -cf - "$(basename "$out")" | xz -T0 -3 >"$out.tar.xz"
du -sk "$out"/bin/* "$out/testing" | sort -rn
size=$(du -sk "$out.tar.xz" | cut -f1)
echo "$out: $(du -sk "$out" | cut -f1) KiB; $out.tar.xz: $size KiB"
if ((size > LIMIT_KIB)); then
  echo "more than $LIMIT_KIB KiB: --//tools/build_defs/cuda:archs=sm_90, say, leaves out the rest" >&2
  exit 1
fi
if git rev-parse --git-dir >/dev/null 2>&1 && [[ $out != /* ]] && ! git check-ignore -q "$out"; then
  echo "git does not ignore $out: echo '/$out*' >>\$(git rev-parse --git-common-dir)/info/exclude"
fi
