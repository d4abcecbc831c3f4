#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The remote server of a thin disk dies under load and takes with it what was not flushed.

. "$(dirname "$0")/thin-lib.sh"

export ROUNDS=${ROUNDS:-$(share 8)}
as_thin file remote-crash remote-restart
