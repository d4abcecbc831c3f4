#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A block device serves as a disk, with sectors of 512 and of 4096 bytes: writes,
# zeroes and trims at odd offsets, flush, FUA and restart. One that is read-only is
# refused without -r.

. "$(dirname "$0")/helpers.sh"

needs losetup
[ "$(id -u)" = 0 ] || skip "only root can set up a loop device"

loop=
detach ()
{
  if [ -n "$loop" ]; then
    losetup -d "$loop"
    loop=
  fi
}
on_exit detach

for sector in 512 4096; do
  truncate -s 0 "$tmp/backing"
  truncate -s 24M "$tmp/backing"
  loop=$(losetup -f --show -b $sector "$tmp/backing") ||
    skip "losetup cannot set up a loop device of $sector byte sectors"
  [ "$(blockdev --getss "$loop")" = $sector ] ||
    skip "the loop device does not take a sector size of $sector"

  for direct in auto off; do
    start_folio "$loop" cache-size=4M direct=$direct
    client "$tmp/want" "$sector" <<'EOF'
seed = int(sys.argv[2])
disk = Shadow(connect())
if len(disk.bytes) != 24 * MiB:
    fail("the disk has %d bytes" % len(disk.bytes))
disk.write(pattern(12 * MiB, seed), 0)
rng = random.Random(seed)
for i in range(300):
    n = rng.choice((1, 100, 511, 512, 513, 4095, 4096, 4097, 70000, 1000000))
    at = rng.randrange(len(disk.bytes) - n)
    rng.choice((disk.zero, disk.trim,
                lambda n, at: disk.write(pattern(n, i), at, FUA),
                lambda n, at: disk.write(pattern(n, i), at)))(n, at)
    disk.check("step %d" % i, n, at)
    if i % 50 == 0:
        disk.h.flush()
disk.write(b"end", len(disk.bytes) - 3)
disk.write(b"begin", 0)
disk.check("at the end")
disk.h.flush()
disk.check("after a flush")
disk.save(sys.argv[1])
EOF
    stop_folio
    cmp "$loop" "$tmp/want" || fail "$sector, direct=$direct: wrong on the device"
    start_folio "$loop" cache-size=4M direct=$direct
    nbdcopy "$uri" "$tmp/copy"
    stop_folio
    cmp "$tmp/copy" "$tmp/want" ||
      fail "$sector, direct=$direct: wrong after a restart"
  done
  detach
done

# One that is read-only is served with -r, and refused without: nothing that is
# written to it could ever be stored.
loop=$(losetup -f --show -r "$tmp/backing") || skip "no read-only loop device"
refuses "$loop is a read-only block device.*-r" "$loop"
start_folio -r -- "$loop"
[ "$(nbdinfo --size "$uri")" = $((24 << 20)) ] || fail "served with another size"
stop_folio
detach
