#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests, each write on the store before it is acknowledged.

. "$(dirname "$0")/random-ops-lib.sh"

oracle_options=(--max-len 512K)
random_ops 2 32M cache=writethrough
random_ops 2 32M cache=writethrough cache-size=4M
