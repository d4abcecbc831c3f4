#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests, everything compared with an exact copy, with thin disks on every kind
# of store.

. "$(dirname "$0")/thin-lib.sh"

export OPS=${OPS:-$(share 400)} LIVES=${LIVES:-2}
as_thin "file threads nbd block" random-ops
