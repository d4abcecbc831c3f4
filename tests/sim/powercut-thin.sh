#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Power cuts of a thin disk (fs/thin/).

set -e

exec sim/powercut --thin
