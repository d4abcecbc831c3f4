#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A remote server that stops and keeps its connections open. For less than
# `retry' clients only wait; for longer, requests fail instead of hanging; and
# once it goes on, or another one takes its place, everything is written, by
# itself.

. "$(dirname "$0")/remote-lib.sh"

truncate -s 8M "$tmp/disk"
head -c 8M /dev/urandom >>"$tmp/disk"
remote_back ()
{
  remote_nbdkit "$volatile" file="$tmp/disk"
}

written ()
{
  cmp "$tmp/want" "$tmp/disk"
}

echo "== shorter than retry"
remote_back
start_folio "$remote_uri" retry=600
stop_remote
client "$tmp" >"$tmp/waiting.log" 2>&1 <<'EOF' &
h = connect()
h.pwrite(pattern(MiB, 1), 0)
open(sys.argv[1] + "/begun", "w").close()
h.pread(4096, 9 * MiB)
h.flush()
disk = Shadow(h)
same(disk.bytes[:MiB], pattern(MiB, 1), 0, "a write")
disk.save(sys.argv[1] + "/want")
EOF
waiting=$!
eventually 30 test -e "$tmp/begun" || late "no client"
kill -0 $waiting || { cat "$tmp/waiting.log"; fail "the client did not wait"; }
kill -CONT "$remote_pid"
wait $waiting || { cat "$tmp/waiting.log"; fail "the client saw the pause"; }
written || fail "the remote disk after a flush"
stop_folio

for how in continues replaced; do
  echo "== longer than retry; then it $how"
  rm -f "$tmp/main.log"
  start_folio "$remote_uri" retry=4 readahead=0 writeback-interval=600
  client <<'EOF'
h = connect()
h.pwrite(pattern(MiB, 2), 2 * MiB)
h.flush()
h.pwrite(pattern(MiB, 3), 2 * MiB + 512 * KiB)
EOF
  stop_remote
  client "$tmp" <<'EOF'
h, other = connect(), connect()

refused("a read", lambda: h.pread(4096, 12 * MiB))
# What was written before may have been saved in time.
h.pwrite(pattern(MiB, 4), 3 * MiB)
refused("a flush", h.flush)
refused("another flush", other.flush)
want = Shadow.load(h, sys.argv[1] + "/want")
for seed, at in ((2, 2 * MiB), (3, 2 * MiB + 512 * KiB), (4, 3 * MiB)):
    want.bytes[at:at + MiB] = pattern(MiB, seed)
want.check("what is in memory", 2 * MiB, 2 * MiB, h=other)
want.save(sys.argv[1] + "/want")
EOF
  # What is in memory and not yet sent is written when the server answers again,
  # and flushed: folio needs nobody to ask for it.
  if [ $how = continues ]; then
    kill -CONT "$remote_pid"
  else
    kill_remote
    remote_back
  fi
  eventually 60 written || late "not all is written though the server answers"
  client <<'EOF'
h = connect()
h.flush()
h.pread(4096, 12 * MiB)
EOF
  stop_folio
  written || fail "the remote disk at the end"
done

echo "== folio is to end while the server hangs"
start_folio "$remote_uri" retry=1 shutdown-timeout=2
hold --write 1M:1M:7
stop_remote
kill -TERM "$pid"
let_go
status=0
wait_folio || status=$?
[ $status = 74 ] || fail "folio ended with status $status"
logged 'are lost: giving up' || fail "the log does not tell of the loss"
kill_remote
