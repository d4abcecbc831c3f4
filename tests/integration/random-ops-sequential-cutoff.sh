#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests, the long ones past the cache and the short ones through it,
# so that both ways meet on the same bytes.

. "$(dirname "$0")/random-ops-lib.sh"

random_ops 2 32M sequential-cutoff=64K
random_ops 2 32M sequential-cutoff=512K cache-size=8M
oracle_options=(--max-len 32K)
ops=8000 random_ops 2 4M sequential-cutoff=4K
