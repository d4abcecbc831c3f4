#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Every file says whose it is and under which licence.

. "$(dirname "$0")/common.sh"

status=0
files=$(find plugin folioctl img cache fs man tests contrib \
          -name '*.[ch]' -o -name '*.sh' -o -name '*.am' -o -name '*.mk' \
          -o -name '*.py')
for file in configure.ac common.mk Makefile.am $files; do
  head -n 8 "$file" | grep -q 'SPDX-License-Identifier: BSD-3-Clause' ||
    { echo "$file: no licence line"; status=1; }
done
exit $status
