#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The remote server is not there at the start: with retry= it is waited for, and the
# log says for what; without, that is an error at once. Who waits can be ended.

. "$(dirname "$0")/remote-lib.sh"

refuses 'remote\.sock.*No such file' "$remote_uri"

launch_folio "$remote_uri" retry=600
eventually 30 logged 'remote\.sock.*No such file.*; trying again for 600 seconds' ||
  late "not waited for: $(cat "$log")"
[ ! -s "$pidfile" ] || fail "it listens already"
remote_nbdkit memory 16M
eventually 60 test -s "$pidfile" || late "it does not come up: $(cat "$log")"
logged 'connected after' || fail "it does not say so: $(cat "$log")"
client <<'EOF'
h = connect()
h.pwrite(b"here" * 1024, MiB)
h.flush()
same(h.pread(4096, MiB), b"here" * 1024, MiB, "the disk")
EOF
stop_folio
kill_remote

rm -f "$remote_sock" "$log"
launch_folio "$remote_uri" retry=600
eventually 30 logged 'trying again' || late "not waited for: $(cat "$log")"
kill "$pid"
status=0
wait_folio || status=$?
[ $status -ne 0 ] || fail "ended, and says that all went well"
