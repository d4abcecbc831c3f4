#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# -D folio.stats=1: the counters are logged at the end, and are right; without
# it they are not.

. "$(dirname "$0")/helpers.sh"

requests ()
{
  client <<'EOF'
h = connect()
for i in range(10):
    h.pwrite(bytes([i + 1]) * 4096, i * 4096)
for i in range(5):
    same(h.pread(4096, i * 4096), bytes([i + 1]) * 4096, i * 4096, "page")
h.trim(65536, 1 << 20)
h.flush()
h.shutdown()
EOF
}

truncate -s 16M "$tmp/disk.img"
start_folio "$tmp/disk.img"
requests
stop_folio
! grep 'stats:' "$log" || fail "counters that nobody asked for"

start_folio -D folio.stats=1 -- "$tmp/disk.img"
requests
stop_folio
cat "$log"

# last LINE KEY: the key's value when the line was logged last.
last ()
{
  sed -n "s/.*stats: $1:.* $2=\([0-9]*\).*/\1/p" "$log" | tail -n 1
}

# is LINE KEY VALUE
is ()
{
  [ "$(last "$1" "$2")" = "$3" ] || fail "$1: $2=$(last "$1" "$2"), not $3"
}

is requests reads 5
is requests read-bytes 20480
is requests writes 10
is requests write-bytes 40960
is requests trims 1
is requests trim-bytes 65536
is requests flushes 1
is requests failed 0
is cache hits 5
is cache misses 0
is now dirty 0
is now unsaved 0
is flush count 1
is store store-zeroes 1
is store store-zero-bytes 65536
is store store-zero-errors 0
[ "$(last store store-flushes)" -ge 1 ] || fail "no flush of the store"
