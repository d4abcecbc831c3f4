#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Prometheus' own opinion of the metrics and of the alert rules, where its promtool
# is installed: tests/run does not install it, since a server comes with it that
# starts by itself.

. "$(dirname "$0")/helpers.sh"

needs promtool curl
rules=$abs_top_srcdir/contrib/prometheus/nbdkit-folio.rules.yml

promtool check rules "$rules"
promtool test rules "$(dirname "$rules")/nbdkit-folio.test.yml"

truncate -s 16M "$tmp/disk.img"
start_folio "$tmp/disk.img" "metrics=unix:$tmp/metrics"
client <<'EOF'
h = connect()
h.pwrite(b"x" * 65536, 0)
h.flush()
h.pread(65536, 0)
h.shutdown()
EOF
curl -sf --unix-socket "$tmp/metrics" http://localhost/metrics >"$tmp/text"
promtool check metrics <"$tmp/text" >"$tmp/said" 2>&1 ||
  fail "promtool check metrics: $(cat "$tmp/said")"
[ ! -s "$tmp/said" ] || fail "promtool check metrics: $(cat "$tmp/said")"
stop_folio
