#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A file that is made shorter while it is served: what is gone with it is an
# error, never zeroes: not to a write of a part of a sector, not after a write
# behind the cut, which does not make the file longer, and not when somebody else
# does. What a client zeroed there it reads as zeroes, but that fails, and so do
# flushes. A file whose size is odd is no such file.

. "$(dirname "$0")/helpers.sh"

img=$tmp/disk.img

for direct in auto off; do
  head -c 8M /dev/urandom >"$img"
  start_folio "$img" direct=$direct readahead=0
  truncate -s 5M "$img"
  client <<'EOF'
h = connect()

h.pread(4096, MiB)
refused("a read of what is gone", lambda: h.pread(4096, 6 * MiB))
refused("a read over the end", lambda: h.pread(2 * MiB, 4 * MiB))
refused("a part of a sector", lambda: h.pwrite(b"x" * 100, 7 * MiB + 100, FUA))
types = []
h.block_status(2 * MiB, 6 * MiB,
               lambda meta, offset, entries, error: types.extend(entries[1::2]))
if not types or any(types):
    fail("what is gone is said to be a hole: %s" % types)
EOF
  stop_folio
  [ "$(stat -c %s "$img")" = $((5 << 20)) ] || fail "the file has grown again"
done

for args in "cache=none" "cache=none direct=off" "cache=writethrough"; do
  head -c 8M /dev/urandom >"$img"
  rm -f "$log"
  # shellcheck disable=SC2086
  start_folio "$img" $args readahead=0 shutdown-timeout=1
  truncate -s 5M "$img"
  client <<'EOF'
h = connect()

refused("a write behind the cut", lambda: h.pwrite(pattern(65536, 1), 7 * MiB))
refused("zeroes", lambda: h.zero(65536, 6 * MiB))
refused("a trim", lambda: h.trim(65536, 6 * MiB + 65536))
same(h.pread(4096, 6 * MiB), bytes(4096), 6 * MiB, "zeroes, to be tried again")
refused("a flush", h.flush)
refused("the middle", lambda: h.pread(4096, 6 * MiB + 512 * KiB))
h.pwrite(pattern(65536, 2), MiB)
EOF
  [ "$(stat -c %s "$img")" = $((5 << 20)) ] || fail "$args: the file has grown"
  truncate -s 8M "$img"
  client <<'EOF'
h = connect()

refused("what is gone", lambda: h.pread(4096, 6 * MiB + 512 * KiB))
refused("a flush", h.flush)
refused("over the cut", lambda: h.pread(MiB, 5 * MiB - 4096))
same(h.pread(65536, MiB), pattern(65536, 2), MiB, "before the cut")
EOF
  kill_folio
  [ "$(grep -c 'cut off at 5242880 of its 8388608 bytes' "$log")" = 1 ] ||
    fail "$args: not one line of it in the log"
done

head -c 1000001 /dev/urandom >"$img"
for direct in auto off; do
  start_folio "$img" direct=$direct
  nbdcopy "$uri" "$tmp/copy"
  stop_folio
  cmp -n 1000001 "$img" "$tmp/copy" || fail "a file of an odd size, direct=$direct"
done
