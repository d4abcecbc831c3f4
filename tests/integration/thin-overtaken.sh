#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Three servers of one thin image on a remote store, which has no locks. The first is
# stopped, with a flush that waits in its socket; the second takes the image, and is cut
# off with a flush under way; the third takes it and writes. Then the first goes on, and
# the second reaches the store again: neither writes a thing, each says so, and fails what
# it is asked for; what the third has flushed is there.

. "$(dirname "$0")/folio-img-lib.sh"

requires "$NBDKIT" nbd --version

nbd_server memory memory 200M
store=$nbd
img_status 0 create -q -s 64M "$store"

# The second server's way to the store, which can be cut.
proxy=$tmp/proxy.sock
start_proxy ()
{
  rm -f "$proxy" "$tmp/proxy.pid"
  "$NBDKIT" -f -U "$proxy" -P "$tmp/proxy.pid" nbd uri="$store" &
  proxy_pid=$!
  on_exit kill -9 $proxy_pid
  eventually 20 test -s "$tmp/proxy.pid" || late "nbdkit nbd does not start"
}

# overtaken NAME STOPPED FILL: a client of that server that stops the process STOPPED when
# all it wrote is flushed but for the last, which it is asked to flush meanwhile; $tmp/NAME
# is there when that is under way. Ends well if nothing of that succeeds.
overtaken ()
{
  use_folio "$1"
  client "$tmp/$1" "$2" "$3" <<'EOT'
import signal
import time

h = connect()
mark, pid, fill = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
h.pwrite(fill * 65536, 0)
h.flush()
h.pwrite(fill * 65536, MiB)
os.kill(pid, signal.SIGSTOP)
while open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[0] != "T":
    time.sleep(0.001)
cookie = h.aio_flush()
open(mark, "w").close()


def flushed():
    while not h.aio_command_completed(cookie):
        h.poll(-1)


refused("the flush that waited", flushed, "EIO", "EBUSY")
refused("a write", lambda: (h.pwrite(b"x" * 4096, 2 * MiB), h.flush()),
        "EIO", "EBUSY")
EOT
}

# waits_for_flush NAME: that client is there.
waits_for_flush ()
{
  eventually 60 test -e "$tmp/$1" || late "the client of $1 does not get there"
}

# says_so NAME: it has been overtaken, and knows; once.
says_so ()
{
  [ "$(grep -c 'another server has taken the image' "$tmp/$1.log")" = 1 ] ||
    fail "server $1 does not say once that it was overtaken"
}

server=first start_folio "$store" fs=thin shutdown-timeout=1
overtaken first "$pid" A &
first=$!
waits_for_flush first

start_proxy
server=second start_folio "nbd+unix:///?socket=$proxy" fs=thin retry=600 \
                          shutdown-timeout=1
overtaken second $proxy_pid B &
second=$!
waits_for_flush second

server=third start_folio "$store" fs=thin
client "$tmp/want" <<'EOT'
h = connect()
same(h.pread(65536, 0), b"B" * 65536, 0, "what the second had flushed")
disk = Shadow(h)
disk.bytes[0:65536] = b"B" * 65536
for i in range(8):
    disk.write(pattern(65536, i), (2 + i) * MiB)
    disk.h.flush()
disk.trim(4096, 0)
disk.h.flush()
disk.save(sys.argv[1])
EOT

# folio-img leaves it alone, even to begin anew.
img_refuses 'another server has it open' 1 create -q -s 64M --force "$store"
img_refuses 'another server has it open' 1 snapshot create now "$store"

use_folio first
kill -CONT "$pid"
wait $first || fail "the first server takes a flush for done"
says_so first

kill -9 $proxy_pid
start_proxy
wait $second || fail "the second server takes a flush for done"
says_so second

use_folio third
client "$tmp/want" <<'EOT'
h = connect()
h.pwrite(b"z" * 4096, 32 * MiB)
h.flush()
h.trim(4096, 32 * MiB)
h.flush()
EOT
server=third stop_folio
clean "$store"

# They end, and not as if all was well.
for name in first second; do
  use_folio $name
  kill -TERM "$pid"
  status=0
  wait_folio $name || status=$?
  [ $status -ne 0 ] || fail "server $name: status 0, though it has lost data"
done
clean "$store"

server=fourth start_folio "$store" fs=thin
client "$tmp/want" <<'EOT'
Shadow.load(connect(), sys.argv[1]).check("what the third had flushed")
EOT
server=fourth stop_folio
clean "$store"
