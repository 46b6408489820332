#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/layering/update.sh          writes packages.bzl and public_targets.txt anew
# tools/layering/update.sh --check  changes nothing, and fails where something would change
#
# For a new package, and for a target that becomes public: look at the difference before you commit it.
set -euo pipefail
cd "$(dirname "$0")/../.."
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT

# Not this package, which does not load where its lists are wrong.
query() {
  ./bazelw query --noshow_progress --ui_event_filters=-info --deleted_packages=tools/layering "$@" | LC_ALL=C sort
}

query 'attr(visibility, "//visibility:public", //...)' >"$new/public_targets.txt"
{
  cat <<'HEADER'
# SPDX-License-Identifier: Apache-2.0
"""The packages that layering_test looks at; written by tools/layering/update.sh."""

PACKAGES = [
HEADER
  query //...:all-targets --output=package | sed 's/.*/    "&",/'
  echo "]"
} >"$new/packages.bzl"

status=0
for file in public_targets.txt packages.bzl; do
  if [[ ${1:-} == --check ]]; then
    diff -u "tools/layering/$file" "$new/$file" || status=1
  else
    cp "$new/$file" "tools/layering/$file"
  fi
done
[[ $status == 0 ]] || echo "these lists are out of date: run tools/layering/update.sh" >&2
exit "$status"
