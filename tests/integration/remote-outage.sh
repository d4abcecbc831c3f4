#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A remote server that is away. For less than `retry': clients only wait. For
# longer: what is in memory is read, what is not fails, writes are taken up to
# the dirty limit, flushes fail; and when the server is back all of it is
# written by itself.

. "$(dirname "$0")/remote-lib.sh"
. "$(dirname "$0")/disk-lib.sh"

find_python
truncate -s 16M "$tmp/raw"
head -c 16M /dev/urandom >>"$tmp/raw"
format_disk 32M
store=$remote_uri
case $FORMAT in
  raw) mv "$tmp/raw" "$disk" ;;
  thin) img_status 0 convert -q --force -O thin "$tmp/raw" "$disk" ;;
esac

remote_back ()
{
  remote_nbdkit "$volatile" file="$disk"
}

# No flush of a client's takes any part in this: what was written gets to the
# file because folio flushes on its own.
written ()
(
  look_inside
  cmp -n "$(stat -c %s "$tmp/want")" "$tmp/want" "$bytes"
)

echo "== shorter than retry"
remote_back
start_disk retry=600
client "$tmp" <<'EOF'
disk = Shadow(connect())
disk.write(pattern(MiB, 1), 0)
disk.save(sys.argv[1] + "/want")
EOF
kill_remote
# Requests of all kinds begin while the server is away, and must wait.
client "$tmp" >"$tmp/waiting.log" 2>&1 <<'EOF' &
h = connect()
disk = Shadow.load(h, sys.argv[1] + "/want")
open(sys.argv[1] + "/begun", "w").close()
same(h.pread(4096, 28 * MiB), disk.bytes[28 * MiB:][:4096], 28 * MiB, "a read")
disk.write(pattern(MiB, 2), 25 * MiB + 100)
disk.zero(MiB, 512 * KiB)
disk.write(pattern(4096, 3), 0, FUA)
extents(h, 0, 32 * MiB)
h.flush()
disk.check("after the outage")
disk.save(sys.argv[1] + "/want")
EOF
waiting=$!
eventually 30 test -e "$tmp/begun" || late "no client"
eventually 30 logged 'lost' || late "the log does not tell of the outage"
kill -0 $waiting || { cat "$tmp/waiting.log"; fail "the client did not wait"; }
remote_back
wait $waiting || { cat "$tmp/waiting.log"; fail "the client saw the outage"; }
written || fail "a flush succeeded, and the remote disk is not as it was written"
stop_folio
kill_remote

echo "== longer than retry"
rm -f "$tmp/main.log" "$tmp/begun"
look_inside
remote_back
start_disk retry=4 cache-size=16M dirty-bytes=4M readahead=0 \
           writeback-interval=600 dirty-expire=600
client "$tmp" "$bytes" <<'EOF'
disk = Shadow.load(connect(), sys.argv[2])
disk.write(pattern(2 * MiB, 4), 8 * MiB)
disk.h.flush()
disk.write(pattern(64 * KiB, 5), 9 * MiB)
disk.save(sys.argv[1] + "/want")
EOF
kill_remote
client "$tmp" <<'EOF'
h, other = connect(), connect()
disk = Shadow.load(h, sys.argv[1] + "/want")

# Each of these takes `retry' at the most, and the first has waited for it.
refused("a read of what is not in memory", lambda: h.pread(4096, 28 * MiB))
disk.check("what is in memory", 2 * MiB, 8 * MiB, h=other)
# What was written before may have been saved in time.
disk.write(pattern(64 * KiB, 6), 9 * MiB)
refused("a flush", h.flush)
refused("another connection's flush", other.flush)
refused("a late connection's flush", connect().flush)

# Writes are taken up to the limit, then refused.
taken = 0
for i in range(256):
    try:
        h.pwrite(pattern(64 * KiB, 100 + i), 16 * MiB + i * 64 * KiB)
    except nbd.Error as e:
        if e.errno != "EIO":
            fail("a write past the limit: %s" % e.errno)
        break
    at = 16 * MiB + taken
    disk.bytes[at:at + 64 * KiB] = pattern(64 * KiB, 100 + i)
    taken += 64 * KiB
print("%d KiB were taken" % (taken / KiB))
if taken < 2 * MiB or taken > 8 * MiB:
    fail("%d KiB of writes were taken with a limit of 4 MiB" % (taken / KiB))
disk.check("what was taken", taken, 16 * MiB, h=other)
# Of the write that was refused a part may have been taken.
del disk.bytes[16 * MiB + taken:]
disk.save(sys.argv[1] + "/want")
EOF
logged 'requests fail until it is back' || fail "the log does not say it is over"
if logged 'error: (read|write|flush)'; then
  fail "the log tells of each request that the outage made fail"
fi

remote_back
eventually 60 written ||
  late "the server is back, and what waited has not been written"
client "$tmp" <<'EOF'
h = connect()
h.flush()
connect().flush()
h.pread(4096, 28 * MiB)
EOF
stop_folio
written
kill_remote
