#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A wrong or unknown value is refused at start: one line on stderr that names the key
# and says what is allowed, and a status that is not 0.

. "$(dirname "$0")/helpers.sh"

img=$tmp/disk.img
truncate -s 1M "$img"
mkdir "$tmp/folder"

# Keys. What is allowed is said: for an unknown key, the keys there are.
refuses 'cache_size.*cache-size' "$img" cache_size=1M
refuses 'bogus' "$img" bogus=1
refuses 'cache-siz[^e]' "$img" cache-siz=1M

# One value each, also of the key that needs not be named.
refuses 'io-depth=2.*second time.*once' "$img" io-depth=1 io-depth=2
refuses 'cache-size=64M.*second time' "$img" cache-size=64M cache-size=64M
refuses 'store=.*b\.img.*second time' "$img" "$tmp/b.img"
refuses 'store=.*disk\.img.*second time' "$img" store="$img"

# Sizes.
for key in cache-size dirty-bytes dirty-background-bytes folio-max readahead \
           sequential-cutoff create; do
  for value in 12Q 1.5X -1M '' M 0x10 99999999999999999999; do
    refuses "$key" "$img" "$key=$value"
  done
done
refuses 'cache-size' "$img" cache-size=0
refuses 'cache-size' "$img" cache-size=1k
refuses 'cache-size' "$img" cache-size=1E
refuses 'cache-size.*1M to 8191G' "$img" cache-size=8T
refuses 'folio-max.*(4K|4096|2M)' "$img" folio-max=3M
refuses 'folio-max.*(4K|4096|2M)' "$img" folio-max=4M
refuses 'folio-max.*(4K|4096|2M)' "$img" folio-max=512

# Numbers.
refuses 'dirty-ratio.*100' "$img" dirty-ratio=0
for value in 140 101 -5 ten 40% 4e1 ''; do
  refuses 'dirty-ratio.*100' "$img" dirty-ratio="$value"
  refuses 'dirty-background-ratio.*100' "$img" dirty-background-ratio="$value"
done
for key in dirty-expire writeback-interval flush-target shutdown-timeout; do
  for value in -1 soon 5min ''; do
    refuses "$key" "$img" "$key=$value"
  done
done
for value in 0 -1 many 1000000; do
  refuses 'io-depth' "$img" io-depth=$value
done

# Words.
refuses '^nbdkit: error: .*fs=zfs.*raw' "$img" fs=zfs
refuses 'cache[^-].*writeback.*writethrough.*none' "$img" cache=bogus
refuses 'direct.*auto.*on.*off' "$img" direct=maybe
refuses 'preallocate.*off, on' "$img" preallocate=yes
refuses 'preallocate=on.*cache-size.*memory' "$img" preallocate=on cache-size=8191G
refuses 'direct.*auto.*on.*off' "$img" direct=
refuses 'direct.*auto.*on.*off' "$img" direct=ON

# Values against one another.
refuses 'dirty-background' "$img" dirty-ratio=20 dirty-background-ratio=30
refuses 'dirty-background' "$img" cache-size=64M dirty-bytes=1M \
        dirty-background-bytes=2M
refuses 'dirty-(ratio|bytes).*dirty-(ratio|bytes)' "$img" dirty-ratio=20 \
        dirty-bytes=1M
refuses 'dirty-background-(ratio|bytes).*dirty-background-(ratio|bytes)' "$img" \
        dirty-background-ratio=5 dirty-background-bytes=1M
refuses 'dirty-bytes' "$img" cache-size=64M dirty-bytes=65M

# The store.
refuses 'store'
refuses 'store' cache-size=64M
refuses 'store' store=
refuses 'store' "$img" store="$tmp/other.img"
refuses 'missing\.img.*(No such file|create)' "$tmp/missing.img"
refuses 'missing\.img.*(No such file|create)' store="file:$tmp/missing.img"
refuses 'folder.*directory' "$tmp/folder"
refuses '/dev/null' /dev/null
mkfifo "$tmp/fifo"
refuses 'fifo' "$tmp/fifo"
refuses 'folder/nodir/x\.img does not exist, and its directory' \
        "$tmp/folder/nodir/x.img"
ln -s "$tmp/missing.img" "$tmp/dangling.img"
refuses 'dangling\.img is a symbolic link to' "$tmp/dangling.img"
refuses 'dangling\.img is a symbolic link to' "$tmp/dangling.img" create=1M
refuses 'rbd:pool/image.*RBD' rbd:pool/image
refuses 'nbd:localhost:10809.*QEMU.*nbd://' nbd:localhost:10809
refuses 'nbd:unix:/s.*QEMU.*nbd\+unix://' nbd:unix:/s
refuses 'nbd\+vsock:.*no such kind.*nbd://' nbd+vsock://2
refuses 'http:.*no such kind' http://localhost/

# NBD servers: what is only for them, or only for files.
refuses 'connections.*file.*only for NBD' "$img" connections=4
refuses 'retry.*file.*only for NBD' "$img" retry=30
refuses 'unsafe-no-flush.*file.*only for NBD' "$img" unsafe-no-flush=yes
refuses 'unsafe-no-flush=maybe.*no, yes' nbd://localhost unsafe-no-flush=maybe
refuses 'create.*NBD server.*only for files' nbd://localhost create=1M
refuses 'direct.*NBD server.*only for files' nbd://localhost direct=auto
for value in 0 65 -1 many ''; do
  refuses 'connections=.*1 to 64' nbd://localhost connections="$value"
done
for value in -1 1m 86401 ''; do
  refuses 'retry=.*0 to 86400' nbd://localhost retry="$value"
done
refuses 'nobody\.sock' "nbd+unix:///?socket=$tmp/nobody.sock"
refuses 'socket' nbd+unix:///
refuses 'tls-verify-peer.*tls-certificates' \
        'nbds://localhost/?tls-verify-peer=false'
refuses 'tls-psk-file.*only for nbds' 'nbd://localhost/?tls-psk-file=/keys'

# None of these has touched the file.
cmp -n 1048576 "$img" /dev/zero || fail "the file was written to"
[ "$(stat -c %s "$img")" = 1048576 ] || fail "the file's size was changed"
[ ! -e "$tmp/missing.img" ] || fail "a missing file was created unasked"

# All of them together at values that are right: the helper above is not one
# that refuses everything.
start_folio store="file:$img" fs=raw cache=writeback cache-size=64M \
            dirty-ratio=100 dirty-background-ratio=1 dirty-expire=1 \
            writeback-interval=1 flush-target=1 folio-max=4k readahead=0 sequential-cutoff=0 \
            direct=off io-depth=1 shutdown-timeout=1
[ "$(nbdinfo --size "$uri")" = 1048576 ]
stop_folio
start_folio "$img" dirty-bytes=16M dirty-background-bytes=1M readahead=128k \
            folio-max=2M sequential-cutoff=8M io-depth=64 cache=writethrough
[ "$(nbdinfo --size "$uri")" = 1048576 ]
stop_folio

# A cache that the machine has no memory for is made, and warned of.
grep -q 'warning' "$log" && fail "a warning of a small cache"
if [ -z "$SANITIZERS" ]; then
  rm -f "$log"
  memory=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
  start_folio "$img" cache-size=$((memory * 2))k
  grep -Eq 'warning: cache-size=.* more than the memory of this machine' "$log" ||
    fail "no warning of a large cache"
  stop_folio
fi
