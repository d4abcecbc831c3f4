#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Every way in which a server ends, with a client that stays attached and with one
# that has left: all that was acknowledged and never flushed is in the file; at once,
# not only when the client leaves; a clean end logs no error; and the status is
# nbdkit's own.

. "$(dirname "$0")/helpers.sh"

bytes=$((1 << 20))
head -c $bytes /dev/zero | tr '\0' '\7' >"$tmp/want"
broken=$abs_top_builddir/tests/.libs/broken.so
ulimit -c 0
mkfifo "$tmp/go"
use_folio main

# If it fails while a server is there, that ends with all of its group.
kill_group ()
{
  [ ! -s "$tmp/main.child" ] || kill -9 -- "-$(cat "$tmp/main.child")" || true
}
on_exit kill_group

in_file ()
{
  cmp -s -n $bytes "$tmp/disk.img" "$tmp/want"
}

# serve OPTION...: a server in a process group of its own, as $pid; $server_pid is
# the one that serves, which it is not with --run.
serve ()
{
  rm -f "$tmp/disk.img" "$sock" "$pidfile" "$log"
  truncate -s 4M "$tmp/disk.img"
  FOLIO_SANITIZER_LOG=$tmp/sanitizer setsid bash "$tests_dir/nbdkit.sh" \
    -U "$sock" -P "$pidfile" "$@" "$FOLIO_PLUGIN" "$tmp/disk.img" \
    writeback-interval=600 dirty-expire=600 >"$log" 2>&1 </dev/null &
  pid=$!
  echo "$pid" >"$tmp/main.child"
  served "$@"
}

served ()
{
  eventually 60 test -s "$pidfile" || { show_log; late "$*: does not listen"; }
  server_pid=$(cat "$pidfile")
}

# A write that is neither flushed nor known to the file.
write ()
{
  hold --write 0:$bytes:7
  ! in_file || fail "$*: written before the end: this proves nothing"
}

# ended WHAT STATUS: the server has, with everything in the file.
ended ()
{
  local status=0
  wait_folio main || status=$?
  [ "$status" = "$2" ] || { show_log; fail "$1: status $status, not $2"; }
  in_file || { show_log; fail "$1: not all that was acknowledged is there"; }
}

quiet ()
{
  ! grep -i error "$log" || fail "$*: a clean end logs an error"
}

# clean STATUS HOW OPTION...: HOW is a command that makes it stop.
clean ()
{
  local status=$1 how=$2 clients
  shift 2
  for clients in stay leave; do
    echo "== $* ($how), clients $clients"
    serve "$@"
    write "$*"
    if [ $clients = leave ]; then
      let_go
      eval "$how"
    else
      eval "$how"
      eventually 60 in_file ||
        { show_log; late "$* ($how): not saved while the client is there"; }
      let_go
    fi
    ended "$* ($how)" "$status"
    quiet "$* ($how)"
  done
}

for signal in TERM INT HUP QUIT; do
  clean 0 "kill -$signal \$pid" -f
done
clean 0 'kill $pid' --swap -f

# The command waits, until it is told or killed.
wait="read -r x <'$tmp/go'"
clean 0 'echo >"$tmp/go"' --run "$wait"
clean 7 'echo >"$tmp/go"' --run "$wait; exit 7"
for signal in TERM HUP; do
  # ThreadSanitizer keeps the handler back until the command has ended.
  [ "$SANITIZERS" != thread ] || break
  # nbdkit's first process waits for the command all the same.
  clean 0 "kill -$signal \$pid; eventually 60 in_file; echo >'$tmp/go'" \
        --run "$wait"
  clean 0 "kill -$signal \$server_pid; eventually 60 in_file; echo >'$tmp/go'" \
        --run "$wait"
done

# To all: the command dies of it, and so says nbdkit.
for signal in TERM INT HUP QUIT; do
  echo "== --run, SIG$signal to the group"
  serve --run "exec cat '$tmp/go'"
  write --run
  kill -$signal -- "-$pid"
  eventually 60 in_file || { show_log; late "SIG$signal to the group"; }
  let_go
  ended "--run, SIG$signal to the group" $((128 + $(kill -l $signal)))
done

echo "== the parent of --exit-with-parent dies"
rm -f "$tmp/disk.img" "$sock" "$pidfile"
truncate -s 4M "$tmp/disk.img"
FOLIO_SANITIZER_LOG=$tmp/sanitizer bash -c \
  'bash "$1/nbdkit.sh" --exit-with-parent -U "$2" -P "$3" "$4" "$5" \
     writeback-interval=600 dirty-expire=600 & wait' \
  x "$tests_dir" "$sock" "$pidfile" "$FOLIO_PLUGIN" "$tmp/disk.img" \
  >"$log" 2>&1 </dev/null &
parent=$!
served --exit-with-parent
write --exit-with-parent
kill -9 "$parent"
eventually 60 in_file || { show_log; late "--exit-with-parent: not saved"; }
let_go
gone ()
{
  ! kill -0 "$server_pid"
}
eventually 60 gone || late "--exit-with-parent: it stays"
wait "$parent" || true

echo "== in the background"
serve --log=null
write "in the background"
kill "$server_pid"
eventually 60 in_file || late "in the background: not saved"
let_go
eventually 60 gone || late "in the background: it stays"

echo "== the client of -s leaves"
find_python
cat >"$tmp/stdin.py" <<'END'
import nbd
import sys

h = nbd.NBD()
h.connect_command(sys.argv[1:])
h.pwrite(b"\7" * (1 << 20), 0)
h.shutdown()
END
rm -f "$tmp/disk.img" "$sock" "$pidfile"
truncate -s 4M "$tmp/disk.img"
FOLIO_SANITIZER_LOG=$tmp/sanitizer "$python" "$tmp/stdin.py" \
  bash "$tests_dir/nbdkit.sh" -s -P "$pidfile" "$FOLIO_PLUGIN" \
  "$tmp/disk.img" >"$log" 2>&1
server_pid=$(cat "$pidfile")
eventually 60 gone || late "-s: it stays"
in_file || { show_log; fail "-s: not saved"; }
quiet -s

echo "== the last client leaves, and --filter=exitlast ends nbdkit"
serve -f --filter=exitlast
write exitlast
let_go
ended exitlast 0
quiet exitlast

# What ends without leave, while a client is there.
unclean ()
{
  echo "== $1"
  serve -f --filter="$broken"
  write "$1"
  eval "$3"
  ended "$1" "$2"
  let_go
}

# shellcheck disable=SC2034 # for client
fault ()
{
  client "$1" <<'END' || true
h = connect()
try:
    h.cache(512, 512 * int(sys.argv[1]))
except nbd.Error:
    pass
END
}

unclean "SIGABRT from outside" 134 'kill -ABRT $pid'
unclean "nbdkit aborts" 134 'fault 0'
unclean "an assertion of nbdkit's fails" 134 'fault 1'
unclean "nbdkit exits" 1 'fault 2'

# But not with memory that may be damaged. (Sanitizers have a word to say then.)
[ -z "$SANITIZERS" ] || exit 0
echo "== SIGSEGV"
serve -f --filter="$broken"
write SIGSEGV
kill -SEGV "$pid"
status=0
wait_folio main || status=$?
[ $status = 139 ] || fail "SIGSEGV: status $status"
! in_file || fail "SIGSEGV: something was written"
let_go
