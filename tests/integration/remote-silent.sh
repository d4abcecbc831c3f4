#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Remote servers that read requests and never answer them, or that stop reading,
# and keep the connection: nothing waits for them longer than `retry', and
# nothing is lost.

. "$(dirname "$0")/hostile-lib.sh"

# What takes long is not to be taken for a server that is silent.
retry=4 modes="silent deaf"
if [[ $SANITIZERS == *thread* ]]; then
  retry=8
  modes=$(shuf -n 1 -e $modes)
fi

# One connection hangs while the others answer all the time.
for mode in $modes; do
  begin --mode $mode --only write --multi-conn -- \
        retry=$retry writeback-interval=600 readahead=0 cache-size=1M
  client "$tmp" <<'EOF'
import threading

h, other = connect(), connect()
stop = threading.Event()
h.pwrite(b"A" * 64 * KiB, 0)


def read():
    at = MiB
    while not stop.wait(0.01):
        other.pread(64 * KiB, at)
        at = MiB + (at + 64 * KiB) % (3 * MiB)


reader = threading.Thread(target=read)
reader.start()
try:
    h.flush()
finally:
    stop.set()
    reader.join()
EOF
  head -c 65536 /dev/zero | tr '\0' A | cmp -n 65536 - "$tmp/disk" ||
    fail "$mode: flushed, but not on the disk"
  [ "$(misdeeds $mode)" = 1 ] || fail "$mode: the server did not misbehave"
  end
done

# No answer, or nothing read any more, though the connection stays: the requests
# fail after `retry', and are done when a new connection answers.
for mode in $modes; do
  begin --mode $mode --only write --multi-conn -- \
        retry=$retry writeback-interval=600 readahead=0
  client "$tmp" <<'EOF'
disk = Shadow(connect())
disk.write(pattern(MiB, 1), MiB)
try:
    disk.h.flush()
except nbd.Error as e:
    if e.errno != "EIO":
        fail("a flush: %s" % e.errno)
disk.check("what could not be written")
disk.save(sys.argv[1] + "/want")
EOF
  eventually 60 cmp "$tmp/want" "$tmp/disk" || late "$mode: not all is written"
  client <<<"connect().flush()"
  end
done
