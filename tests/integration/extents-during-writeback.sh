#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Data is data to base:allocation all the way from memory to the file: asked again
# and again while it is dirty, being written back and clean, over a hole and over
# ranges that are allocated but not written.

. "$(dirname "$0")/disk-lib.sh"

needs fallocate
new_disk 64M
[ "$FORMAT" != raw ] || fallocate -n -o 0 -l 32M "$disk" 2>/dev/null ||
  echo "no fallocate here: holes only"

start_disk cache-size=8M dirty-background-bytes=64k folio-max=64k
client <<'EOF'
writer, asker = connect(), connect()
rng = random.Random(1)
asked = 0
for base in 0, 32 * MiB:
    for i in range(256):
        at = base + i * 128 * KiB
        n = rng.choice((512, 4096, 30000, 65536, 128 * KiB))
        at += rng.randrange(0, 128 * KiB - n + 1, 512)
        writer.pwrite(pattern(n, i), at)
        for again in range(20):
            said = extents(asker, at, n)
            asked += 1
            if any(flags & (HOLE | ZERO) for length, flags in said):
                fail("%d bytes written at %d are said to be %s"
                     % (n, at, said))
        if i % 16 == 0:
            # Part of an older one goes and comes back.
            asker.trim(4096, base)
            if not all(flags & ZERO for n, flags in extents(writer, base, 4096)):
                fail("trimmed, and said to be data")
            asker.pwrite(b"x" * 512, base)
            if extents(writer, base, 512) != [(512, 0)]:
                fail("written after a trim, and said to be a hole")
print("asked %d times" % asked)
EOF
stop_folio
