#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A store that runs full fails the flush, on every connection and each time it is
# tried, loses nothing and can be read; once there is room again a flush writes all
# of it. A failed FUA write over a cached block is not taken for clean.

. "$(dirname "$0")/helpers.sh"

[ "$(id -u)" = 0 ] || skip "only root can mount a small tmpfs"
mkdir "$tmp/small"
mount -t tmpfs -o size=8M tmpfs "$tmp/small" 2>/dev/null ||
  skip "a tmpfs cannot be mounted"
on_exit umount "$tmp/small"
truncate -s 64M "$tmp/small/disk.img"

start_folio "$tmp/small/disk.img" cache-size=64M dirty-ratio=80 \
            dirty-background-ratio=70

client "$tmp/want" "$tmp/small" <<'EOF'
import subprocess

disk = Shadow(connect())
other = connect()

disk.write(pattern(4096, 1), 40 * MiB)
disk.write(pattern(20 * MiB, 2), 0)
for i in range(3):
    refused("flush", disk.h.flush, "EIO", "ENOSPC")
    refused("another connection's flush", other.flush, "EIO", "ENOSPC")
refused("a late connection's flush", connect().flush, "EIO", "ENOSPC")

# A FUA write over what cannot be written: it fails, and leaves either.
at = 30 * MiB
disk.write(pattern(8192, 3), at)
refused("FUA write", lambda: disk.h.pwrite(pattern(4096, 4), at, FUA),
        "EIO", "ENOSPC")
disk.bytes[at:at + 8192] = disk.h.pread(8192, at)
if bytes(disk.bytes[at:at + 4096]) not in (pattern(8192, 3)[:4096],
                                           pattern(4096, 4)):
    fail("the failed FUA write left neither what was there nor what was sent")
refused("flush after it", other.flush, "EIO", "ENOSPC")
disk.check("while the store is full")
disk.check("while the store is full", h=other)

# Room again.
subprocess.run(["mount", "-o", "remount,size=128M", sys.argv[2]], check=True)
disk.h.flush()
other.flush()
disk.check("afterwards")
disk.save(sys.argv[1])
EOF
cmp "$tmp/want" "$tmp/small/disk.img" ||
  fail "a flush succeeded, and the file is not what was written"
stop_folio
cmp "$tmp/want" "$tmp/small/disk.img" || fail "the file changed at the end"
