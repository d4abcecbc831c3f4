#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# All connections see one disk: a write acknowledged on one is read on every other,
# and a flush on one covers what the others wrote.

. "$(dirname "$0")/disk-lib.sh"

new_disk 32M
start_disk cache-size=8M writeback-interval=600 dirty-expire=600

client "$disk" "$FORMAT" <<'EOF'
def in_file(data, at, what):
    if sys.argv[2] != "raw":
        return
    with open(sys.argv[1], "rb") as f:
        f.seek(at)
        same(f.read(len(data)), data, at, what)


disks = [connect() for i in range(5)]
want = bytearray(32 * MiB)
rng = random.Random(1)
for i in range(600):
    writer, reader, flusher = rng.sample(disks, 3)
    n = rng.choice((1, 512, 700, 4096, 65536, 500000))
    at = rng.randrange(len(want) - n)
    data = pattern(n, i)
    if i % 7 == 0:
        writer.zero(n, at)
        data = bytes(n)
    else:
        writer.pwrite(data, at)
    want[at:at + n] = data
    same(reader.pread(n, at), data, at, "step %d, another connection" % i)
    if i % 60 == 0:
        flusher.flush()
        in_file(want, 0, "step %d, the file after a flush" % i)

# FUA covers its own range at once.
disks[0].pwrite(b"durable" * 1000, 12345, FUA)
in_file(b"durable" * 1000, 12345, "the file after a FUA write")
disks[1].zero(3000, 12345, FUA)
in_file(bytes(3000) + (b"durable" * 1000)[3000:], 12345,
        "the file after a FUA zero")
EOF

# What each costs, as the man page and the systemd unit have it.
client "$pid" <<'EOF'
import os


def descriptors():
    return len(os.listdir("/proc/%s/fd" % sys.argv[1]))


first = connect()
first.pread(512, 0)
before = descriptors()
more = [connect() for i in range(10)]
for h in more:
    h.pread(512, 0)
if descriptors() - before > 30:
    fail("10 connections take %d descriptors" % (descriptors() - before))
EOF
stop_folio
