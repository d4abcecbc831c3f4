#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A thin disk fills its store until writes are refused with ENOSPC. When the store has
# grown, the next server has the room from its first request on, however the last one has
# ended; what reads only leaves it alone. A store that has shrunk is refused.

. "$(dirname "$0")/folio-img-lib.sh"

# fill: writes blocks of 64 KiB to $uri until one is refused, from where the last one was
# on. What was written is $tmp/want.
fill ()
{
  client "$tmp/want" "$1" <<'EOT'
path, least = sys.argv[1], int(sys.argv[2]) * MiB
disk = Shadow.load(connect(), path)
disk.check("before")
begin = len(disk.bytes)
try:
    while len(disk.bytes) < disk.h.get_size():
        at = len(disk.bytes)
        data = pattern(65536, at)
        disk.h.pwrite(data, at)
        disk.bytes[at:] = data
    fail("the disk is full, and its store is not")
except nbd.Error as e:
    if e.errno != "ENOSPC":
        fail("a write into a full store: %s" % e.errno)
disk.check("full", begin, 0)
disk.h.flush()
if len(disk.bytes) - begin < least:
    fail("there was room for no more than %d bytes" % (len(disk.bytes) - begin))
print("%d bytes more" % (len(disk.bytes) - begin))
disk.save(path)
EOT
}

# --- a file, and a server's disk that is a file

file=$tmp/disk.thin
serve_file ()
{
  "$NBDKIT" -U "$tmp/grown.sock" -P "$tmp/grown.pid" file "$file"
  eventually 20 test -s "$tmp/grown.pid" || late "nbdkit does not start"
}

end_serving ()
{
  [ ! -e "$tmp/grown.pid" ] || kill "$(cat "$tmp/grown.pid")"
  rm -f "$tmp/grown.pid" "$tmp/grown.sock"
}
on_exit end_serving

for store in "$file" "nbd+unix:///?socket=$tmp/grown.sock"; do
  [ "$store" = "$file" ] && sizes='12 24 40' || sizes='12 40'
  rm -f "$file"
  img_status 0 create -s 1G --store-size 12M "$file"
  : >"$tmp/want"
  for size in $sizes; do
    truncate -s ${size}M "$file"
    [ "$store" = "$file" ] || serve_file
    sum=$(sha256sum <"$file")
    start_folio -r -- "$store" fs=thin
    stop_folio
    [ "$(sha256sum <"$file")" = "$sum" ] || fail "who reads makes it grow"
    start_folio "$store" fs=thin cache-size=64M
    fill 8
    if [ $size = 24 ] && [ "$store" = "$file" ]; then
      kill_folio
    else
      stop_folio
    fi
    end_serving
    clean "$file"
    [ "$(field "$file" store-used-size)" = $((size << 20)) ] ||
      fail "not all of the store is known: $(img info "$file")"
  done
done

truncate -s 39M "$file"
server=b try_folio "$file" fs=thin >"$tmp/shrunk.log" && fail "a store that has shrunk"
grep -q 'the store has 40894464 bytes, but the thin image on it 41943040' \
     "$tmp/shrunk.log" || fail "why? $(cat "$tmp/shrunk.log")"
