#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A client that never asks for block status, as the kernel's, reads all of a
# sparse remote disk in order: the store is read for little more than its data.

. "$(dirname "$0")/remote-lib.sh"

"$NBDKIT" --dump-plugin --filter=log null >/dev/null 2>&1 ||
  skip "no log filter"

img=$tmp/disk.img
truncate -s 1G "$img"
for at in 1 300 700; do
  dd if=/dev/urandom of="$img" bs=1M seek=$at count=2 conv=notrunc status=none
done
sync "$img"

remote_nbdkit --filter=log file "$img" logfile="$tmp/requests"
start_folio "$remote_uri" cache-size=64M

client "$img" <<'EOP'
import os

fd = os.open(sys.argv[1], os.O_RDONLY)
if os.lseek(fd, 0, os.SEEK_DATA) == 0 or os.lseek(fd, 4 * MiB, os.SEEK_DATA) == 4 * MiB:
    print("this filesystem tells of no holes", file=sys.stderr)
    sys.exit(77)
h = connect()
if h.get_size() != 1024 * MiB:
    fail("size: %d" % h.get_size())
for at in range(0, 1024 * MiB, 128 * 1024):
    if h.pread(128 * 1024, at) != os.pread(fd, 128 * 1024, at):
        fail("wrong data at %d" % at)
EOP
stop_folio
kill_remote -TERM

cat >"$tmp/sum.py" <<'EOP'
import re
import sys

reads = asked = 0
for line in open(sys.argv[1]):
    request = re.search(r" (Read|Extents) id=\d+ offset=\S+ count=(0x\w+)", line)
    if request and request.group(1) == "Read":
        reads += int(request.group(2), 16)
    elif request:
        asked += 1
print("%d bytes were read from the remote, which was asked %d times"
      % (reads, asked))
if reads < 6 << 20:
    sys.exit("that is less than its data")
if reads > 512 << 20:
    sys.exit("that is more than half of the disk")
if asked > 100:
    sys.exit("that is often")
EOP
"$python" "$tmp/sum.py" "$tmp/requests"
