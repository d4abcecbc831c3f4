#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Thin disks on remote stores of all makes, and on one that is away.

. "$(dirname "$0")/thin-lib.sh"

export OPS=${OPS:-$(share 400)}
as_thin file remote-oracle remote-outage
