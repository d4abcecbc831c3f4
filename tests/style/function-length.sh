#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Functions are short: the median below 15 lines, none above 80. Counted from
# the brace that opens the body to the one that closes it, both in column 0.

. "$(dirname "$0")/common.sh"

list=$(awk '
  /^\{/ { start = FNR }
  /^\}/ && start { print FNR - start + 1, FILENAME ":" start; start = 0 }
' $(sources plugin folioctl img cache fs) | sort -n)

count=$(wc -l <<<"$list")
[ "$count" -gt 10 ] || { echo "only $count functions found"; exit 1; }
median=$(sed -n "$(((count + 1) / 2))p" <<<"$list" | cut -d ' ' -f 1)
p90=$(sed -n "$(((count * 9 + 9) / 10))p" <<<"$list" | cut -d ' ' -f 1)
echo "$count functions, median $median lines, nine tenths up to $p90"

status=0
[ "$median" -lt 15 ] || { echo "the median is not below 15"; status=1; }
long=$(awk '$1 > 80' <<<"$list")
[ -z "$long" ] || { echo "longer than 80 lines:"; echo "$long"; status=1; }
exit $status
