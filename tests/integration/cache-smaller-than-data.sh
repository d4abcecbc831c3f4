#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# 32 MiB written through a cache of 4 MiB read back right at once, after a flush
# and after a restart of the server.

. "$(dirname "$0")/disk-lib.sh"

new_disk 64M
start_disk cache-size=4M

client "$tmp/want" "$disk" "$FORMAT" <<'EOF'
disk = Shadow(connect())
for i in range(512):
    disk.write(pattern(64 * KiB, i), i * 64 * KiB)
disk.check("at once")
disk.write(pattern(300000, 999), 1000)
disk.h.flush()
if sys.argv[3] == "raw":
    same(open(sys.argv[2], "rb").read(), disk.bytes, 0, "the file after a flush")
disk.check("after a flush")
disk.save(sys.argv[1])
EOF
stop_folio
look_inside
cmp "$bytes" "$tmp/want" || fail "the file is not what was written"

start_disk cache-size=4M
client "$tmp/want" <<'EOF'
disk = Shadow(connect())
disk.bytes = bytearray(open(sys.argv[1], "rb").read())
disk.check("after a restart")
EOF
stop_folio

peer_count ()
{
  client <<'EOF'
h = connect()
for i in range(512):
    h.pwrite(pattern(64 * KiB, i), i * 64 * KiB)
wrong = sum(h.pread(64 * KiB, i * 64 * KiB) != pattern(64 * KiB, i)
            for i in range(512))
print("the cache filter returns %d of 512 blocks wrong" % wrong)
EOF
}
truncate -s 0 "$tmp/peer.img"
truncate -s 64M "$tmp/peer.img"
with_peer "$tmp/peer.img" 4M peer_count
