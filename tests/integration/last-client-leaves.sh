#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# When the last client leaves, what is dirty is written back in the background,
# though no pass of the flusher is due for ten minutes; when another client stays
# it is not.

. "$(dirname "$0")/helpers.sh"

bytes=$((8 << 20))
head -c $bytes /dev/zero | tr '\0' '\22' >"$tmp/want"

in_file ()
{
  cmp -s -n $bytes "$tmp/disk.img" "$tmp/want"
}

truncate -s 64M "$tmp/disk.img"
start_folio "$tmp/disk.img" cache-size=128M \
            dirty-ratio=80 dirty-background-ratio=70 \
            writeback-interval=600 dirty-expire=600
hold --write 0:$bytes:18
# Another client comes and goes.
client <<'EOF'
h = connect()
h.pread(4096, 0)
EOF
! in_file || fail "it was written while a client was attached"
let_go
eventually 60 in_file || late "not written back in 60 seconds"

# The server lives on and serves the next client.
client "$tmp/want" <<'EOF'
want = open(sys.argv[1], "rb").read()
h = connect()
same(b"".join(h.pread(MiB, i * MiB) for i in range(8)), want, 0, "read back")
EOF
stop_folio
