# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What integration tests share. A test is a bash script that begins with
#
#     . "$(dirname "$0")/../functions.sh"
#
# and from then on has "set -eu -o pipefail", a line that says where it failed
# if a command fails, an empty directory $tmp that is removed at the end, and
# the functions below. Tests run by "make check" in the build tree, which gives
# them
#
#   FOLIO_PLUGIN       path of the plugin that was built
#   NBDKIT             the server
#   SANITIZERS         empty, "address,undefined" or "thread"
#   FOLIO_DEBUG        1 if the build checks the cache's invariants
#   FOLIO_TIME_FACTOR  how many times longer than in a plain build things may
#                      take
#   FOLIO_TMP          a directory for the test's files, which run-one.sh removes
#   abs_top_srcdir, abs_top_builddir
#
# $tmp is that directory, or a fresh one; $tools_dir is where the programs of
# tests/tools are.
#
# Set FOLIO_KEEP=1 to keep $tmp.

# shellcheck shell=bash

# Whoever includes two that include this.
[ -z "${tests_dir:-}" ] || return 0

set -eu -o pipefail -o errtrace
trap 'echo "${BASH_SOURCE[0]}:$LINENO: failed: $BASH_COMMAND" >&2' ERR

: "${FOLIO_PLUGIN:?run the tests with make check}"
: "${NBDKIT:=nbdkit}"
: "${SANITIZERS:=}"
: "${FOLIO_TIME_FACTOR:=1}"
# Our server alone is poisoned, by nbdkit.sh: others and clients would spend a
# third of a test's time on that, and as much on the faults of the small pages of
# large buffers.
unset MALLOC_PERTURB_
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1
tests_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools_dir=${abs_top_builddir:-}/tests/tools
tmp=${FOLIO_TMP:-$(mktemp -d "/tmp/folio-${0##*/}.XXXXXX")}
export tmp tools_dir

# ------------------------------------------------------------------- results

# fail REASON: the test failed.
fail ()
{
  echo "FAIL: $*" >&2
  exit 1
}

# late REASON: the test failed, and for all it knows only because the machine is
# slow: something did not come in time, and nothing came that is wrong. It may be
# tried again (see suite/verdict.sh).
late ()
{
  echo "LATE: $*" >&2
  exit 75
}

# skip REASON: the test cannot run here.
skip ()
{
  echo "SKIP: $*" >&2
  exit 77
}

# requires COMMAND [ARG...]: skip unless it succeeds (for a program's name
# alone: unless it is installed).
requires ()
{
  if [ $# -eq 1 ]; then
    command -v "$1" >/dev/null || skip "$1 is not installed"
  else
    "$@" >/dev/null 2>&1 || skip "this does not work here: $*"
  fi
}

# refused PATTERN COMMAND...: the command fails, and what it prints matches the
# extended regular expression.
refused ()
{
  local pattern=$1 output status=0
  shift
  output=$("$@" 2>&1) || status=$?
  [ $status -ne 0 ] || fail "not refused: $*"
  [ $status -lt 128 ] || fail "died of a signal (status $status): $*"
  grep -Eq -- "$pattern" <<<"$output" ||
    fail "refused, but not with \"$pattern\": $output"
}

# share N: how many of N random rounds or requests this build is to do: all, or
# under sanitizers, where each takes longer, a fifth, and under ThreadSanitizer,
# which does not ask for their data, a tenth.
share ()
{
  case $SANITIZERS in
    '') echo "$1" ;;
    *thread*) echo $((($1 + 9) / 10)) ;;
    *) echo $((($1 + 4) / 5)) ;;
  esac
}

# eventually SECONDS COMMAND...: repeats the command until it succeeds; false
# if it has not by then. For what happens by itself, in its own time; whoever
# waits in vain is late.
eventually ()
{
  local end=$((SECONDS + $1 * FOLIO_TIME_FACTOR))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.05
  done
}

# -------------------------------------------------------------------- server
#
# One server at a time is the usual case. For more, put its name before the
# call: "server=b start_folio ...", "server=b stop_folio". $uri, $sock,
# $pidfile, $log and $pid are those of the server started last; use_folio NAME
# sets them for another.

server=main

use_folio ()
{
  server=$1
  sock=$tmp/$server.sock
  pidfile=$tmp/$server.pid
  log=$tmp/$server.log
  uri="nbd+unix:///?socket=$sock"
  pid=$(cat "$tmp/$server.child" 2>/dev/null || true)
  export sock pidfile log uri pid
}

# start_folio [NBDKIT_OPTION... --] ARG...: start a server with the arguments
# ARG for the plugin and return when it listens. Fails the test, showing the
# log, if it ends, and is late if it does not listen in time.
start_folio ()
{
  local name=$server
  launch_folio "$@"
  local tries=$((600 * FOLIO_TIME_FACTOR))
  until [ -s "$pidfile" ]; do
    if ! kill -0 "$pid" 2>/dev/null; then
      show_log
      fail "server \"$name\" ended before it listened"
    fi
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { show_log; late "server \"$name\" does not listen"; }
    sleep 0.05
  done
}

