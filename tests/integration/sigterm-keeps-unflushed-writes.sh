#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Data written, acknowledged and never flushed is in the file once the server has
# ended after SIGTERM.

. "$(dirname "$0")/disk-lib.sh"

n=$((8 << 20))
new_disk 32M
start_disk cache-size=64M dirty-ratio=80 \
            dirty-background-ratio=70 writeback-interval=600 dirty-expire=600

head -c $n /dev/zero | tr '\0' '\7' >"$tmp/want"
hold --write 0:$n:7
# The client leaves only after the signal, so that its leaving is not what
# makes the server write.
kill -TERM "$pid"
let_go
wait_folio || fail "the server failed"
look_inside
cmp -n $n "$bytes" "$tmp/want" ||
  fail "what was written is not in the file"

# The same once more, with a client that left before the signal.
new_disk 32M
start_disk
hold --write 0:$n:7
let_go
stop_folio
look_inside
cmp -n $n "$bytes" "$tmp/want" ||
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
