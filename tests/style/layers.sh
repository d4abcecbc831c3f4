#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Includes go one way: plugin -> cache -> fs, and only plugin/ knows nbdkit. Inside
# cache/ they go down its layers; inside fs/ the stores and the formats know what is
# at its top, which knows none of them, and not each other.

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

# complain HEADING LINES: unless there are none.
complain ()
{
  [ -n "$2" ] || return 0
  echo "$1:"
  echo "$2"
  status=1
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

# --- cache/

# A file includes what is in its layer or in one before it, and of cache/ nothing by
# another path. cache.h, for those above the cache, is before all.
layers='base index folio post pace writeback request life'

complain "cache/: not down the layers ($layers)" "$(
  awk -v layers="$layers" '
    BEGIN {
      n = split (layers, name, " ")
      for (i = 1; i <= n; i++)
        rank[name[i]] = i
      rank["cache.h"] = 0
    }
    {
      sub (/^\.\//, "", FILENAME)
      split (FILENAME, at, "/")
    }
    FNR == 1 {
      files++
      if (!(at[2] in rank))
        print "  " FILENAME " is in no layer"
    }
    /^ *# *include *"/ {
      split ($0, quoted, "\"")
      split (quoted[2], to, "/")
      if (to[1] != "fs" &&
          (to[1] != "cache" || !(to[2] in rank) || rank[to[2]] > rank[at[2]]))
        print "  " FILENAME " includes " quoted[2]
    }
    END { if (files < 50) print "  only " files " files found" }
  ' $(sources cache))"

exit $status
