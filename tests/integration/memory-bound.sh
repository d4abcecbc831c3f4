#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A disk of 64 TiB costs no more memory than a small one: after a random workload
# all over it the server has at most cache-size + 4 % + 32 MiB resident.

. "$(dirname "$0")/helpers.sh"

needs fio
[ -z "$SANITIZERS" ] || skip "sanitizers use memory of their own"

# tmpfs takes a file of that size, and so does xfs; ext4 ends at 16 TiB.
for folder in "$tmp" /dev/shm; do
  dir=$(mktemp -d "$folder/folio.XXXXXX") || continue
  on_exit rm -rf "$dir"
  truncate -s 64T "$dir/disk.img" 2>/dev/null && break
  dir=
done
[ -n "$dir" ] || skip "no filesystem here takes a file of 64 TiB"
[ "$(df --output=avail -k "$dir" | tail -n 1)" -gt $((1 << 20)) ] ||
  skip "less than 1 GiB free where the file would be"

seed=${SEED:-$RANDOM}
echo "SEED=$seed"
cache=64
start_folio "$dir/disk.img" cache-size=${cache}M
fio --ioengine=nbd --uri="$uri" --randseed="$seed" --norandommap \
    --random_generator=tausworthe64 --rw=randrw --rwmixread=50 \
    --bsrange=4k-16k --blockalign=4k --iodepth=32 --size=64T \
    --number_ios=100000 --name=all-over --group_reporting
fio --ioengine=nbd --uri="$uri" --randseed="$seed" --norandommap \
    --random_generator=tausworthe64 --rw=randtrim --bs=64k --iodepth=8 \
    --size=64T --number_ios=5000 --name=trim --group_reporting
high=$(awk '/^VmHWM:/ { print int ($2 / 1024) }' "/proc/$pid/status")
limit=$((cache + (cache * 4 + 99) / 100 + 32))
echo "resident at most: $high MiB; allowed: $limit MiB"
[ "$high" -le "$limit" ] || fail "$high MiB resident, more than $limit MiB"
stop_folio
