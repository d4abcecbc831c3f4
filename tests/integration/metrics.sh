#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# metrics=: both dialects are well formed, the numbers are right, and neither bad
# requests nor clients that say nothing do harm. Sockets are replaced when their
# server is no more, and at no other time.

. "$(dirname "$0")/helpers.sh"

requests ()
{
  client <<'EOT'
h = connect()
for i in range(10):
    h.pwrite(bytes([i + 1]) * 4096, i * 4096)
for i in range(5):
    h.pread(4096, i * 4096)
h.trim(65536, 1 << 20)
h.flush()
for i in range(3):
    h.pwrite(bytes([9]) * 4096, i * 4096)
h.shutdown()
EOT
}

# scrape DIALECT [ADDRESS]
scrape ()
{
  "$python" "$here/metrics.py" "${2:-unix:$tmp/metrics}" "$1" >"$tmp/$1"
}

# is NAME VALUE
is ()
{
  local value
  value=$(sed -n "s/^$1 //p" "$tmp/prometheus")
  [ "$value" = "$2" ] || fail "$1 is ${value:-missing}, not $2"
}

find_python
truncate -s 16M "$tmp/disk.img"

# --- what is refused

refuses 'metrics=abc: .*port.*; allowed: \[ADDRESS:\]PORT or unix:PATH' \
  "$tmp/disk.img" metrics=abc
for wrong in 0 65536 1:2:3 '[::1' '[]:80' :80 unix: 127.0.0.1: ''; do
  refuses 'metrics=.*; allowed: ' "$tmp/disk.img" "metrics=$wrong"
done
refuses 'metrics: .*/none/m: cannot listen: No such file' \
  "$tmp/disk.img" "metrics=unix:$tmp/none/m"
echo text >"$tmp/file"
refuses 'metrics: .*/file: something is there already' \
  "$tmp/disk.img" "metrics=unix:$tmp/file"
[ "$(cat "$tmp/file")" = text ] || fail "a file was replaced"
refuses 'longer than' "$tmp/disk.img" \
  "metrics=unix:$tmp/$(printf '%0120d' 0)"

# --- numbers

start_folio "$tmp/disk.img" "metrics=unix:$tmp/metrics" flush-target=7
[ "$(stat -c %a "$tmp/metrics")" = 660 ] || fail "others may connect"
scrape prometheus
is 'folio_flush_time_seconds{disk="default"}' 0
requests
scrape prometheus
scrape openmetrics
is 'folio_reads_total{disk="default"}' 5
is 'folio_read_bytes_total{disk="default"}' 20480
is 'folio_writes_total{disk="default"}' 13
is 'folio_trims_total{disk="default"}' 1
is 'folio_flushes_total{disk="default"}' 1
is 'folio_failed_total{disk="default"}' 0
is 'folio_misses_total{disk="default"}' 0
is 'folio_flush_seconds_count{disk="default"}' 1
is 'folio_size_bytes{disk="default"}' 16777216
is 'folio_flush_target_seconds{disk="default"}' 7
is 'folio_writeback_failing{disk="default"}' 0
is 'folio_store_away{disk="default"}' 0
is 'folio_store_losses_total{disk="default"}' 0
is 'folio_cache_size_bytes{}' $((256 << 20))
[ "$(wc -l <"$tmp/prometheus")" = "$(wc -l <"$tmp/openmetrics")" ] ||
  fail "the dialects tell of different things"

# --- clients that say nothing, or nonsense, in greater number than it takes

"$python" - "$tmp/metrics" <<'EOT'
import random, socket, sys
for i in range(200):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    try:
        s.connect(sys.argv[1])
        s.send(random.choice([b"", b"GET", b"\0" * 5000, b"GET / HTTP/9.9\r\n",
                              b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 50000]))
    except OSError:
        pass
    s.close()
EOT
eventually 20 scrape prometheus || late "no answer after clients that say nothing"

# --- who else wants to have the socket

server=other refuses 'metrics: .*/metrics: something is there already' \
  "create=16M" "$tmp/other.img" "metrics=unix:$tmp/metrics"
use_folio main
[ ! -e "$tmp/other.img" ] || fail "refused, but the image is there"
scrape prometheus
kill_folio
[ -S "$tmp/metrics" ] || fail "who removed the socket of a killed server?"
start_folio "$tmp/disk.img" "metrics=unix:$tmp/metrics"
scrape prometheus
stop_folio
[ ! -e "$tmp/metrics" ] || fail "the socket is left"

# --- how old the oldest is that is dirty

# oldest COMPARISON
oldest ()
{
  scrape prometheus
  awk "/^folio_oldest_dirty_seconds/ { found = \$2 $1 } END { exit !found }" \
    "$tmp/prometheus"
}

start_folio "$tmp/disk.img" "metrics=unix:$tmp/metrics" dirty-expire=600 \
  writeback-interval=100ms
oldest '== 0' || fail "old, but nothing was written"
hold --write 0:4096:7
eventually 20 oldest '> 1' || fail "what is dirty does not grow old"
client <<<'h = connect(); h.flush(); h.shutdown()'
oldest '== 0' || fail "what was flushed is still dirty"
let_go
stop_folio

# --- a port

port=$("$python" -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
start_folio "$tmp/disk.img" "metrics=$port"
scrape openmetrics "127.0.0.1:$port"
stop_folio

# --- what the alert rules and the dashboard ask for is there

"$python" -m json.tool "$abs_top_srcdir/contrib/grafana/nbdkit-folio.json" \
  >"$tmp/dashboard"
grep -oh 'folio_[a-z_]*' "$tmp/dashboard" \
  "$abs_top_srcdir/contrib/prometheus/nbdkit-folio.rules.yml" |
  sort -u >"$tmp/asked"
[ "$(wc -l <"$tmp/asked")" -gt 20 ] || fail "hardly anything is asked for"
while read -r name; do
  grep -q "^$name{" "$tmp/prometheus" || fail "there is no $name"
done <"$tmp/asked"
