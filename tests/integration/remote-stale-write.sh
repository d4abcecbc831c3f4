#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A write stalls in the remote server, its connections break, and the same
# place is written again. The old write is still done, some time after folio has
# connected again, and answered; should folio close its connection before, the
# server does so too, and the write is done nevertheless. Folio waits for the
# answer before it writes anything on a new connection, so the newer data is what
# stays.

. "$(dirname "$0")/remote-lib.sh"

find_python

# With a single connection there is no other one to break: the server is silent,
# and folio gives the connection up.
for connections in 4 1; do
  echo "== connections=$connections"
  rm -f "$tmp/main.log"
  truncate -s 4M "$tmp/disk"
  remote_hostile --file "$tmp/disk" --mode stall --multi-conn --patience 1
  start_folio "$remote_uri" connections=$connections retry=10 \
              writeback-interval=600
  client "$tmp" "$remote_log" <<'EOF'
import threading
import time

h, other = connect(), connect()
disk = Shadow(other)
h.pwrite(pattern(64 * KiB, 1), 0)


def flush(h):
    while True:
        try:
            h.flush()
            return
        except nbd.Error:   # while the server is silent, with one connection
            time.sleep(0.05)


thread = threading.Thread(target=flush, args=(h,))
thread.start()
while True:
    with open(sys.argv[2]) as f:
        if "stall: request" in f.read():
            break
    time.sleep(0.01)
disk.write(pattern(64 * KiB, 2), 0)
thread.join()
flush(other)
disk.check("afterwards")
disk.save(sys.argv[1] + "/want")
EOF
  eventually 60 grep '^let go' "$remote_log" || late "nothing was stalled"
  grep '^let go' "$remote_log"
  grep -q '^let go of .* 0 newer ones' "$remote_log" ||
    fail "something was written before the old write was done"
  cmp "$tmp/want" "$tmp/disk" || fail "an old write is on top of a newer one"
  stop_folio
  kill_remote
done
