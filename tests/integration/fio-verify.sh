#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# fio's nbd engine verifies random reads and writes of several jobs, in a cache far
# smaller than the disk and at all sizes of request.

. "$(dirname "$0")/disk-lib.sh"

needs fio
fio --enghelp=nbd >/dev/null 2>&1 || skip "this fio has no nbd engine"

seed=${SEED:-$RANDOM}
echo "SEED=$seed"
new_disk 192M
start_disk cache-size=8M

fio --directory="$tmp" --ioengine=nbd --uri="$uri" --randseed="$seed" \
    --verify=crc32c --verify_fatal=1 --verify_backlog=512 --verify_state_save=0 \
    --rw=randrw --bsrange=512-256k --bs_unaligned=0 --blockalign=512 \
    --iodepth=16 --size=64M --io_size=48M --group_reporting --fsync=128 \
    --name=a --offset=0 --name=b --offset=64M --name=c --offset=128M \
  || fail "fio found fault"
# Small blocks: much is rewritten while it is written back.
fio --ioengine=nbd --uri="$uri" --randseed="$seed" \
    --verify=crc32c --verify_fatal=1 --verify_state_save=0 \
    --rw=randwrite --bs=4k --iodepth=32 --size=16M --group_reporting \
    --name=d --offset=0 --name=e --offset=16M \
  || fail "fio found fault"
stop_folio
look_inside