# launch_folio: the same without waiting, for servers that are to be refused
# or killed while they start.
launch_folio ()
{
  local name=$server options=() arg rest=0
  for arg in "$@"; do
    [ "$arg" != -- ] || { rest=1; break; }
  done
  if [ $rest = 1 ]; then
    while [ "$1" != -- ]; do
      options+=("$1")
      shift
    done
    shift
  fi
  use_folio "$name"
  rm -f "$sock" "$pidfile"
  FOLIO_SANITIZER_LOG=$tmp/sanitizer \
    bash "$tests_dir/nbdkit.sh" -f -U "$sock" -P "$pidfile" \
    ${options[@]+"${options[@]}"} "$FOLIO_PLUGIN" "$@" \
    >>"$log" 2>&1 </dev/null &
  pid=$!
  echo "$pid" >"$tmp/$name.child"
}

# try_folio [NBDKIT_OPTION... --] ARG...: run a server that is expected to end
# by itself, with its output on standard output; returns its status.
try_folio ()
{
  local status=0 name=$server
  rm -f "$tmp/$name.log"
  launch_folio "$@"
  wait_folio "$name" || status=$?
  cat "$log"
  return $status
}

# wait_folio [NAME]: wait until the server has ended, in time or killed; returns
# its status.
wait_folio ()
{
  use_folio "${1:-$server}"
  local status=0 tries=$((${FOLIO_STOP_SECONDS:-60} * 20 * FOLIO_TIME_FACTOR))
  while kill -0 "$pid" 2>/dev/null; do
    tries=$((tries - 1))
    if [ $tries -le 0 ]; then
      show_log
      kill -9 "$pid" 2>/dev/null || true
      late "server \"$server\" has not ended in time"
    fi
    sleep 0.05
  done
  wait "$pid" || status=$?
  rm -f "$tmp/$server.child"
  check_sanitizers
  return $status
}

# stop_folio: SIGTERM, and wait for the end. Fails the test if the server's
# status is not 0 or a sanitizer has something to say.
stop_folio ()
{
  local status=0
  use_folio "$server"
  [ -n "$pid" ] || fail "no server \"$server\" to stop"
  kill -TERM "$pid" 2>/dev/null || true
  wait_folio "$server" || status=$?
  [ $status -eq 0 ] || { show_log; fail "server \"$server\": status $status"; }
}

# kill_folio [SIGNAL]: kill it, with -9 unless told otherwise, and wait until it
# is gone. What it was doing is lost.
kill_folio ()
{
  use_folio "$server"
  [ -n "$pid" ] || fail "no server \"$server\" to kill"
  kill "${1:--9}" "$pid"
  wait_folio "$server" || true
  rm -f "$sock" "$pidfile"
}

# show_log [NAME]: the server's log, on standard error.
show_log ()
{
  local file=${1:+$tmp/$1.log}
  file=${file:-$log}
  echo "--- $(basename "$file")" >&2
  tail -n 60 "$file" >&2 || true
  echo "---" >&2
}

# Fails the test if a sanitizer complained in any server so far.
check_sanitizers ()
{
  local file
  for file in "$tmp"/sanitizer.*; do
    [ -e "$file" ] || continue
    head -n 120 "$file" >&2
    rm -f "$tmp"/sanitizer.*
    fail "a sanitizer complained about the server"
  done
}

# ------------------------------------------------------------------- clean-up

# on_exit COMMAND...: run it at the end, whatever happens; the last one given
# runs first.
exit_commands=()
on_exit ()
{
  local words
  printf -v words '%q ' "$@"
  exit_commands=("$words" ${exit_commands[@]+"${exit_commands[@]}"})
}

# end_child NAME: kill it, and say so if it has died before, of a fault.
end_child ()
{
  local pid status=0
  pid=$(cat "$tmp/$1.child")
  kill -9 "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null || status=$?
  case $status in
    66 | 132 | 133 | 134 | 135 | 136 | 139 | 159)
      echo "FAIL: server \"$1\" has died of a fault: status $status" >&2 ;;
  esac
}

at_exit ()
{
  local status=$? child command complaint=
  trap - EXIT ERR
  set +e
  for command in ${exit_commands[@]+"${exit_commands[@]}"}; do
    eval "$command"
  done
  for child in "$tmp"/*.child; do
    [ -s "$child" ] || continue
    child=$(basename "$child" .child)
    end_child "$child"
    if [ $status -ne 0 ] && [ $status -ne 77 ]; then
      show_log "$child"
    fi
  done
  for complaint in "$tmp"/sanitizer.*; do
    [ -e "$complaint" ] || continue
    head -n 120 "$complaint" >&2
    status=1
  done
  if [ -n "${FOLIO_KEEP:-}" ]; then
    echo "kept: $tmp" >&2
  elif [ -z "${FOLIO_TMP:-}" ]; then
    rm -rf "$tmp"
  fi
  exit $status
}
trap at_exit EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# A Python that has libnbd's module: not every python3 in PATH does.
find_python ()
{
  local p
  for p in python3 /usr/bin/python3; do
    if "$p" -c 'import nbd' 2>/dev/null; then
      python=$p
      return
    fi
  done
  skip "no python3 that has libnbd's module (python3-libnbd)"
}
