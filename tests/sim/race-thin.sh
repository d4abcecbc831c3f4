#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Many threads on a thin disk (fs/thin/).

set -e

exec sim/race --thin
