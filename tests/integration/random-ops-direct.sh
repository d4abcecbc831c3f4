#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests with and without O_DIRECT.

. "$(dirname "$0")/random-ops-lib.sh"

random_ops 2 32M direct=auto cache-size=8M
random_ops 2 32M direct=off cache-size=8M

# tmpfs and the like know no O_DIRECT.
if dd if=/dev/zero of="$tmp/probe" bs=4096 count=1 oflag=direct 2>/dev/null
then
  random_ops 2 32M direct=on cache-size=8M
  random_ops 1 33553921 direct=on cache-size=8M
  random_ops 1 32M direct=on cache=none
else
  echo "no O_DIRECT in $tmp: direct=on is not tried"
fi
