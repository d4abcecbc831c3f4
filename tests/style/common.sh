# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What the tests of the source share: they run in the top directory of the
# source. Sourced, never run.

# shellcheck shell=bash

set -eu -o pipefail
cd "${abs_top_srcdir:-$(dirname "$0")/../..}"

sources ()
{
  find "${@:-.}" -path ./build -prune -o -path './nbdkit-folio-*' -prune -o \
    -name '*.[ch]' -print | sort
}
