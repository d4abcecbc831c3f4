#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A write that comes to its end while all is written back, because nbdkit aborts or is
# told to stop, and too late to be written back with it, is not acknowledged.

. "$(dirname "$0")/remote-lib.sh"

find_python
ulimit -c 0

cat >"$tmp/late.py" <<'END'
import os
import sys

import nbd

h = nbd.NBD()
h.connect_uri(os.environ["uri"])
try:
    h.pwrite(b"late", (2 << 20) + 10)
    print("acknowledged")
except nbd.Error as e:
    print("refused:", e)
END

is_there ()
{
  dd if="$tmp/disk.img" bs=1 skip=2097162 count=4 2>/dev/null | grep -q late
}

for case in ABRT:134 TERM:0; do
  IFS=: read -r signal want <<<"$case"
  rm -f "$tmp/disk.img" "$remote_log"
  truncate -s 4M "$tmp/disk.img"
  remote_nbdkit -v --filter=delay file "$tmp/disk.img" rdelay=700ms wdelay=2
  start_folio "$remote_uri" readahead=0
  hold --write 0:64K:7

  # It waits for the rest of its sector to be read.
  "$python" "$tmp/late.py" >"$tmp/late" &
  late_pid=$!
  eventually 30 grep -q 'pread.*offset=2097152' "$remote_log" ||
    { show_log remote; fail "nothing is read for the write"; }
  kill "-$signal" "$pid"
  wait "$late_pid"
  echo "SIG$signal: $(cat "$tmp/late")"
  if [ $signal = TERM ] && grep -q '^acknowledged' "$tmp/late"; then
    eventually 10 is_there || fail "acknowledged, and waits for a client to leave"
  fi
  status=0
  [ $signal = ABRT ] || let_go
  wait_folio || status=$?
  [ $signal = TERM ] || let_go
  [ $status = "$want" ] || fail "SIG$signal: status $status"
  cmp -n 65536 "$tmp/disk.img" <(head -c 65536 /dev/zero | tr '\0' '\7') ||
    fail "SIG$signal: what was acknowledged before is not there"
  ! grep -q '^acknowledged' "$tmp/late" || is_there ||
    fail "SIG$signal: it was acknowledged and is not there"
  kill_remote
done
