#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# folioctl: each command against a server, what is refused with which status, and
# that its manual page and its completion name the same commands as its help.

. "$(dirname "$0")/helpers.sh"

folioctl=$abs_top_builddir/folioctl/folioctl
ctl ()
{
  timeout "$((60 * FOLIO_TIME_FACTOR))" "$folioctl" -s "$tmp/control" "$@"
}

# says PATTERN COMMAND...: it succeeds, and its output matches.
says ()
{
  local pattern=$1 output
  shift
  output=$(ctl "$@") || fail "folioctl $*: status $?"
  grep -Eq -- "$pattern" <<<"$output" || fail "folioctl $*: $output"
}

# status_of STATUS PATTERN COMMAND...: it ends with this status, and says so.
status_of ()
{
  local want=$1 pattern=$2 status=0 output
  shift 2
  output=$(ctl "$@" 2>&1) || status=$?
  [ $status = "$want" ] || fail "folioctl $*: status $status, $output"
  grep -Eq -- "$pattern" <<<"$output" || fail "folioctl $*: $output"
}

truncate -s 16M "$tmp/disk.img"
start_folio "$tmp/disk.img" "control=$tmp/control" cache-size=16M
client <<'EOF'
h = connect()
for i in range(10):
    h.pwrite(bytes([i + 1]) * 65536, i * 65536)
h.shutdown()
EOF

says '^disk default: 16 MiB, store ok, ' status
says '^  settings +dirty-ratio=40 ' status
says '^  writes +10$' stats
ctl stats --json | python3 -c 'import json, sys
assert json.load(sys.stdin)["disks"][0]["counters"]["writes"] == 10'
says '^all is on the store$' flush
says '^  unsaved in all +0 B of ' status
says ' dropped$' drop
says '^1.0 MiB in memory$' prefetch 0 1048576
says '' set dirty-ratio=30 flush-target=5
says '^  settings +dirty-ratio=30 .* flush-target=5 ' status
[ "$(ctl top 0.1 3 | grep -c '^default ')" = 3 ] || fail "top: $(ctl top 0.1 3)"
FOLIO_CONTROL=$tmp/control "$folioctl" status >/dev/null

# What runs in a pause finds one, and its status is ours.
says '^disk default: .*, store paused, ' pause -- \
  "$folioctl" -s "$tmp/control" status
status_of 7 '' pause 20 -- sh -c 'exit 7'
status_of 1 'is not paused' pause 1 -- sleep 3
says '^write-back goes on: its time is over$' pause 1
says 'store ok' status
ctl pause 60 >"$tmp/paused" &
pauser=$!
is_paused () { ctl status | grep -q 'store paused'; }
eventually 20 is_paused || late "no pause"
says '' resume
wait "$pauser" || fail "pause: status $?"
grep -q 'a client says so' "$tmp/paused" || fail "$(cat "$tmp/paused")"

# --- what is refused

status_of 1 'cannot be changed' set cache-size=1G
status_of 1 'dirty-ratio=101.*allowed' set readahead=0 dirty-ratio=101
status_of 1 'is not paused' resume
status_of 1 'behind the disk' prefetch 16777216 1
status_of 2 'no whole number' prefetch 0 1M
status_of 2 'not KEY=VALUE' set dirty-ratio
status_of 2 'given twice' set io-depth=1 io-depth=2
status_of 2 'no command' fly
status_of 2 'arguments' status now
status_of 2 'not from 0.1' top 0
status_of 2 'Usage'
status_of 2 'No such file' -s "$tmp/none" status
stop_folio
status_of 2 'No such file' status

# --- the documentation

"$folioctl" --help | sed -nE 's/^  ([a-z]+)( .*|$)/\1/p' | sort >"$tmp/help"
[ "$(wc -l <"$tmp/help")" = 9 ] || fail "the help: $(cat "$tmp/help")"
man=$abs_top_srcdir/man/folioctl.pod
sed -nE 's/^=item B<([a-z]+)>.*/\1/p' "$man" | sort | diff "$tmp/help" - ||
  fail "the help and the manual page differ"
sed -nE "s/.*commands='(.*)'/\\1/p" \
  "$abs_top_srcdir/contrib/bash-completion/folioctl" | tr ' ' '\n' | sort |
  diff "$tmp/help" - || fail "the help and the completion differ"
if command -v podchecker >/dev/null; then
  podchecker -warnings -warnings "$man" || fail "podchecker"
fi
