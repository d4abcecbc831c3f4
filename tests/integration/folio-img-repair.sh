#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# folio-img check --repair makes anew what follows from the rest, whatever there is in the
# log, and refuses what does not; convert --salvage copies what is left.

. "$(dirname "$0")/folio-img-lib.sh"

needs python3

# A disk with a snapshot, and changes in the log of a server that was killed.
disk=$tmp/disk.thin
head -c 24M /dev/urandom >"$tmp/first.raw"
truncate -s 32M "$tmp/first.raw"
img_status 0 convert -O thin --store-size 80M "$tmp/first.raw" "$disk"
img_status 0 snapshot create old "$disk"
start_folio "$disk" fs=thin
client <<'EOT'
h = connect()
for i in range(40):
    h.pwrite(bytes([i + 1]) * 8192, i * 512 * KiB)
    h.flush()
EOT
kill -9 "$pid"
wait_folio || true
img_status 0 convert -O raw "$disk" "$tmp/now.raw"
cp --sparse=always "$disk" "$tmp/whole"

# damage WHAT: the first block of that kind is not there any more: free, extents, chunks,
# or the tenth record of the log.
damage ()
{
  cp --sparse=always "$tmp/whole" "$disk"
  python3 - "$disk" "$1" <<'PY'
import struct, sys
heads = {"free": b"FthN\2\0", "extents": b"FthN\1\0", "refs": b"FthN\3\0",
         "chunks": b"FthT\1", "log": b"FthL"}
with open(sys.argv[1], "r+b") as f:
    data = f.read()
    at = [i for i in range(0, len(data), 4096)
          if data[i:i + 6].startswith(heads[sys.argv[2]])]
    newest = max(at, key=lambda i: struct.unpack_from("<Q", data, i + 32))
    f.seek(sorted(at)[9] if sys.argv[2] == "log" else newest)
    f.write(bytes(4096))
PY
}

# --- what follows from the rest

for what in free refs; do
  damage $what
  img_status 4 check "$disk"
  img_status 1 check --repair "$disk"
  clean "$disk"
  img_status 0 compare -F raw "$disk" "$tmp/now.raw"
  img_status 0 compare --snapshot old -F raw "$disk" "$tmp/first.raw"
  # It can be written to as ever.
  start_folio "$disk" fs=thin
  client <<'EOT'
h = connect()
h.pwrite(b"x" * (4 * MiB), 26 * MiB)
h.flush()
EOT
  stop_folio
  img_status 0 snapshot delete old "$disk"
  clean "$disk"
  img_status 1 compare -F raw "$disk" "$tmp/now.raw"
done

# --- what does not

for what in extents log; do
  damage $what
  cp --sparse=always "$disk" "$tmp/damaged"
  img_status 4 check "$disk"
  img_status 4 check --repair "$disk"
  img_status 1 convert -O raw "$disk" "$tmp/part.raw"
  [ ! -e "$tmp/part.raw" ] || fail "half a disk was made"
  img_status 1 convert --salvage -O raw "$disk" "$tmp/part.raw"
  grep -q 'it is not all' <<<"$out" || fail "salvage: $out"
  python3 - "$tmp/part.raw" "$tmp/now.raw" "$tmp/first.raw" <<'PY' ||
import sys
part, now, first = (open(name, "rb").read() for name in sys.argv[1:])
zero = bytes(4096)
right = 0
for i in range(0, len(now), 4096):
    block = part[i:i + 4096]
    assert block in (now[i:i + 4096], first[i:i + 4096], zero), i
    right += block == now[i:i + 4096]
assert len(part) == len(now) and right > 100, right
print(right, "blocks of", len(now) // 4096)
PY
    fail "what was salvaged is not what was there"
  rm "$tmp/part.raw"
  img_status 0 convert --snapshot old -O raw "$tmp/whole" "$tmp/part.raw"
  rm "$tmp/part.raw"
done
