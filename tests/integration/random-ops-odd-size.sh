#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests on disks whose size is no multiple of a sector or a page.

. "$(dirname "$0")/random-ops-lib.sh"

random_ops 2 33553921
random_ops 2 33552385 cache-size=4M
random_ops 1 16777217 direct=off
random_ops 1 1048063 cache=none
oracle_options=(--max-len 4096)
random_ops 1 4097
random_ops 1 511
