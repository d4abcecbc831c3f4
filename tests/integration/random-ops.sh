#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests of all kinds on four connections, everything compared with
# an exact copy, with the default parameters.

. "$(dirname "$0")/random-ops-lib.sh"

random_ops 3 32M
oracle_options=(--connections 1)
random_ops 1 32M
oracle_options=(--connections 16 --depth 64 --fua 20)
random_ops 2 32M
