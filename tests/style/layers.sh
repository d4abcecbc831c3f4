#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Includes go one way: plugin -> cache -> fs, and only plugin/ knows nbdkit.
# Inside fs/ the stores and the formats know what is at its top, which knows none of
# them, and not each other.

. "$(dirname "$0")/common.sh"

status=0

# forbidden DIRECTORY PATTERN: no file in DIRECTORY includes what matches.
forbidden ()
{
  local found
  [ -n "$(sources "$1")" ] || { echo "no sources in $1/"; exit 1; }
  if found=$(grep -nE "^ *# *include *[<\"]($2)" $(sources "$1")); then
    echo "$1 must not include this:"
    echo "$found"
    status=1
  fi
}

forbidden cache '(\.\./)?plugin/|nbdkit'
forbidden fs '(\.\./)?plugin/|(\.\./)?cache/|nbdkit'

# --- fs/

forbidden fs/file '(fs|\.\.)/(nbd|raw)/'
forbidden fs/nbd '(fs|\.\.)/(file|raw)/'
forbidden fs/raw '(fs|\.\.)/(file|nbd)/'
for source in fs/*.[ch]; do
  forbidden "$source" '(fs/)?(file|nbd|raw)/'
done

exit $status
