#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A thin disk whose store is full: each other block is trimmed, one by one, and all that
# is acknowledged can be flushed, and is there after a restart; what is mapped is still
# written to, trims bring space back, and blocks that read as zero are written to until
# that is refused. In the end nothing is wrong with the image.

. "$(dirname "$0")/folio-img-lib.sh"

file=$tmp/disk.thin
img_status 0 create -s 1G --store-size 400M "$file"
start_folio "$file" fs=thin cache-size=64M
client <<'EOT'
h = connect()
buf = bytearray(pattern(MiB, 1))


def fill(pos):
    try:
        while True:
            h.pwrite(buf, pos)
            pos += MiB
    except nbd.Error as e:
        if e.errno != "ENOSPC":
            fail("a write into a full store: %s" % e.errno)
    return pos


def each_other(begin, end, send):
    """Send a request for each other block; all end. Returns how many were refused."""
    refused = []

    def ended(error):
        if error.value:
            refused.append(error.value)
        return 1

    for pos in range(begin, end, 8192):
        while h.aio_in_flight() > 64:
            h.poll(-1)
        send(pos, ended)
    while h.aio_in_flight():
        h.poll(-1)
    return len(refused)


end = fill(0)
h.flush()
if end < 380 * MiB:
    fail("only %d bytes fit" % end)

half = end // 2 & -MiB
if each_other(0, end - MiB, lambda pos, ended: h.aio_trim(4096, pos, ended)):
    fail("trims are refused")
h.pwrite(b"M" * 4096, end - 4096)
h.flush()
if fill(end) <= end:
    fail("trims bring no space back")
h.flush()

for pos in range(half, end, MiB):
    h.zero(MiB, pos, NO_HOLE)
h.flush()
data = nbd.Buffer.from_bytearray(bytearray(b"Z" * 4096))
each_other(half, end, lambda pos, ended: h.aio_pwrite(data, pos, ended))
h.flush()
h.pwrite(b"M" * 4096, 4096)
h.flush()
EOT
stop_folio
clean "$file"

start_folio "$file" fs=thin
client <<'EOT'
h = connect()
if h.pread(4096, 4096) != b"M" * 4096 or h.pread(4096, 0) != bytes(4096):
    fail("something else after a restart")
EOT
stop_folio
