#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# direct=on, off and auto give the same disk, on a disk filesystem and on tmpfs.
# Where O_DIRECT cannot be had, direct=on is refused in one line and auto goes
# without.

. "$(dirname "$0")/helpers.sh"

# Kernels from 6.6 on let a file on tmpfs be opened with O_DIRECT and ignore it.
direct_works () # FOLDER
{
  [ "$(stat -f -c %T "$1")" != tmpfs ] &&
    dd if=/dev/zero of="$1/probe" bs=4096 count=1 oflag=direct status=none
}

same_disk () # FOLDER
{
  local direct
  for direct in off on auto; do
    rm -f "$1/disk.img"
    truncate -s 20M "$1/disk.img"
    if [ $direct = on ] && ! direct_works "$1"; then
      refuses 'disk\.img.*direct=on.*direct=auto' "$1/disk.img" direct=on
      continue
    fi
    start_folio "$1/disk.img" cache-size=4M direct=$direct
    client "$1/want" <<'EOF'
disk = Shadow(connect())
rng = random.Random(42)
for i in range(400):
    n = rng.choice((1, 100, 512, 4096, 5000, 65536, 300000))
    at = rng.randrange(len(disk.bytes) - n)
    if rng.random() < 0.5:
        at &= ~511
    what = rng.random()
    if what < 0.1:
        disk.zero(n, at)
    elif what < 0.2:
        disk.trim(n, at)
    elif what < 0.25:
        disk.h.flush()
    else:
        disk.write(pattern(n, i), at, FUA if what > 0.9 else 0)
    if i % 20 == 0:
        disk.check("step %d" % i)
disk.check("at the end")
disk.save(sys.argv[1])
EOF
    stop_folio
    cmp "$1/disk.img" "$1/want" || fail "$1, direct=$direct: wrong in the file"
    sha256sum <"$1/want" >>"$tmp/sums"
    start_folio "$1/disk.img" cache-size=4M direct=$direct
    nbdcopy "$uri" "$1/copy"
    stop_folio
    cmp "$1/copy" "$1/want" || fail "$1, direct=$direct: wrong after a restart"
  done
}

same_disk "$tmp"

# tmpfs: mounted here if that can be done, or the one every Debian has.
if mkdir "$tmp/tmpfs" && mount -t tmpfs -o size=128M tmpfs "$tmp/tmpfs"; then
  on_exit umount "$tmp/tmpfs"
  same_disk "$tmp/tmpfs"
elif [ "$(stat -f -c %T /dev/shm)" = tmpfs ]; then
  shm=$(mktemp -d /dev/shm/folio.XXXXXX)
  on_exit rm -rf "$shm"
  same_disk "$shm"
else
  echo "no tmpfs to try"
fi
[ "$(sort -u "$tmp/sums" | wc -l)" = 1 ] || fail "not the same everywhere"
