#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests with thin disks, with the parameters that raw disks have there.

. "$(dirname "$0")/thin-lib.sh"

export OPS=${OPS:-$(share 400)} LIVES=${LIVES:-1}
as_thin file random-ops-small-cache random-ops-no-cache random-ops-direct \
        random-ops-sequential-cutoff random-ops-tiny-folios \
        random-ops-writethrough random-ops-crowd
