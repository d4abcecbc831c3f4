#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# An image has one writer: a second server is refused in one clear line and leaves
# the first alone. Readers share it with one another, and with no writer. The lock
# ends with the server, however that ended.

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
