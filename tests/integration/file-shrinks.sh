#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A file that is made shorter while it is served: what is gone with it reads as
# an error, never as zeroes, and a write of a part of a sector there does not
# invent the rest. A file whose size is odd is no such file.

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

head -c 1000001 /dev/urandom >"$img"
for direct in auto off; do
  start_folio "$img" direct=$direct
  nbdcopy "$uri" "$tmp/copy"
  stop_folio
  cmp -n 1000001 "$img" "$tmp/copy" || fail "a file of an odd size, direct=$direct"
done
