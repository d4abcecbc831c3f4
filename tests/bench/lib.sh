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
#   SERVER_CPUS, CLIENT_CPUS
#                  processors that servers and fio are kept to, as for taskset
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
on_server=()
on_client=()
[ -z "${SERVER_CPUS:-}" ] || on_server=(taskset -c "$SERVER_CPUS")
[ -z "${CLIENT_CPUS:-}" ] || on_client=(taskset -c "$CLIENT_CPUS")
ticks_per_second=$(getconf CLK_TCK)

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
  "${on_server[@]}" "$NBDKIT" -f -U "$sock" -P "$pidfile" "$@" >"$log" 2>&1 \
    </dev/null &
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

# with_qemu COMMAND... -- QEMU_NBD_ARG...: as with_server, if there is qemu-nbd.
with_qemu ()
{
  local command=() child
  while [ "$1" != -- ]; do
    command+=("$1")
    shift
  done
  shift
  command -v qemu-nbd >/dev/null || return 0
  rm -f "$tmp/qemu.sock"
  "${on_server[@]}" qemu-nbd --persistent --shared=0 --socket="$tmp/qemu.sock" \
           "$@" >"$tmp/qemu.log" 2>&1 </dev/null &
  child=$!
  echo "$child" >"$tmp/qemu.child"
  eventually 20 test -S "$tmp/qemu.sock" || fail "qemu-nbd did not start"
  uri="nbd+unix:///?socket=$tmp/qemu.sock"
  pid=$child
  "${command[@]}"
  kill "$child"
  wait "$child" 2>/dev/null || true
  rm -f "$tmp/qemu.child"
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

# alternate FUNCTION ARG SERVER...: calls it with each server, and ARG, in an order
# that is drawn anew each time.
alternate ()
{
  local call=$1 arg=$2 server
  shift 2
  for server in $(shuf -e "$@"); do
    # shellcheck disable=SC2086
    $call "$server" $arg
  done
}

# fio_value FIELD FIO_ARG...: one number of fio's terse output (version 3) for
# a run against $uri: 7 and 48 are KiB/s read and written, 8 and 49 the IOPS.
fio_value ()
{
  local field=$1
  shift
  "${on_client[@]}" fio --ioengine=nbd --uri="$uri" --name=bench \
      --group_reporting --output-format=terse --terse-version=3 "$@" \
      >"$tmp/terse"
  cut -d ';' -f "$field" "$tmp/terse" | tail -n 1
}

# The processor time of the server so far, in ticks.
server_ticks ()
{
  sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }'
}

