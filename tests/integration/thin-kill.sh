#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The server of a thin disk is killed and terminated under load, on every kind of store.

. "$(dirname "$0")/thin-lib.sh"

export ROUNDS=${ROUNDS:-$(share 8)}
as_thin "threads nbd block" crash
as_thin "file" terminate sigterm-keeps-unflushed-writes
