# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What the integration tests share beyond tests/functions.sh. Sourced, never
# run.

# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../functions.sh"

# needs PROGRAM...: skips unless all of them are installed.
needs ()
{
  local program
  for program; do
    requires "$program"
  done
}

# client [ARG...] <<'EOF': runs a Python program that has all of disk.py, and
# $uri in its environment.
client ()
{
  [ -n "${python:-}" ] || find_python
  "$python" "$here/disk.py" "$@"
}

# hold OPTION...: leaves tools/hold attached to $uri in the background, once it
# has done what the options say. let_go ends it.
hold ()
{
  local line=
  coproc HOLD { exec "$tools_dir/hold" --uri "$uri" "$@"; }
  hold_pid=$HOLD_PID
  hold_in=${HOLD[1]}
  read -r line <&"${HOLD[0]}" || true
  [ "$line" = ready ] || fail "hold $*: it could not"
}

let_go ()
{
  exec {hold_in}>&-
  wait "$hold_pid" || true
}

# refuses PATTERN [NBDKIT_OPTION... --] ARG...: with these arguments the server
# ends at once, not by a signal and not with status 0, and says exactly one
# line, which matches the extended regular expression.
refuses ()
{
  local pattern=$1 output status=0
  shift
  case " $* " in
    *' -- '*) set -- --run true "$@" ;;
    *) set -- --run true -- "$@" ;;
  esac
  output=$(try_folio "$@") || status=$?
  shift 2
  [ $status -ne 0 ] || fail "accepted: $*"
  [ $status -lt 128 ] || fail "died of a signal (status $status): $*"
  [ "$(wc -l <<<"$output")" = 1 ] || fail "not one line for $*: $output"
  grep -Eq -- "$pattern" <<<"$output" ||
    fail "$* is refused, but not with \"$pattern\": $output"
}

# What nbdkit's own cache filter makes of the same: printed for whoever reads
# the log, never judged. with_peer FILE CACHE_SIZE COMMAND... runs the command
# with $uri set to the filter's.
with_peer ()
{
  local file=$1 cache=$2 dir
  shift 2
  dir=$(mktemp -d "$tmp/peer.XXXXXX")
  "$NBDKIT" -f -U "$dir/sock" -P "$dir/pid" --filter=cache file "$file" \
            "cache-max-size=$cache" &
  local pid=$!
  eventually 10 test -s "$dir/pid" || true
  uri="nbd+unix:///?socket=$dir/sock" "$@" || true
  kill "$pid" 2>/dev/null || true
  wait "$pid" || true
}