# How often its threads have let go of a processor so far, or were made to.
server_switches ()
{
  cat /proc/"$pid"/task/*/status 2>/dev/null |
    awk '/ctxt_switches/ { n += $2 } END { print n + 0 }'
}

# The ticks that all processors were busy, and those that this script, what it has
# run, and the server were.
busy_ticks ()
{
  awk '$1 == "cpu" { print $2 + $3 + $4 + $7 + $8 + $9 }' /proc/stat
}

our_ticks ()
{
  awk -v server="$(server_ticks)" '
    { sub (/.*\) /, ""); print $12 + $13 + $14 + $15 + server }' "/proc/$$/stat"
}

# fio_load BYTES FIELD FIO_ARG...: fio_value as $value; and what it was like:
#   $cpu       us of the server's processor time for each BYTES that fio has read or
#              written
#   $switches  context switches of the server for each, in the middle of the run
#   $others    percent of all processors that others had
fio_load ()
{
  local bytes=$1 busy ours server before after begun ended
  shift
  busy=$(busy_ticks)
  ours=$(our_ticks)
  server=$(server_ticks)
  begun=$(date +%s%N)
  fio_value "$@" >"$tmp/value" &
  sleep "$(awk -v s="$seconds" 'BEGIN { print 0.4 + s / 8 }')"
  before="$(server_switches) $(date +%s%N)"
  sleep "$(awk -v s="$seconds" 'BEGIN { print s / 2 }')"
  after="$(server_switches) $(date +%s%N)"
  wait $!
  ended=$(date +%s%N)
  value=$(cat "$tmp/value")
  # Of what fio says, the 6th or 47th is how many KiB it read or wrote in all, the
  # 7th or 48th how many a second.
  read -r cpu switches others < <(
    awk -F ';' -v bytes="$bytes" -v hz="$ticks_per_second" \
        -v server=$(($(server_ticks) - server)) \
        -v others=$(($(busy_ticks) - busy - $(our_ticks) + ours)) \
        -v seconds=$(((ended - begun) / 1000000)) -v processors="$(nproc)" \
        -v before="$before" -v after="$after" '
      { all = ($6 + $47) * 1024 / bytes; rate = ($7 + $48) * 1024 / bytes }
      END {
        split (before, b, " "); split (after, a, " ")
        during = rate * (a[2] - b[2]) / 1e9
        printf "%.3f %.3f %.1f\n", server / hz * 1e6 / all,
               (a[1] > b[1] ? (a[1] - b[1]) / during : 0),
               others / hz / (seconds / 1000) / processors * 100
      }' "$tmp/terse")
}

# measured ROW SERVER UNIT: records what fio_load has found, in the tables
# "cpu", $results and "more".
measured ()
{
  record "$1, $3" "$2" "$value"
  printf '%s\t%s\t%s\n' "$1, us" "$2" "$cpu" >>"$tmp/cpu"
  {
    printf '%s\t%s\t%s\n' "$1, switches" "$2" "$switches"
    printf '%s\t%s\t%s\n' "$1, others %" "$2" "$others"
  } >>"$tmp/more"
}

# record ROW SERVER VALUE
record ()
{
  printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$results"
}

# What follows shares: value[row, server, n] of $results, count[row, server], and the
# quantile q of the ratios of two servers in the same rounds.
awk_ratios='
  function quantile(list, n, q,   i, j, t, a) {
    split (list, a, " ")
    for (i = 2; i <= n; i++)
      for (j = i; j > 1 && a[j - 1] + 0 > a[j] + 0; j--) {
        t = a[j]; a[j] = a[j - 1]; a[j - 1] = t
      }
    t = (n - 1) * q + 1
    i = int (t)
    return i < n ? a[i] + (t - i) * (a[i + 1] - a[i]) : a[n]
  }
  function median(row, server,   i, n, list) {
    n = count[row, server]
    for (i = 1; i <= n; i++) list = list " " value[row, server, i]
    return quantile (list, n, 0.5)
  }
  function ratio(row, a, b, q,   i, n, list) {
    n = count[row, a]
    for (i = 1; i <= n; i++)
      list = list " " (value[row, b, i] ? value[row, a, i] / value[row, b, i] : 0)
    return quantile (list, n, q)
  }
  function ratio_text(row, a, b) {
    return sprintf ("%6.3f (%.3f..%.3f)", ratio (row, a, b, 0.5),
                    ratio (row, a, b, 0.25), ratio (row, a, b, 0.75))
  }
  !($1 in seen) { seen[$1] = 1; rows[++nr_rows] = $1 }
  { value[$1, $2, ++count[$1, $2]] = $3 }'

# table UNIT FIRST OTHER...: for each row the medians of all servers and the
# ratio of the first one to each other, which is the median of the ratios of
# the rounds, with their quartiles. Servers are in the order of the arguments.
# One that is called "again" is the second once more, and compared with that.
table ()
{
  awk -F '\t' -v unit="$1" -v servers="${*:2}" "$awk_ratios"'
    END {
      k = split (servers, name, " ")
      printf "%-32s", unit
      for (s = 1; s <= k; s++) printf "%10s", name[s]
      for (s = 2; s <= k; s++) {
        first[s] = name[s] == "again" ? name[2] : name[1]
        printf "%24s", first[s] "/" name[s]
      }
      printf "  rounds\n"
      for (r = 1; r <= nr_rows; r++) {
        printf "%-32s", rows[r]
        for (s = 1; s <= k; s++) {
          m = median (rows[r], name[s])
          printf (m < 100 ? "%10.3f" : "%10.0f"), m
        }
        for (s = 2; s <= k; s++)
          printf "%24s", ratio_text (rows[r], first[s], name[s])
        printf "%8d\n", count[rows[r], name[1]]
      }
    }' "$results"
}

# tables FIRST OTHER...: of what was measured, what depends least on what else the
# machine does first.
tables ()
{
  results=$tmp/cpu table "processor time of the server" "$@"
  table "medians" "$@"
  results=$tmp/more table "besides" "$@"
}

# budget ROW SERVER PEER LIMIT: their ratio in that row, if there is one, and what it
# should be at least.
budget ()
{
  awk -F '\t' -v row="$1" -v a="$2" -v b="$3" -v limit="$4" "$awk_ratios"'
    END {
      if (row in seen)
        printf "%-58s %26s   at least %s\n", row ": " a "/" b,
               ratio_text (row, a, b), limit
    }' "$results"
}
