#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
echo "not there yet" >&2
exit 1
