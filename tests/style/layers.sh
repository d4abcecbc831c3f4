#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Includes go one way: plugin -> cache -> fs, and only plugin/ knows nbdkit; img -> fs,
# and of plugin/ what parses sizes. Inside
# cache/ they go down its layers; inside fs/ the stores and the formats know what is
# at its top, which knows none of them, and not each other. And no files of cache/
# and fs/ call each other in a circle.

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

forbidden cache '(\.\./)?plugin/|(\.\./)?img/|nbdkit'
forbidden plugin '(\.\./)?img/'
forbidden fs '(\.\./)?plugin/|(\.\./)?cache/|(\.\./)?img/|nbdkit'
forbidden img '(\.\./)?cache/|nbdkit|plugin/[^p]|plugin/p[^a]' # but for parse.h

# --- fs/

forbidden fs/file '(fs|\.\.)/(nbd|raw|thin)/'
forbidden fs/nbd '(fs|\.\.)/(file|raw|thin)/'
forbidden fs/raw '(fs|\.\.)/(file|nbd|thin)/'
forbidden fs/thin '(fs|\.\.)/(file|nbd|raw)/'
for source in fs/*.[ch]; do
  forbidden "$source" '(fs/)?(file|nbd|raw|thin)/'
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

# --- circles

# The format of the source tells functions: their names are in column 0, and the
# line before begins with "static" or not. A source and the header of its name
# count as one. "FROM TO NAME" for each call of a function of another file.
calls ()
{
  awk '
    function room (file) {
      sub (/^\.\//, "", file)
      sub (/\.[ch]$/, "", file)
      return file
    }

    # The line without comments and strings.
    function code (line,   end) {
      gsub (/"([^"\\]|\\.)*"/, "", line)
      gsub (/\/\*([^*]|\*+[^*\/])*\*+\//, "", line)
      if (comment) {
        end = index (line, "*/")
        if (!end)
          return ""
        line = substr (line, end + 2)
        comment = 0
      }
      if (match (line, /\/\*/)) {
        line = substr (line, 1, RSTART - 1)
        comment = 1
      }
      return line
    }

    FNR == 1 { comment = extern = 0; before = "" }
    { line = code ($0) }
    extern || line ~ /^extern/ { extern = line !~ /;/; next }
    pass == 1 && line ~ /^[a-z_][a-z0-9_]* \(/ {
      name = line
      sub (/ .*/, "", name)
      if (before ~ /^static/ && FILENAME ~ /\.c$/)
        own[FILENAME, name] = 1
      else if (name in home && home[name] != room (FILENAME))
        home[name] = "" # of two: which is called is not known
      else
        home[name] = room (FILENAME)
    }
    pass == 2 {
      while (match (line, /[A-Za-z_][A-Za-z0-9_]* \(/)) {
        name = substr (line, RSTART, RLENGTH - 2)
        line = substr (line, RSTART + RLENGTH)
        from = room (FILENAME)
        if (name in home && home[name] != "" && home[name] != from &&
            !((FILENAME, name) in own))
          print from, home[name], name
      }
    }
    { if (line != "") before = line }
  ' pass=1 "$@" pass=2 "$@" | sort -u
}

all=$(calls $(sources cache fs | grep '\.c$') \
            $(sources cache fs | grep '\.h$'))
[ "$(wc -l <<<"$all")" -gt 500 ] || { echo "hardly a call found"; exit 1; }

# A call is in a circle if the file that is called reaches the one that calls.
complain 'files that call each other in a circle' "$(
  awk '
    function reach (start, file,   i, n, next_) {
      n = split (to[file], next_, " ")
      for (i = 1; i <= n; i++)
        if (!((start, next_[i]) in reached)) {
          reached[start, next_[i]]
          reach(start, next_[i])
        }
    }
    !(($1, $2) in name) { to[$1] = to[$1] " " $2 }
    { name[$1, $2] = name[$1, $2] " " $3 }
    END {
      for (file in to)
        reach(file, file)
      for (arrow in name) {
        split (arrow, end, SUBSEP)
        if ((end[2], end[1]) in reached)
          print "  " end[1] " -> " end[2] ":" name[arrow]
      }
    }
  ' <<<"$all" | sort)"

exit $status
