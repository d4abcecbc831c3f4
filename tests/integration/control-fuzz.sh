#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests to the control socket from 16 clients, while a client of the disk
# compares what it reads with an exact copy: $REQUESTS in all (default: 1600), from
# $SEED on. The server lives, serves, and stops.

. "$(dirname "$0")/helpers.sh"

find_python
seed=${SEED:-$RANDOM}
truncate -s 64M "$tmp/disk.img"
start_folio "$tmp/disk.img" "control=$tmp/control" cache-size=16M
control=$tmp/control "$python" "$here/control-fuzz.py" \
  "$seed" "${REQUESTS:-$(share 1600)}" &
fuzz=$!
while kill -0 "$fuzz" 2>/dev/null; do
  client "$seed" <<'EOF'
r = random.Random(int(sys.argv[1]))
h = connect()
shadow = bytearray(h.pread(1 << 20, 0))
for i in range(300):
    at = r.randrange(250) * 4096
    data = bytes([r.randrange(256)]) * r.randrange(1, 16384)
    h.pwrite(data, at)
    shadow[at:at + len(data)] = data
    at = r.randrange(250) * 4096
    same(h.pread(16384, at), shadow[at:at + 16384], at, "while it is fuzzed")
h.flush()
h.shutdown()
EOF
done
wait "$fuzz"
control=$tmp/control "$python" "$here/control.py" <<'EOF'
c = Control()
check(c.run("query-status")["state"] == "running", "not running")
EOF
stop_folio
