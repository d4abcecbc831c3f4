#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A store that is full when the server is told to stop: after shutdown-timeout
# the server ends, and its log names what is lost: all that is not in the file,
# and next to nothing else. With room in time nothing is.

. "$(dirname "$0")/helpers.sh"

[ "$(id -u)" = 0 ] || skip "only root can mount a small tmpfs"
mkdir "$tmp/small"
mount -t tmpfs -o size=8M tmpfs "$tmp/small" 2>/dev/null ||
  skip "a tmpfs cannot be mounted"
on_exit umount "$tmp/small"

fill ()
{
  truncate -s 64M "$tmp/small/disk.img"
  start_folio "$tmp/small/disk.img" cache-size=64M dirty-ratio=80 \
              dirty-background-ratio=70 "$@"
  client "$tmp/want" <<'END'
disk = Shadow(connect())
disk.write(pattern(12 * MiB, 1), 0)
disk.write(pattern(3 * MiB, 2), 40 * MiB)
disk.save(sys.argv[1])
END
}

fill shutdown-timeout=2
kill -TERM "$pid"
status=0
wait_folio || status=$?
[ $status = 74 ] || fail "status $status after a loss"
# The first line that says why: lack of space, not an I/O error.
grep -q 'write-back of bytes .*: No space left on device' "$log" ||
  fail "the log does not say why"
grep -q 'Input/output error' "$log" && fail "lack of space became an I/O error"

# What the log says is lost against what the file lacks, sector by sector.
cat >"$tmp/check.py" <<'END'
import re
import sys

SECTOR = 512
want = open(sys.argv[1], "rb").read()
got = open(sys.argv[2], "rb").read()
lost = set()
previous = -1
said = None
for line in open(sys.argv[3]):
    m = re.search(r"not written back: (\d+) bytes at (\d+)$", line)
    if m:
        length, offset = int(m[1]), int(m[2])
        if offset <= previous:
            sys.exit("not in order or not joined: " + line)
        previous = offset + length
        lost.update(range(offset // SECTOR, (offset + length) // SECTOR))
    if "are not saved;" in line:  # to be told again, at the end
        lost.clear()
        previous = -1
    m = re.search(r"(\d+) bytes in (\d+) ranges are lost: giving up$", line)
    if m:
        said = int(m[1])
if said is None or said != len(lost) * SECTOR:
    sys.exit("the sum is wrong: %s, %d" % (said, len(lost) * SECTOR))
if not lost:
    sys.exit("nothing is said to be lost")
there = 0
for s in range(len(want) // SECTOR):
    a, b = want[s * SECTOR:(s + 1) * SECTOR], got[s * SECTOR:(s + 1) * SECTOR]
    if s not in lost and a != b:
        sys.exit("sector %d is lost, and the log does not say so" % s)
    there += s in lost and a == b and any(a)
# The write that found the store full may have been carried out in part.
if there > (1 << 20) // SECTOR:
    sys.exit("%d sectors are there, and the log says that they are lost" % there)
END
python3 "$tmp/check.py" "$tmp/want" "$tmp/small/disk.img" "$log" ||
  fail "the log does not tell exactly what is lost"

# Room comes while it still tries.
rm "$tmp/small/disk.img" "$log"
fill shutdown-timeout=600
kill -TERM "$pid"
eventually 30 grep -q 'writing back failed: No space left on device' "$log" ||
  late "it does not say that it fails"
mount -o remount,size=64M "$tmp/small"
wait_folio || fail "the server failed"
cmp "$tmp/want" "$tmp/small/disk.img" || fail "something is lost"
grep -q 'everything is written back after all' "$log" ||
  fail "it does not say that it is well"
grep -q 'are lost' "$log" && fail "it says that something is lost"
exit 0
