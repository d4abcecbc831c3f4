#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Power cuts of a disk in a format that allocates at write-back, moves what is
# overwritten and has its map on the store (sim/shuffle.h).

set -e

exec sim/powercut --shuffle
