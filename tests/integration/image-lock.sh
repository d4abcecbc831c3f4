#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# An image has one writer: a second server is refused in one clear line and leaves
# the first alone. Readers share it with one another, and with no writer. The lock
# ends with the server, however that ended. With QEMU it is the same, both ways.

. "$(dirname "$0")/helpers.sh"

img=$tmp/disk.img
truncate -s 1M "$img"
ln "$img" "$tmp/link.img"

start_folio "$img"
first=$pid
server=b refuses 'disk\.img.*(lock|in use|another)' "$img"
server=b refuses 'link\.img.*(lock|in use|another)' "$tmp/link.img"
server=b refuses 'disk\.img.*(lock|in use|another)' -r -- "$img"
use_folio main
kill -0 "$first" || fail "the first server has ended"
client <<'EOF'
h = connect()
h.pwrite(b"still mine", 100)
h.flush()
same(h.pread(10, 100), b"still mine", 100, "the first server")
EOF
kill_folio -9

# No lock is left behind.
start_folio "$img"
stop_folio

start_folio -r -- "$img"
server=b start_folio -r -- "$img"
[ "$(nbdinfo --size "$uri")" = 1048576 ]
server=c refuses 'disk\.img.*(lock|in use|another)' "$img"
server=b stop_folio
stop_folio
start_folio "$img"
stop_folio

# ---------------------------------------------------------------------- QEMU

needs qemu-nbd qemu-img qemu-io nbdinfo

# qemu OPTION...: qemu-nbd has the image open, until end_qemu.
qemu ()
{
  rm -f "$tmp/qemu.sock"
  qemu-nbd -t -f raw -k "$tmp/qemu.sock" "$@" "$img" &
  qemu_pid=$!
  echo $qemu_pid >"$tmp/qemu.child"
  eventually 30 nbdinfo --size "nbd+unix:///?socket=$tmp/qemu.sock" ||
    late "qemu-nbd $* does not listen"
}

end_qemu ()
{
  kill $qemu_pid
  wait $qemu_pid || true
  rm -f "$tmp/qemu.child"
}

qemu
refuses 'disk\.img is locked by another process, such as QEMU' -r -- "$img"
refuses 'disk\.img.*lock' "$img"
end_qemu

qemu -r
start_folio -r -- "$img"
server=b start_folio -r -- "$img"
server=c refuses 'disk\.img.*lock' "$img"
qemu-img convert -f raw -O raw "$img" "$tmp/copy.img" || fail "served read-only, and QEMU cannot read it"
refused 'lock' qemu-io -f raw -c 'write 0 512' "$img"
end_qemu
refused 'lock' qemu-io -f raw -c 'write 0 512' "$img"
server=b stop_folio
server=main stop_folio
qemu-io -f raw -c 'write 0 512' "$img" || fail "a lock is left behind"

start_folio "$img"
refused 'lock' qemu-img convert -f raw -O raw "$img" "$tmp/copy.img"
refused 'lock' qemu-io -f raw -r -c 'read 0 512' "$img"
stop_folio
