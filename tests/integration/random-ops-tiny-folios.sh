#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests with small folios: each request meets many of them.

. "$(dirname "$0")/random-ops-lib.sh"

random_ops 2 32M folio-max=4K
random_ops 2 32M folio-max=4K cache-size=4M
random_ops 2 32M folio-max=64K cache-size=16M
