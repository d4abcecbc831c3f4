#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Data written over a hole and not yet flushed is data to base:allocation, so that
# nbdcopy, which skips holes, copies it.

. "$(dirname "$0")/disk-lib.sh"

new_disk 16M
start_disk writeback-interval=600 dirty-expire=600

# The client asks while it is attached and before any pass of the flusher.
client "$tmp/copy.img" <<'EOF'
import subprocess

h = connect()
size = h.get_size()
# A sector inside a page, whole folios, a page, an odd range, the last sector.
written = ((5 * 512, 512), (4 * MiB, 3 * MiB), (9 * MiB, 4096),
           (10 * MiB + 300, 700), (size - 512, 512))
want = bytearray(size)
for at, n in written:
    want[at:at + n] = pattern(n, at)
    h.pwrite(want[at:at + n], at)

for at, n in written:
    for length, flags in extents(h, at, n):
        if flags & (HOLE | ZERO):
            fail("of %d bytes at %d written, %d are said to be a hole"
                 % (n, at, length))
if not any(flags & HOLE for n, flags in extents(h, 12 * MiB, 3 * MiB)):
    fail("a range never written is not a hole")

subprocess.run(["nbdcopy", os.environ["uri"], sys.argv[1]], check=True)
same(open(sys.argv[1], "rb").read(), want, 0, "nbdcopy's copy")
EOF
stop_folio

peer_says ()
{
  client <<'EOF'
h = connect()
h.pwrite(pattern(4096, 4), 9 * MiB)
flags = extents(h, 9 * MiB, 4096)[0][1]
print("the cache filter says %s" % ("hole" if flags & HOLE else "data"))
EOF
}
truncate -s 16M "$tmp/peer.img"
with_peer "$tmp/peer.img" 16M peer_says
