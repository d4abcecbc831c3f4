#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# An image that is served and not written to keeps its times, its blocks and
# its bytes, so that a backup of what has changed leaves it out. The first trim
# and the first zero, which find out what the file system can do, work.

. "$(dirname "$0")/helpers.sh"

needs nbdcopy nbdinfo
img=$tmp/disk.img

facts ()
{
  stat -c '%b blocks, %s bytes, modified %y, changed %z' "$img"
  sha256sum <"$img"
}

truncate -s 8M "$img"
head -c 1M /dev/urandom >"$tmp/data"
dd if="$tmp/data" of="$img" bs=1M seek=2 conv=notrunc status=none
sync "$img"
touch -d '2001-02-03 04:05:06' "$img"
before=$(facts)
blocks=${before%% *}

for args in direct=auto direct=off cache=none create=8M "-r --"; do
  case $args in
    -r*) start_folio -r -- "$img" ;;
    *) start_folio "$img" "$args" ;;
  esac
  nbdinfo --map "$uri" >/dev/null
  nbdcopy "$uri" "$tmp/copy"
  client <<'EOF'
h = connect()
if h.can_flush():
    h.flush()
h.cache(MiB, 0)
EOF
  stop_folio
  cmp "$img" "$tmp/copy" || fail "$args: a wrong copy"
  [ "$(facts)" = "$before" ] ||
    fail "$args: the image has changed: $before; now $(facts)"
done

start_folio "$img"
client <<'EOF'
disk = Shadow(connect())
disk.trim(65536, 2 * MiB)
disk.zero(65536, 2 * MiB + 131072)
disk.check("trimmed and zeroed")
EOF
stop_folio
[ "$(stat -c %b "$img")" -lt "$blocks" ] ||
  fail "the trim has given nothing back"
