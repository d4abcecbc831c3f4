#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests on a disk so small that everything meets everything: folios
# under write-back are written, zeroed and trimmed all the time.

. "$(dirname "$0")/random-ops-lib.sh"

oracle_options=(--connections 8 --depth 64 --max-len 64K --fua 15)
ops=12000 random_ops 2 1M
ops=12000 random_ops 2 512K folio-max=4K
ops=12000 random_ops 2 8M cache-size=4M dirty-ratio=10 dirty-background-ratio=1
