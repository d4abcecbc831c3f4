#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What the server offers to a client, as nbdinfo tells it, and the ordinary clients
# at work: nbdcopy in both directions, qemu-img bench.

. "$(dirname "$0")/disk-lib.sh"

needs nbdinfo nbdcopy qemu-img

new_disk 64M
start_disk cache-size=16M

client <<'EOF'
h = connect()
for name in ("flush", "fua", "trim", "zero", "fast_zero", "cache", "multi_conn",
             "df"):
    if not getattr(h, "can_" + name)():
        fail("the server does not offer %s" % name)
if h.is_read_only():
    fail("the disk is read-only")
if not h.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION):
    fail("the server does not offer base:allocation")
low, best, top = (h.get_block_size(i) for i in (
    nbd.SIZE_MINIMUM, nbd.SIZE_PREFERRED, nbd.SIZE_MAXIMUM))
if (low, best) != (1, 4096) or top < 32 * MiB:
    fail("block sizes are %d, %d, %d" % (low, best, top))
EOF
nbdinfo "$uri"
[ "$(nbdinfo --size "$uri")" = $((64 << 20)) ] || fail "nbdinfo --size"

head -c 30000001 /dev/urandom >"$tmp/in"
truncate -s 64M "$tmp/in"
nbdcopy "$tmp/in" "$uri"
nbdcopy "$uri" "$tmp/out"
cmp "$tmp/in" "$tmp/out" || fail "nbdcopy: not what went in"
nbdcopy --connections=4 --requests=16 --flush "$tmp/in" "$uri"
[ "$FORMAT" != raw ] || cmp "$tmp/in" "$disk" || fail "nbdcopy --flush: not what is in the file"
nbdcopy --connections=4 "$uri" - | cmp - "$tmp/in"

qemu-img bench -f raw -c 2000 -d 32 -s 4096 "$uri"
qemu-img bench -f raw -c 2000 -d 32 -s 4096 -w --pattern=17 --flush-interval=50 \
         "$uri"
qemu-img bench -f raw -c 200 -d 4 -s 1M -w --pattern=18 -S 300k "$uri"
stop_folio
