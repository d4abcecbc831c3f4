#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A remote disk that is read-only is refused, unless folio is to serve it
# read-only; then nothing can be written.

. "$(dirname "$0")/remote-lib.sh"

head -c 1M /dev/urandom >"$tmp/disk"
remote_nbdkit -r file "$tmp/disk"

refuses 'read-only' "$remote_uri"

start_folio -r -- "$remote_uri"
client "$tmp/disk" <<'EOF'
h = connect()
if not h.is_read_only():
    fail("the disk can be written")
with open(sys.argv[1], "rb") as f:
    same(h.pread(MiB, 0), f.read(), 0, "the remote disk")
EOF
stop_folio
kill_remote

# One that could be written is not, with -r.
cp "$tmp/disk" "$tmp/before"
remote_nbdkit file "$tmp/disk"
start_folio -r -- "$remote_uri"
client <<'EOF'
h = connect(checked=False)
for refused in (lambda: h.pwrite(bytes(4096), 0), lambda: h.zero(4096, 0),
                lambda: h.trim(4096, 0)):
    try:
        refused()
    except nbd.Error as e:
        if e.errno not in ("EROFS", "EPERM"):
            fail("refused with %s" % e.errno)
    else:
        fail("a change of a read-only disk is accepted")
EOF
stop_folio
cmp "$tmp/before" "$tmp/disk"
kill_remote
