#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# contrib/quickstart once all is built: which images it takes, what it says when
# the server does not start, and that it never says that all is written back
# when something is lost.

. "$(dirname "$0")/remote-lib.sh"

quickstart=$abs_top_srcdir/contrib/quickstart
needs setsid
cd "$tmp"

# Its nbdkit is that of the tests, and gives up soon.
NBDKIT=$(command -v "$NBDKIT")
export NBDKIT
mkdir bin
cat >bin/nbdkit <<END
#!/bin/bash
export FOLIO_SANITIZER_LOG=$tmp/sanitizer
# A port may be another's: on a socket instead, "-f -P FILE -i ADDRESS -p N ...".
[ ! -e "$tmp/by-socket" ] || set -- "\${@:1:3}" -U "$tmp/quick.sock" "\${@:8}"
case " \$* " in
  *"$remote_uri"*) set -- "\$@" retry=1 ;;
esac
exec bash "$tests_dir/nbdkit.sh" "\$@" shutdown-timeout=1
END
chmod +x bin/nbdkit
export PATH=$tmp/bin:$PATH

# A port that is in use, until this ends.
cat >busy.py <<'END'
import socket
import sys

s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
sys.stdin.read()
END

# ---------------------------------------------------------------- the image

bash "$quickstart" file:part.img --size 1M --run 'nbdinfo --size "$uri"' >size
[ "$(cat size)" = 1048576 ] || fail "file:part.img: $(cat size)"
[ "$(stat -c %s part.img)" = 1048576 ] || fail "file:part.img is not part.img"
for name in rbd:x nbd:localhost:10809 http://h/x NBD://h nbd+vsock://2; do
  refused "${name/+/.}: no such kind of store; allowed: PATH.*nbds\+unix" \
          bash "$quickstart" "$name" --run true
done
bash "$quickstart" file:http:x --size 1M --run true
[ -e http:x ] || fail "file: is not stripped"

# ------------------------------------------------------------ a port in use

coproc BUSY { exec python3 busy.py; }
busy_pid=$BUSY_PID
quick_pid=
end_all ()
{
  kill "$busy_pid" $quick_pid 2>/dev/null || true
}
on_exit end_all
read -r port <&"${BUSY[0]}"
refused "port $port is in use.*--port" \
        bash "$quickstart" new.img --size 1M --port "$port"
[ ! -e new.img ] || fail "an image is left behind that was never served"
refused "port $port is in use" bash "$quickstart" part.img --port "$port"
[ -e part.img ] || fail "an image was removed that was there before"

# --------------------------------------------------------------------- loss

# The status of a run in which nothing is lost is the command's.
write='nbdcopy data "$uri"'
head -c 1M /dev/urandom >data
bash "$quickstart" part.img --run "$write" 2>log || fail "a run that went well"
cmp data part.img || fail "not written back"
status=0
bash "$quickstart" part.img --run 'exit 3' || status=$?
[ $status = 3 ] || fail "the command's status became $status"

# The remote server dies, and what was not flushed with it: it must die before
# the client leaves, since then all is written back and flushed.
find_python
cat >lose.py <<'END'
import os
import signal

import nbd

h = nbd.NBD()
h.connect_uri(os.environ["uri"])
with open("data", "rb") as f:
    h.pwrite(f.read(), 0)
os.kill(int(os.environ["remote_pid"]), signal.SIGKILL)
END
lose="$python lose.py"
export remote_pid

remote ()
{
  truncate -s 1M far.img
  remote_nbdkit file far.img
}

remote
status=0
bash "$quickstart" "$remote_uri" --run "$lose" 2>log || status=$?
remote_gone
cat log
[ $status = 74 ] || fail "data is lost, and the status is $status"
grep -q 'DATA WAS LOST: 1048576 bytes' log || fail "the loss is not said"

remote
status=0
bash "$quickstart" "$remote_uri" \
     --run "$lose; exit 3" 2>log || status=$?
remote_gone
cat log
[ $status = 3 ] || fail "the command's status became $status"
grep -q 'DATA WAS LOST' log || fail "the loss is not said"

# The same when it serves until it is told to stop.
serve () # DISK COMMAND
{
  rm -f quick.sock out
  bash "$quickstart" "$1" --port 10809 >out 2>log &
  quick_pid=$!
  eventually 60 grep -q '^Ctrl-C writes' out || {
    kill -0 "$quick_pid" || fail "quickstart $1 has ended"
    late "quickstart $1 does not serve"
  }
  uri="nbd+unix:///?socket=$tmp/quick.sock" sh -c "$2"
}

touch by-socket
remote
serve "$remote_uri" "$lose"
remote_gone
status=0
kill -TERM "$quick_pid"
wait "$quick_pid" || status=$?
cat log
[ $status = 74 ] || fail "data is lost, and the status is $status"
grep -q 'DATA WAS LOST: 1048576 bytes' log || fail "the loss is not said"
! grep -q 'all written back' out || fail "all written back, it says"

rm part.img
truncate -s 1M part.img
serve part.img "$write"
kill -TERM "$quick_pid"
wait "$quick_pid" || fail "the status of a server that went well"
cmp data part.img || fail "not written back"
grep -q 'all written back' out || fail "it does not say so"
! grep -q 'LOST' log || fail "something is said to be lost"
