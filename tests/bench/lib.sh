# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What the benchmarks share: servers by name, alternating rounds, medians and
# ratios. Sourced, never run. Absolute figures mean nothing on a shared machine:
# compare within a row.
#
#   ROUNDS=5       rounds; in each every server is measured once
#   SECONDS_EACH=2 how long one measurement runs
#   DIR            where images lie (default: $TMPDIR, or /tmp)
#   FOLIO_PLUGIN   the plugin (default: of the build in the current directory)
#   FOLIO_ARGS     more arguments for it

# shellcheck shell=bash

: "${FOLIO_PLUGIN:=$PWD/plugin/.libs/nbdkit-folio-plugin.so}"
if [ ! -e "$FOLIO_PLUGIN" ]; then
  echo "no $FOLIO_PLUGIN: run this in the build tree" >&2
  exit 1
fi
export FOLIO_PLUGIN
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"

rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-2}
dir=$(mktemp -d "${DIR:-${TMPDIR:-/tmp}}/folio-bench.XXXXXX")
on_exit rm -rf "$dir"
results=$tmp/results
: >"$results"

# with_server COMMAND... -- NBDKIT_ARG...: runs the command with $uri set to a
# fresh server that is gone afterwards, and so is what it had not written, unless
# the command has stopped it.
with_server ()
{
  local command=() child tries=400
  while [ "$1" != -- ]; do
    command+=("$1")
    shift
  done
  shift
  use_folio bench
  rm -f "$sock" "$pidfile"
  "$NBDKIT" -f -U "$sock" -P "$pidfile" "$@" >"$log" 2>&1 </dev/null &
  child=$!
  echo "$child" >"$tmp/bench.child"
  until [ -s "$pidfile" ]; do
    tries=$((tries - 1))
    if [ $tries -eq 0 ] || ! kill -0 "$child" 2>/dev/null; then
      show_log
      fail "the server did not start: $*"
    fi
    sleep 0.02
  done
  pid=$child
  "${command[@]}"
  kill -9 "$child" 2>/dev/null || true
  wait "$child" 2>/dev/null || true
  rm -f "$tmp/bench.child"
}

# with_remote COMMAND... --- NBDKIT_ARG...: runs the command while the server is
# there, 2 ms away, as $remote; it is gone afterwards, with all that it held.
remote_sock=$tmp/remote.sock
remote="nbd+unix:///?socket=$remote_sock"
with_remote ()
{
  local command=() remote_pid
  while [ "$1" != --- ]; do
    command+=("$1")
    shift
  done
  shift
  rm -f "$remote_sock" "$tmp/remote.pid"
  "$NBDKIT" -f -U "$remote_sock" -P "$tmp/remote.pid" --filter=delay "$@" \
            delay-read=2ms delay-write=2ms delay-zero=2ms delay-trim=2ms \
            delay-extents=2ms </dev/null >"$tmp/remote.log" 2>&1 &
  remote_pid=$!
  echo $remote_pid >"$tmp/remote.child"
  eventually 20 test -s "$tmp/remote.pid" || fail "no remote server"
  "${command[@]}"
  kill -9 $remote_pid
  wait $remote_pid 2>/dev/null || true
  rm -f "$tmp/remote.child"
}

# alternate FUNCTION ARG SERVER...: calls it with each server, and ARG, in the
# order of this round: nobody is always first.
alternate ()
{
  local call=$1 arg=$2 i n
  shift 2
  n=$#
  for i in $(seq $n); do
    # shellcheck disable=SC2086
    $call "${@:$(((i + round) % n + 1)):1}" $arg
  done
}

# fio_value FIELD FIO_ARG...: one number of fio's terse output (version 3) for
# a run against $uri: 7 and 48 are KiB/s read and written, 8 and 49 the IOPS.
fio_value ()
{
  local field=$1
  shift
  fio --ioengine=nbd --uri="$uri" --name=bench --group_reporting \
      --output-format=terse --terse-version=3 "$@" >"$tmp/terse"
  cut -d ';' -f "$field" "$tmp/terse" | tail -n 1
}

# record ROW SERVER VALUE
record ()
{
  printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$results"
}

# table UNIT FIRST OTHER...: for each row the medians of all servers and the
# ratio of the first one to each other, which is the median of the ratios of
# the rounds. Servers are in the order of the arguments.
table ()
{
  awk -F '\t' -v unit="$1" -v servers="${*:2}" '
    function median(list, n,   i, j, t, a) {
      split (list, a, " ")
      for (i = 2; i <= n; i++)
        for (j = i; j > 1 && a[j - 1] + 0 > a[j] + 0; j--) {
          t = a[j]; a[j] = a[j - 1]; a[j - 1] = t
        }
      return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
    }
    !($1 in seen) { seen[$1] = 1; row[++rows] = $1 }
    { n = ++count[$1, $2]; value[$1, $2, n] = $3 }
    END {
      k = split (servers, name, " ")
      printf "%-28s", unit
      for (s = 1; s <= k; s++) printf "%12s", name[s]
      for (s = 2; s <= k; s++) printf "%16s", name[1] "/" name[s]
      printf "  rounds\n"
      for (r = 1; r <= rows; r++) {
        n = count[row[r], name[1]]
        printf "%-28s", row[r]
        for (s = 1; s <= k; s++) {
          list = ""
          for (i = 1; i <= n; i++) list = list " " value[row[r], name[s], i]
          m = median (list, n)
          printf (m < 100 ? "%12.3f" : "%12.0f"), m
        }
        for (s = 2; s <= k; s++) {
          list = ""
          for (i = 1; i <= n; i++) {
            base = value[row[r], name[s], i]
            list = list " " (base ? value[row[r], name[1], i] / base : 0)
          }
          printf "%16.3f", median (list, n)
        }
        printf "%8d\n", n
      }
    }' "$results"
}
