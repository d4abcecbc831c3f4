#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Served read-only (-r), a disk takes no write, and its file is not written to, not
# even its times. A file that cannot be written is refused without -r, and served
# with it.

. "$(dirname "$0")/helpers.sh"

img=$tmp/disk.img
head -c 1M /dev/urandom >"$img"
truncate -s 3M "$img"
touch -d 2001-02-03 "$img"
before=$(stat -c '%s %b %y %z' "$img")
sum=$(sha256sum <"$img")

start_folio -r -- "$img"
client "$img" <<'EOF'
h = connect(checked=False)
if not h.is_read_only():
    fail("the disk does not say that it is read-only")
for name, request in (
        ("write", lambda: h.pwrite(b"x" * 512, 0)),
        ("FUA write", lambda: h.pwrite(b"x" * 512, 0, FUA)),
        ("zero", lambda: h.zero(512, 0)),
        ("trim", lambda: h.trim(512, 0))):
    try:
        request()
    except nbd.Error as e:
        if e.errno not in ("EPERM", "EROFS"):
            fail("%s: %s, not EPERM" % (name, e.errno))
    else:
        fail("%s: taken" % name)
h.flush()
want = open(sys.argv[1], "rb").read()
same(b"".join(h.pread(MiB, i * MiB) for i in range(3)), want, 0, "what is read")
if not any(flags & HOLE for n, flags in extents(h, MiB, 2 * MiB)):
    fail("the hole is not seen")
EOF
stop_folio
[ "$(stat -c '%s %b %y %z' "$img")" = "$before" ] || fail "the file was touched"
[ "$(sha256sum <"$img")" = "$sum" ] || fail "the file was changed"

# What cannot be written, even by root: on a read-only mount.
if ! { mkdir "$tmp/ro" && mount --bind "$tmp" "$tmp/ro" &&
         mount -o remount,bind,ro "$tmp/ro"; } 2>/dev/null; then
  [ "$(id -u)" != 0 ] || skip "a read-only mount cannot be made; the rest passed"
  mkdir -p "$tmp/ro"
  cp "$img" "$tmp/ro/disk.img"
  chmod a-w "$tmp/ro/disk.img"
else
  on_exit umount "$tmp/ro"
fi
refuses 'ro/disk\.img.*-r' "$tmp/ro/disk.img"
refuses 'ro/new\.img' "$tmp/ro/new.img" create=1M
start_folio -r -- "$tmp/ro/disk.img"
nbdcopy "$uri" "$tmp/copy"
cmp "$img" "$tmp/copy" || fail "not what is in the file"
stop_folio
