#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The exit status tells that data was lost, once nbdkit has tidied up; with --run
# too, unless the command has a failure of its own to tell of. If nothing was lost
# it is nbdkit's, or the command's.

. "$(dirname "$0")/remote-lib.sh"

find_python

# The last argument, if it is there, is killed while the client is.
cat >"$tmp/write.py" <<'END'
import nbd, os, signal, sys

h = nbd.NBD()
h.connect_uri(sys.argv[1])
h.pwrite(b"\7" * (1 << 20), 0)
for victim in sys.argv[2:]:
    os.kill(int(victim), signal.SIGKILL)
END

# run FATE STATUS: with --run, a command that writes a MiB and ends with STATUS; the
# remote dies meanwhile if FATE is "lost". Returns nbdkit's status. The temporary
# directory of -U - is made in $tmp.
run ()
{
  local victim=
  remote_nbdkit memory 16M
  [ "$1" = kept ] || victim=$remote_pid
  TMPDIR=$tmp FOLIO_SANITIZER_LOG=$tmp/sanitizer \
    bash "$tests_dir/nbdkit.sh" -U - "$FOLIO_PLUGIN" "$remote_uri" retry=1 \
    shutdown-timeout=1 \
    --run "$python '$tmp/write.py' \"\$uri\" $victim; exit $2" >"$log" 2>&1
}

expect ()
{
  [ "$1" = "$2" ] || { show_log; fail "$3: status $1, not $2"; }
}

said_lost ()
{
  grep -q 'are lost: giving up' "$log"
}

status=0
remote_nbdkit memory 16M
start_folio "$remote_uri" retry=1 shutdown-timeout=1
hold --write 0:1M:7
kill_remote
kill "$pid"
let_go
wait_folio || status=$?
said_lost || { show_log; fail "nothing was lost: this proves nothing"; }
expect $status 74 "data lost"

status=0
remote_nbdkit memory 16M
start_folio "$remote_uri"
hold --write 0:1M:7
kill "$pid"
let_go
wait_folio || status=$?
expect $status 0 "nothing lost"
kill_remote

# Of what went past the cache there is no copy; nobody has asked what became of it.
status=0
remote_nbdkit memory 16M
start_folio "$remote_uri" cache=none
hold --write 0:1M:7
kill_remote
remote_nbdkit memory 16M
eventually 30 grep -q 'past the cache' "$log" || late "the loss is not noticed"
kill "$pid"
let_go
wait_folio || status=$?
grep -q 'past the cache may be lost, and no client' "$log" ||
  { show_log; fail "the log does not say what was lost"; }
expect $status 74 "lost past the cache, and nobody was told"
kill_remote

for case in lost:0:74 lost:3:3 kept:0:0 kept:3:3; do
  IFS=: read -r fate command_status want <<<"$case"
  status=0
  run "$fate" "$command_status" || status=$?
  if [ "$fate" = lost ]; then
    said_lost || { show_log; fail "--run: nothing was lost: proves nothing"; }
    remote_gone
  else
    ! said_lost || { show_log; fail "--run: something was lost"; }
    kill_remote
  fi
  expect $status "$want" "--run, $fate, the command's status $command_status"
  [ -z "$(find "$tmp" -name 'nbdkit*')" ] || fail "nbdkit left its socket behind"
done
