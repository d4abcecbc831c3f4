#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# After SIGTERM or SIGINT everything is written back at once, though an idle client
# stays attached and no pass of the flusher is due for ten minutes. The server ends
# with status 0 when the client leaves.

. "$(dirname "$0")/helpers.sh"

bytes=$((16 << 20))
head -c $bytes /dev/zero | tr '\0' '\21' >"$tmp/want"

in_file ()
{
  cmp -s -n $bytes "$tmp/disk.img" "$tmp/want"
}

for signal in TERM INT; do
  rm -f "$tmp/disk.img"
  truncate -s 64M "$tmp/disk.img"
  start_folio "$tmp/disk.img" cache-size=128M \
              dirty-ratio=80 dirty-background-ratio=70 \
              writeback-interval=600 dirty-expire=600
  hold --write 0:$bytes:17
  ! in_file || fail "it was written before the signal: this proves nothing"

  kill -"$signal" "$pid"
  eventually 60 in_file || late "SIG$signal: not written back in 60 seconds"
  kill -0 "$hold_pid" || fail "the client did not stay attached"

  let_go
  status=0
  wait_folio || status=$?
  [ $status = 0 ] || fail "SIG$signal: status $status"
  in_file || fail "SIG$signal: the file changed afterwards"
done
