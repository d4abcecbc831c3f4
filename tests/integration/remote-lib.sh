# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What the remote-* tests share: the NBD servers that folio uses as its store.
# Sourced, never run.

# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/helpers.sh"

remote_sock=$tmp/remote.sock
remote_uri="nbd+unix:///?socket=$remote_sock"
remote_log=$tmp/remote.log
volatile=${abs_top_builddir:-}/tests/.libs/volatile.so

# run_remote COMMAND...: start a server, which is to listen on $remote_sock, as
# $remote_pid.
run_remote ()
{
  rm -f "$remote_sock" "$tmp/remote.pid"
  "$@" >>"$remote_log" 2>&1 </dev/null &
  remote_pid=$!
  echo "$remote_pid" >"$tmp/remote.child"
}

# listens COMMAND...: wait until the command succeeds, which it does when the
# remote server listens.
listens ()
{
  local tries=$((600 * FOLIO_TIME_FACTOR))
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$remote_pid" 2>/dev/null; then
      show_log remote
      fail "the remote server ended before it listened"
    fi
    tries=$((tries - 1))
    [ $tries -gt 0 ] ||
      { show_log remote; late "the remote server does not listen"; }
    sleep 0.05
  done
}

# remote_nbdkit ARG...: nbdkit.
remote_nbdkit ()
{
  run_remote "$NBDKIT" -f -U "$remote_sock" -P "$tmp/remote.pid" "$@"
  listens test -s "$tmp/remote.pid"
}

# remote_qemu ARG...: qemu-nbd, for as many clients as come.
remote_qemu ()
{
  run_remote qemu-nbd -t -e 16 -k "$remote_sock" "$@"
  listens nbdinfo --size "$remote_uri"
}

# remote_nbd_server FILE: it goes into the background by itself.
remote_nbd_server ()
{
  cat >"$tmp/nbd-server.conf" <<EOT
[generic]
  unixsock = $remote_sock
[disk]
  exportname = $1
  flush = true
  fua = true
  trim = true
EOT
  remote_uri="nbd+unix:///disk?socket=$remote_sock"
  rm -f "$remote_sock" "$tmp/remote.pid"
  nbd-server -C "$tmp/nbd-server.conf" -p "$tmp/remote.pid" >>"$remote_log" 2>&1
  eventually 30 test -s "$tmp/remote.pid" ||
    { show_log remote; late "nbd-server does not start"; }
  remote_pid=$(cat "$tmp/remote.pid")
  echo "$remote_pid" >"$tmp/remote.child"
  listens nbdinfo --size "$remote_uri"
}

# remote_hostile OPTION...: tools/hostile.py.
remote_hostile ()
{
  [ -n "${python:-}" ] || find_python
  : >"$remote_log"
  run_remote "$python" "$tests_dir/tools/hostile.py" --socket "$remote_sock" \
             "$@"
  listens grep -q '^listening' "$remote_log"
}

# remote_gone: wait until the remote server is.
remote_gone ()
{
  wait "$remote_pid" 2>/dev/null || true
  rm -f "$tmp/remote.child"
}

# kill_remote [SIGNAL]: with SIGKILL unless told otherwise.
kill_remote ()
{
  kill "${1:--9}" "$remote_pid"
  remote_gone
}

# stop_remote: it stops, with all its threads, until it gets SIGCONT or SIGKILL.
# (The signal is first of all pending.)
remote_stopped ()
{
  ! sed 's/.*) //' /proc/"$remote_pid"/task/*/stat | grep -qv '^T'
}

stop_remote ()
{
  kill -STOP "$remote_pid"
  eventually 30 remote_stopped || late "the remote server does not stop"
}

# new_seed: sets $seed, to $SEED if that is given, and says it.
new_seed ()
{
  seed=${SEED:-$((RANDOM * 32768 + RANDOM + 1))}
  echo "SEED=$seed"
}

# logged PATTERN: folio's log says so.
logged ()
{
  grep -Eq -- "$1" "$log"
}

# ------------------------------------------------- a server that dies and returns

# remote_mortal DISK LIFE...: the volatile server, in $# - 1 lives: it kills
# itself, where it stands, after so many steps of its work, and is started
# again at once; its last life has no end. end_mortal ends it.
mortal_lives ()
{
  local disk=$1 life child
  shift
  # What it is at may still be written, until it is gone.
  trap 'kill -9 $(jobs -p) 2>/dev/null || true; wait; exit' TERM
  for life in "$@" 0; do
    rm -f "$remote_sock"
    "$NBDKIT" -f -U "$remote_sock" -P "$tmp/remote.pid" "$volatile" \
              file="$disk" seed="$((seed + life))" kill-after="$life" \
              flush-delay=2 </dev/null &
    child=$!
    wait $child || true
    echo "dead after $life steps"
  done
}

remote_mortal ()
{
  : >"$remote_log"
  rm -f "$tmp/remote.pid"
  mortal_lives "$@" >>"$remote_log" 2>&1 &
  mortal_pid=$!
  on_exit end_mortal
  eventually 30 test -s "$tmp/remote.pid" ||
    { show_log remote; late "the remote server does not listen"; }
}

end_mortal ()
{
  [ -n "$mortal_pid" ] || return 0
  kill "$mortal_pid" 2>/dev/null || true
  wait "$mortal_pid" 2>/dev/null || true
  mortal_pid=
}

# How often it has died.
deaths ()
{
  grep -c '^dead after' "$remote_log" || true
}
