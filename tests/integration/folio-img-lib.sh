# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What tests of folio-img share. Sourced, never run.

# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/helpers.sh"

# The program that was built, in a build with sanitizers with their options.
img ()
{
  ASAN_OPTIONS=detect_leaks=1 "$abs_top_builddir/img/folio-img" "$@"
}

# img_status STATUS ARG...: folio-img ends with that status; its output is in $out.
img_status ()
{
  local wanted=$1 status=0
  shift
  out=$(img "$@" 2>&1) || status=$?
  [ $status -eq "$wanted" ] ||
    fail "folio-img $*: status $status, not $wanted: $out"
}

# img_refuses PATTERN STATUS ARG...: with one line that matches.
img_refuses ()
{
  local pattern=$1
  shift
  img_status "$@"
  [ "$(wc -l <<<"$out")" = 1 ] || fail "more than one line: $out"
  [[ $out == folio-img:* ]] || fail "who says so? $out"
  grep -Eq -- "$pattern" <<<"$out" || fail "not with \"$pattern\": $out"
}

# clean STORE: nothing is wrong with it.
clean ()
{
  img_status 0 check "$1"
}

# field STORE KEY: of info --json.
field ()
{
  img info --json "$1" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$2"
}

# nbd_server NAME NBDKIT_ARG...: a server in the background, for as long as the test runs;
# $nbd is its disk.
nbd_server ()
{
  local name=$1
  shift
  "$NBDKIT" -U "$tmp/$name.sock" -P "$tmp/$name.pid" "$@"
  eventually 20 test -s "$tmp/$name.pid" || late "nbdkit does not start"
  on_exit kill "$(cat "$tmp/$name.pid")"
  nbd="nbd+unix:///?socket=$tmp/$name.sock"
}
