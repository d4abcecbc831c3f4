# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What the tests of misbehaving remote servers share. Sourced, never run.

# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/remote-lib.sh"

find_python
truncate -s 4M "$tmp/empty"

# begin HOSTILE_OPTION... -- PARAMETER...: such a server, with a copy of $from or
# a disk of zeroes, and folio in front of it.
begin ()
{
  local options=()
  echo "== $*"
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  shift
  cp "${from:-$tmp/empty}" "$tmp/disk"
  rm -f "$tmp/main.log" "$tmp/state"
  remote_hostile --file "$tmp/disk" "${options[@]}"
  start_folio "$remote_uri" "$@"
}

end ()
{
  stop_folio
  kill_remote
}

# misdeeds MODE: how many it has done.
misdeeds ()
{
  grep -c "^$1: request" "$remote_log" || true
}
