#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# folio-img convert copies disks from one format to the other and back, and nothing has
# changed; holes stay. Ctrl-C leaves none. compare sees each difference.

. "$(dirname "$0")/folio-img-lib.sh"

needs mke2fs python3

mkdir "$tmp/root"
cp -r "$here" "$tmp/root/etc"
for i in 1 2 3 4; do
  head -c $((i * 700000)) /dev/urandom >"$tmp/root/random$i"
done
truncate -s 256M "$tmp/fs.raw"
mke2fs -q -t ext4 -d "$tmp/root" "$tmp/fs.raw"
# Zeroes that are there, and a last block that is.
head -c 3M /dev/zero | dd of="$tmp/fs.raw" bs=1M seek=200 conv=notrunc status=none
echo end | dd of="$tmp/fs.raw" bs=1 seek=$(((256 << 20) - 4)) conv=notrunc status=none

allocated ()
{
  echo $(($(stat -c '%b * %B' "$1")))
}

# --- there and back

img_refuses 'raw or -O thin is needed' 2 convert "$tmp/fs.raw" "$tmp/fs.thin"
img_refuses 'no such choice' 2 convert -O qcow2 "$tmp/fs.raw" "$tmp/fs.thin"
img_status 0 convert -O thin "$tmp/fs.raw" "$tmp/fs.thin"
clean "$tmp/fs.thin"
img_status 0 compare -f raw "$tmp/fs.raw" "$tmp/fs.thin"
[ "$out" = 'the same' ] || fail "compare: $out"
[ "$(allocated "$tmp/fs.thin")" -lt $(($(allocated "$tmp/fs.raw") + (2 << 20))) ] ||
  fail "the thin one is larger: $(du -k "$tmp"/fs.*)"
img_status 0 convert -O raw "$tmp/fs.thin" "$tmp/back.raw"
cmp "$tmp/fs.raw" "$tmp/back.raw" || fail "not what it was"
[ "$(allocated "$tmp/back.raw")" -le "$(allocated "$tmp/fs.raw")" ] ||
  fail "holes are lost: $(du -k "$tmp"/*.raw)"

# To itself, to what is there, and to what is not large enough.
img_refuses 'holds something already' 1 convert -O raw "$tmp/fs.thin" "$tmp/back.raw"
head -c 1M /dev/urandom | dd of="$tmp/back.raw" bs=1M seek=99 conv=notrunc status=none
img_status 0 convert --force -O raw "$tmp/fs.thin" "$tmp/back.raw"
cmp "$tmp/fs.raw" "$tmp/back.raw" || fail "what was there is still"
truncate -s 10M "$tmp/small"
img_refuses 'has 10 MiB' 1 convert -O raw "$tmp/fs.thin" "$tmp/small"
truncate -s 4M "$tmp/small"
img_refuses 'cannot be written|too small|No space' 1 \
  convert -O thin "$tmp/fs.raw" "$tmp/small"

# The size of a disk that is no whole number of blocks is rounded up.
head -c 1000001 /dev/urandom >"$tmp/odd.raw"
img_status 0 convert -O thin "$tmp/odd.raw" "$tmp/odd.thin"
img_status 0 convert -O raw "$tmp/odd.thin" "$tmp/odd.back"
truncate -s 1003520 "$tmp/odd.raw"
cmp "$tmp/odd.raw" "$tmp/odd.back" || fail "the odd one is not what it was"

# Thin to thin leaves snapshots behind; a snapshot is a disk.
img_status 0 snapshot create old "$tmp/odd.thin"
img_status 0 convert -f thin -O thin "$tmp/odd.thin" "$tmp/odd2.thin"
[ "$(field "$tmp/odd2.thin" snapshots)" = 0 ] || fail "a snapshot was copied"
img_status 0 compare --snapshot old "$tmp/odd.thin" "$tmp/odd2.thin"

# --- differences

img_status 1 compare "$tmp/odd.thin" "$tmp/fs.thin"
[[ $out == 'different sizes'* ]] || fail "compare: $out"
printf x | dd of="$tmp/odd.back" bs=1 seek=777777 conv=notrunc status=none
img_status 1 compare -F raw "$tmp/odd.thin" "$tmp/odd.back"
[ "$out" = 'different at byte 777777' ] || fail "compare: $out"
img_status 2 compare "$tmp/odd.thin" "$tmp/none"

# --- on a server

nbd_server memory memory 320M
img_status 0 convert -O thin "$tmp/fs.raw" "$nbd"
img_status 0 compare -f raw "$tmp/fs.raw" "$nbd"
clean "$nbd"

# --- stopped by a signal, such as that of Ctrl-C

# A disk that is read slowly, so that there is time.
head -c 60M /dev/urandom >"$tmp/slow.raw"
nbd_server slow --filter=delay file "$tmp/slow.raw" rdelay=1
slow=$nbd

# interrupted TARGET: a conversion to there is stopped when it has begun.
interrupted ()
{
  local status=0
  "$abs_top_builddir/img/folio-img" convert -q -O thin "$slow" "$1" \
    >"$tmp/out" 2>&1 &
  local pid=$!
  eventually 20 has_begun "$1" || late "the conversion does not begin"
  kill -TERM $pid # Ctrl-C is ignored in the background
  wait $pid || status=$?
  [ $status = 130 ] || fail "status $status: $(cat "$tmp/out")"
  grep -q 'folio-img: stopped' "$tmp/out" || fail "it says: $(cat "$tmp/out")"
}
has_begun ()
{
  if [ -e "$1" ]; then
    [ "$(head -c 4 "$1")" = FthS ]
  else
    [ "$(head -c 4 "$1".part-*)" = FthS ]
  fi
}
interrupted "$tmp/new.thin"
ls "$tmp"/new.thin* 2>/dev/null && fail "something is left"
truncate -s 200M "$tmp/there.thin"
interrupted "$tmp/there.thin"
img_refuses 'superblock|no thin image|not' 1 info "$tmp/there.thin"

# --- a progress bar, on a terminal only

img convert --force -O thin "$tmp/fs.raw" "$tmp/fs.thin" 2>"$tmp/err"
[ ! -s "$tmp/err" ] || fail "no terminal, and yet: $(cat "$tmp/err")"
python3 - "$abs_top_builddir/img/folio-img" compare "$tmp/fs.thin" "$tmp/fs.thin" \
  >"$tmp/tty" <<'PY'
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
PY
grep -q ' % of 256 MiB, ' "$tmp/tty" || fail "no progress bar: $(cat "$tmp/tty")"
