#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# qemu-img map and nbdinfo --map tell of the holes, the unwritten ranges and the
# data that the file really has; what is written, zeroed and trimmed shows at once.

. "$(dirname "$0")/helpers.sh"

needs qemu-img nbdinfo fallocate

img=$tmp/disk.img
truncate -s 64M "$img"
data () # OFFSET LENGTH, both in MiB
{
  dd if=/dev/urandom of="$img" bs=1M seek="$1" count="$2" conv=notrunc \
     status=none
}
data 0 1
data 7 3
dd if=/dev/urandom of="$img" bs=64k seek=401 count=1 conv=notrunc status=none
data 63 1
fallocate -n -o 20M -l 4M "$img" || skip "no fallocate here"
data 21 1
fallocate -o 40M -l 2M "$img"
sync "$img"

# What the file has, by QEMU, which asks SEEK_DATA and SEEK_HOLE.
qemu-img map -U -f raw --output=json "$img" >"$tmp/map.file"

start_folio "$img" writeback-interval=600 dirty-expire=600
qemu-img map -f raw --output=json "$uri" >"$tmp/map.nbd"
nbdinfo --map --json "$uri" >"$tmp/map.info"

cat >"$tmp/maps.py" <<'EOF'
import json


def merge(ranges):
    out = []
    for at, n, kind in ranges:
        if out and out[-1][2] == kind:
            out[-1][1] += n
        else:
            out.append([at, n, kind])
    return out


def qemu(path):
    """[[offset, length, is zero]]"""
    return merge((e["start"], e["length"], e["zero"])
                 for e in json.load(open(path)))


def info(path):
    """[[offset, length, flags]]"""
    return merge((e["offset"], e["length"], e["type"])
                 for e in json.load(open(path)))


def zeroes(ranges):
    return merge((at, n, bool(flags & ZERO)) for at, n, flags in ranges)
EOF

cat "$tmp/maps.py" - >"$tmp/first.py" <<'EOF'
tmp = sys.argv[1]
want = qemu(tmp + "/map.file")
print(want)
if not any(zero for at, n, zero in want):
    print("this filesystem tells of no holes", file=sys.stderr)
    sys.exit(77)
if qemu(tmp + "/map.nbd") != want:
    fail("qemu-img map: %s, not %s" % (qemu(tmp + "/map.nbd"), want))
if zeroes(info(tmp + "/map.info")) != want:
    fail("nbdinfo --map: %s, not %s" % (info(tmp + "/map.info"), want))

# A hole is a hole, a range allocated but not written is zero and no hole.
h = connect()
for at, n, flags in ((30 * MiB, 5 * MiB, HOLE | ZERO), (40 * MiB, 2 * MiB, ZERO),
                     (22 * MiB, 2 * MiB, ZERO), (21 * MiB, MiB, 0)):
    got = extents(h, at, n)
    if got != [(n, flags)]:
        fail("%d bytes at %d: %s, not flags %d" % (n, at, got, flags))

# What changes shows at once, and reading changes nothing.
h.pread(MiB, 30 * MiB)
h.pwrite(pattern(4096, 1), 32 * MiB)
h.pwrite(pattern(4096, 2), 41 * MiB)
h.zero(MiB, 8 * MiB)
h.trim(MiB, 63 * MiB)
for at, n, bits in ((30 * MiB, MiB, HOLE | ZERO), (32 * MiB, 4096, 0),
                    (32 * MiB + 65536, 65536, HOLE | ZERO), (41 * MiB, 4096, 0),
                    (41 * MiB + 65536, 65536, ZERO)):
    got = extents(h, at, n)
    if got != [(n, bits)]:
        fail("afterwards, %d bytes at %d: %s, not flags %d" % (n, at, got, bits))
for at, n in ((8 * MiB, MiB), (63 * MiB, MiB)):
    for length, flags in extents(h, at, n):
        if not flags & ZERO:
            fail("zeroed or trimmed, %d bytes at %d are not zero" % (n, at))
first, second = [], []
one = lambda out: lambda context, start, entries, error: out.append(entries[:2])
h.block_status(MiB, 30 * MiB, one(first), nbd.CMD_FLAG_REQ_ONE)
h.block_status(MiB, 30 * MiB, one(second), nbd.CMD_FLAG_REQ_ONE)
if first != [[MiB, HOLE | ZERO]] or second != first:
    fail("REQ_ONE: %s, then %s" % (first, second))
EOF
client "$tmp" <"$tmp/first.py"
stop_folio

# And after a restart the two agree again.
qemu-img map -U -f raw --output=json "$img" >"$tmp/map.file"
start_folio "$img"
qemu-img map -f raw --output=json "$uri" >"$tmp/map.nbd"
stop_folio
cat "$tmp/maps.py" - >"$tmp/second.py" <<'EOF'
tmp = sys.argv[1]
if qemu(tmp + "/map.nbd") != qemu(tmp + "/map.file"):
    fail("after a restart: %s, not %s"
         % (qemu(tmp + "/map.nbd"), qemu(tmp + "/map.file")))
EOF
uri='' client "$tmp" <"$tmp/second.py"
