#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests on a disk much larger than the cache.

. "$(dirname "$0")/random-ops-lib.sh"

random_ops 3 32M cache-size=4M
random_ops 2 32M cache-size=8M dirty-ratio=80 dirty-background-ratio=60 \
           folio-max=256K
oracle_options=(--max-len 64K)
ops=8000 random_ops 2 32M cache-size=4M folio-max=16K readahead=0
