#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests past the cache, which only odd heads and tails go through.

. "$(dirname "$0")/random-ops-lib.sh"

random_ops 3 32M cache=none
oracle_options=(--max-len 16K)
random_ops 2 16M cache=none cache-size=4M
