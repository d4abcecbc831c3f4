#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests with a store whose I/O is done by threads.

. "$(dirname "$0")/random-ops-lib.sh"

random_ops 2 32M io=threads cache-size=8M
random_ops 1 32M io=threads cache-size=8M direct=off io-depth=2
random_ops 1 32M io=threads cache=none
