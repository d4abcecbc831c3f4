#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Reads after TRIM and ZERO give zeroes at once: over data that is dirty, being
# written back or clean, over part of a sector, of a page, of a folio and over
# many folios; so they do after a flush and after a restart.

. "$(dirname "$0")/disk-lib.sh"

seed=${SEED:-$RANDOM}
echo "SEED=$seed"
new_disk 24M
start_disk cache-size=16M

client "$seed" "$tmp/want" <<'EOF'
rng = random.Random(int(sys.argv[1]))
disk = Shadow(connect())
disk.write(pattern(24 * MiB, 1), 0)

RANGES = (                        # offset, length
    (0, 1), (511, 2), (512, 512), (700, 100),           # in a sector or two
    (4096, 4096), (8191, 2), (8192 + 512, 2048), (12000, 9000),
    (1 * MiB + 1, 2 * MiB - 2),                         # nearly a folio
    (2 * MiB, 2 * MiB), (4 * MiB - 512, 4 * MiB + 1024),
    (9 * MiB + 333, 7 * MiB + 1),                       # several folios
    (24 * MiB - 100, 100),                              # the end
)
OPS = (
    ("zero", lambda n, at: disk.zero(n, at)),
    ("zero NO_HOLE", lambda n, at: disk.zero(n, at, NO_HOLE)),
    ("zero FUA", lambda n, at: disk.zero(n, at, FUA)),
    ("trim", lambda n, at: disk.trim(n, at)),
    ("trim FUA", lambda n, at: disk.trim(n, at, FUA)),
)


def refill(at, n):
    a, b = max(0, at - 8192), min(24 * MiB, at + n + 8192)
    disk.write(pattern(b - a, rng.random()), a)
    return a, b - a


for state in "dirty", "flushed", "mixed", "zeroed":
    for at, n in RANGES:
        for name, op in OPS:
            a, m = refill(at, n)
            if state != "dirty":
                disk.h.flush()
            if state == "mixed":
                disk.write(pattern(max(1, n // 2), rng.random()), at)
            if state == "zeroed":
                disk.zero(m, a)
            op(n, at)
            disk.check("%s of %d at %d, %s" % (name, n, at, state), m, a)
            # Part of it written again: the rest stays zero.
            disk.write(pattern(1, 1), at + n // 2)
            disk.check("written after %s of %d at %d, %s"
                       % (name, n, at, state), m, a)

# A fast zero may be refused, and then has done nothing.
for at, n in RANGES if disk.h.can_fast_zero() else ():
    a, m = refill(at, n)
    try:
        disk.zero(n, at, FAST_ZERO)
    except nbd.Error as e:
        if e.errno not in ("ENOTSUP", "EOPNOTSUPP"):
            raise
    disk.check("fast zero of %d at %d" % (n, at), m, a)

disk.check("all of it at once")
disk.h.flush()
disk.check("all of it after a flush")
disk.save(sys.argv[2])
EOF
stop_folio
look_inside
cmp "$bytes" "$tmp/want" || fail "the file is not what was written"
