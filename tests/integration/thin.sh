#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A thin disk: random requests compared with an exact copy, in a file by io_uring and by
# threads, with little cache and none, over several lives of the server, and on a remote
# store; qemu-img brings a filesystem in and out. After each, nothing is wrong with the
# image, and folio-img reads what clients wrote. SEED=N replays, OPS=N makes so many requests.

. "$(dirname "$0")/folio-img-lib.sh"

needs qemu-img mke2fs e2fsck

seed=${SEED:-$((RANDOM * 32768 + RANDOM + 1))}
echo "SEED=$seed"
disk=$tmp/disk.thin

# life STORE PARAMETER...: random requests, the disk being what it was.
life ()
{
  local store=$1
  shift
  seed=$((seed + 1))
  start_folio "$store" fs=thin "$@"
  "$tools_dir/oracle" --uri "$uri" --state "$tmp/state" --seed "$seed" \
                      --ops "${OPS:-$(share 1500)}" ||
    fail "$store $*, seed $seed"
  stop_folio
  clean "$store"
}

# as_oracle STORE: what folio-img makes of it is what the oracle knows.
as_oracle ()
{
  rm -f "$tmp/copy.raw"
  img_status 0 convert -q -O raw "$1" "$tmp/copy.raw"
  "$tools_dir/oracle" --state "$tmp/state" --compare-file "$tmp/copy.raw" ||
    fail "$1: folio-img reads something else"
}

img_status 0 create -s 32M --store-size 200M "$disk"
for parameters in "" io=threads cache-size=4M cache=none cache=writethrough; do
  # shellcheck disable=SC2086
  life "$disk" $parameters
  as_oracle "$disk"
done

# --- on a server

rm -f "$tmp/state"
nbd_server memory memory 200M
img_status 0 create -s 32M "$nbd"
store=$nbd
life "$store" cache-size=4M
life "$store" connections=1
as_oracle "$store"

# --- a filesystem

truncate -s 64M "$tmp/fs.raw"
mke2fs -q -t ext4 -d "$here" "$tmp/fs.raw"
img_status 0 create -s 64M "$tmp/fs.thin"
start_folio "$tmp/fs.thin" fs=thin cache-size=16M
qemu-img convert -n -f raw -O raw "$tmp/fs.raw" "$uri"
qemu-img compare -f raw -F raw "$tmp/fs.raw" "$uri"
stop_folio
img_status 0 compare -f raw "$tmp/fs.raw" "$tmp/fs.thin"
start_folio "$tmp/fs.thin" fs=thin cache-size=16M
qemu-img convert -f raw -O raw "$uri" "$tmp/back.raw"
stop_folio
cmp "$tmp/fs.raw" "$tmp/back.raw"
e2fsck -fn "$tmp/back.raw" || fail "the filesystem is damaged"
clean "$tmp/fs.thin"
