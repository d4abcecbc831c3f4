#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Clients are killed while they read and write, again and again, and at times
# nbdkit itself does not survive that: the 16 MiB that another client has written
# and not flushed are in the file, however the server has ended. SEED=N replays
# what is killed and when, as far as the clients' own times allow; KILLS=N kills
# more or fewer.

. "$(dirname "$0")/helpers.sh"

needs nbdcopy qemu-img fio
find_python
ulimit -c 0

seed=${SEED:-$((RANDOM * 32768 + RANDOM + 1))}
kills=${KILLS:-$(share 40)}
echo "SEED=$seed KILLS=$kills"
RANDOM=$seed

# The first 16 MiB are the client's that stays; the others write behind them.
kept=$((16 << 20))
truncate -s 64M "$tmp/disk.img"
fio_nbd=1
fio --enghelp=nbd >/dev/null 2>&1 || { echo "this fio knows no NBD"; fio_nbd=; }

# Requests of all sizes, as many as nbdkit takes at once, until it is killed.
cat >"$tmp/raw.py" <<'END'
import random
import sys

import nbd

uri, write, seed = sys.argv[1], sys.argv[2] == "w", int(sys.argv[3])
rng = random.Random(seed)
h = nbd.NBD()
h.connect_uri(uri)
while True:
    while h.aio_in_flight() < 32:
        n = rng.choice((512, 4096, 65536, 1 << 20))
        offset = rng.randrange(16 << 20, (64 << 20) - n)
        if write:
            h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(n)), offset)
        else:
            h.aio_pread(nbd.Buffer(n), offset)
    h.poll(-1)
    while h.aio_peek_command_completed() > 0:
        h.aio_command_completed(h.aio_peek_command_completed())
END

# (So many that it does not come to the end, and begin at 0 again.)
bench ()
{
  exec qemu-img bench -f raw -c 90000 -d 16 -s 64k -S 512 -o 16M "$@" "$uri"
}

raw ()
{
  exec "$python" "$tmp/raw.py" "$uri" "$1" $RANDOM
}

run_fio ()
{
  exec fio --name=x --ioengine=nbd --uri="$uri" --rw="$1" --bs=16k --iodepth=16 \
           --offset=16M --size=48M --thread --time_based --runtime=60
}

# lives: starts a client that does something for a while, as $!.
lives ()
{
  case $1 in
    0) nbdcopy "$uri" null: ;;
    1) bench ;;
    2) bench -w ;;
    3) raw r ;;
    4) raw w ;;
    5) run_fio randread ;;
    6) run_fio randwrite ;;
  esac >/dev/null 2>&1 </dev/null &
}

# How long each needs before it is at it, in milliseconds.
begun=(5 20 20 120 120 400 400)

serve ()
{
  byte=$((RANDOM % 250 + 1))
  start_folio "$tmp/disk.img" cache-size=128M dirty-ratio=80 \
              dirty-background-ratio=70 writeback-interval=600 dirty-expire=600
  hold --write 0:$kept:$byte
  head -c $kept /dev/zero | tr '\0' "\\$(printf %o "$byte")" >"$tmp/want"
}

is_kept ()
{
  cmp -n $kept "$tmp/disk.img" "$tmp/want" ||
    { show_log; fail "kill $i, $kind: what was acknowledged is not there"; }
}

deaths=0
serve
for ((i = 1; i <= kills; i++)); do
  kind=$((RANDOM % (fio_nbd ? 7 : 5)))
  ms=$((begun[kind] + RANDOM % 80))
  lives "$kind"
  client_pid=$!
  sleep "$(printf %d.%03d $((ms / 1000)) $((ms % 1000)))"
  kill -9 "$client_pid" 2>/dev/null || true
  wait "$client_pid" 2>/dev/null || true
  if ! kill -0 "$pid" 2>/dev/null; then
    status=0
    wait_folio || status=$?
    [ $status = 134 ] || { show_log; fail "kill $i, $kind: status $status"; }
    is_kept
    deaths=$((deaths + 1))
    let_go
    serve
  fi
done
kill "$pid"
let_go
wait_folio || true
is_kept
echo "$kills clients killed, the server died $deaths times"
