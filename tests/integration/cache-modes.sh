#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# cache=writethrough has every write in the file when it is acknowledged, and reads
# from the cache; cache=none bypasses it, as streams past sequential-cutoff do. The
# disk is the same under all of them.

. "$(dirname "$0")/disk-lib.sh"

for mode in cache=writethrough cache=none sequential-cutoff=1M; do
  new_disk 24M
  start_disk $mode cache-size=8M writeback-interval=600 dirty-expire=600
  client "$disk" $mode "$FORMAT" "$tmp/want" <<'EOF'
path, mode, form, want = sys.argv[1:]
disk = Shadow(connect())
other = connect()
rng = random.Random(mode)


def in_file(what, n, at):
    if form != "raw":
        return
    with open(path, "rb") as f:
        f.seek(at)
        same(f.read(n), disk.bytes[at:at + n], at, "%s, the file, %s"
             % (mode, what))


for i in range(300):
    n = rng.choice((1, 511, 512, 700, 4096, 8192, 100000, 1000000))
    at = rng.randrange(len(disk.bytes) - n)
    if rng.random() < 0.5:
        at &= ~4095
    name = rng.choice(("write", "write", "write", "zero", "trim"))
    if name == "write":
        disk.write(pattern(n, i), at)
    elif name == "zero":
        disk.zero(n, at)
    else:
        disk.trim(n, at)
    if mode.startswith("cache="):
        in_file("%s %d" % (name, i), n, at)
    disk.check("%s %d" % (name, i), n, at, other)

# A long stream, over data that is in the cache, dirty and clean.
disk.write(b"dirty", 5 * MiB + 77)
for at in range(0, 16 * MiB, 256 * KiB):
    disk.write(pattern(256 * KiB, at), at)
disk.write(b"dirty", 7 * MiB + 77)
disk.check("%s, a stream" % mode)
disk.check("%s, a stream" % mode, h=other)
disk.h.flush()
in_file("flushed", len(disk.bytes), 0)
disk.save(want)
EOF
  stop_folio
  look_inside
  cmp "$bytes" "$tmp/want" || fail "$mode: not what was written"
done
