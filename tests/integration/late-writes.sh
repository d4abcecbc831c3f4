#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A client dies with requests waiting, for the store does not answer; the next one
# writes there and flushes; the store answers again. Nothing of the dead one's is
# done over what the next one wrote. SEED=N replays; ROUNDS=N makes so many in each
# mode, and "make late-writes-long" 100.
#
# nbdkit 1.32.5 itself aborts now and then when a client hangs up (see README):
# that is another fault, and such a round is done again.

. "$(dirname "$0")/remote-lib.sh"

new_seed
export remote_uri
rounds=${ROUNDS:-$(share 8)}

serve ()
{
  remote_nbdkit memory 64M
  start_folio -v -- "$remote_uri" cache-size=16M dirty-bytes=1M retry=120 "$@"
}

# Has the server aborted, by nbdkit's own fault?
aborted ()
{
  local status=0
  wait_folio main || status=$?
  [ $status -eq 134 ] || return 1
  logged 'connections\.c:.*raw_send_socket: Assertion'
}

in_mode ()
{
  local done=0 void=0 status n
  : >"$log"
  serve "$@"
  while [ $done -lt "$rounds" ]; do
    status=0
    n=$(cat "$here/late-writes.py" |
          client $done $((rounds - done)) "$seed" "$log" "$remote_pid") ||
      status=$?
    done=$((done + ${n:-0}))
    [ $status -ne 0 ] || continue
    [ $status -eq 3 ] || { show_log; fail "$*, SEED=$seed"; }
    aborted || { show_log; fail "$*: the server is gone, SEED=$seed"; }
    void=$((void + 1))
    [ $void -le $((rounds * 4 + 8)) ] || skip "nbdkit aborts all the time"
    kill_remote
    : >"$log"
    serve "$@"
  done
  stop_folio
  kill_remote
  echo "$*: $done rounds, $void void"
}

use_folio main
in_mode cache=writeback
in_mode cache=none
in_mode cache=writethrough
