#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Data written, acknowledged and never flushed is in the file once the server has
# ended after SIGTERM.

. "$(dirname "$0")/helpers.sh"

bytes=$((8 << 20))
truncate -s 32M "$tmp/disk.img"
start_folio "$tmp/disk.img" cache-size=64M dirty-ratio=80 \
            dirty-background-ratio=70 writeback-interval=600 dirty-expire=600

head -c $bytes /dev/zero | tr '\0' '\7' >"$tmp/want"
hold --write 0:$bytes:7
# The client leaves only after the signal, so that its leaving is not what
# makes the server write.
kill -TERM "$pid"
let_go
wait_folio || fail "the server failed"
cmp -n $bytes "$tmp/disk.img" "$tmp/want" ||
  fail "what was written is not in the file"

# The same once more, with a client that left before the signal.
rm "$tmp/disk.img"
truncate -s 32M "$tmp/disk.img"
start_folio "$tmp/disk.img"
hold --write 0:$bytes:7
let_go
stop_folio
cmp -n $bytes "$tmp/disk.img" "$tmp/want" ||
  fail "what a client that left had written is not in the file"

truncate -s 32M "$tmp/peer.img"
peer_write ()
{
  client <<'EOF'
h = connect()
h.pwrite(pattern(64 * KiB, 7), 0)
EOF
}
with_peer "$tmp/peer.img" 16M peer_write
if [ "$(tr -d '\0' <"$tmp/peer.img" | wc -c)" = 0 ]; then
  echo "the cache filter lost it"
else
  echo "the cache filter kept it"
fi
