#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Remote stores of all makes: random requests compared with an exact copy, whole
# disks copied in and out, and after a flush the extents are those that the
# remote server itself reports. SEED=N replays, OPS=N makes so many requests.

. "$(dirname "$0")/remote-lib.sh"
. "$(dirname "$0")/disk-lib.sh"

needs nbdcopy nbdinfo qemu-nbd qemu-img nbd-server
new_seed
size=32M

# Somewhere to copy from: data, holes, and more data at the end.
truncate -s $size "$tmp/origin"
head -c 5M /dev/urandom | dd of="$tmp/origin" bs=64K seek=16 conv=notrunc \
                             status=none
head -c 128K /dev/urandom | dd of="$tmp/origin" bs=4K seek=8160 conv=notrunc \
                               status=none

# Lives of folio over a remote disk of zeroes.
lives=("" "cache-size=4M connections=1 folio-max=64K"
       "cache=none connections=2")
oracle_options=()
verify_remote ()
{
  case $FORMAT in
    raw) "$tools_dir/oracle" --uri "$remote_uri" --connections 1 --verify-only \
                             --state "$tmp/state" ;;
    thin)
      clean "$remote_uri"
      rm -f "$tmp/copy"
      img_status 0 convert -q -O raw "$remote_uri" "$tmp/copy"
      "$tools_dir/oracle" --state "$tmp/state" --compare-file "$tmp/copy" ;;
  esac
}

random_requests ()
{
  local life
  rm -f "$tmp/state"
  for life in 0 1 2; do
    seed=$((seed + 1))
    read -r -a parameters <<<"${lives[life]}"
    start_disk "${parameters[@]}"
    "$tools_dir/oracle" --uri "$uri" --state "$tmp/state" --seed "$seed" \
                        --ops "${OPS:-$(share 1600)}" "${oracle_options[@]}" ||
      fail "$make: life $life, ${lives[life]}"
    stop_folio
    verify_remote || fail "$make: the disk"
  done
}

same_as_origin () # URI
{
  rm -f "$tmp/copy"
  nbdcopy "$1" "$tmp/copy"
  cmp "$tmp/origin" "$tmp/copy" || fail "$make: the copy of $1"
}

# The map of the remote disk itself: without extents all is data.
remote_map ()
{
  if [ "$make" = nbd-server ]; then
    printf '%10d  %10d    0  data\n' 0 "$(nbdinfo --size "$remote_uri")"
  else
    nbdinfo --map "$remote_uri"
  fi >"$tmp/remote.map"
}

# What is written is in units of 64 KiB, the largest that any of the servers
# allocates in.
extents_agree ()
{
  nbdinfo --map "$uri" >"$tmp/folio.map"
  diff "$tmp/remote.map" "$tmp/folio.map" || fail "$make: extents, $1"
}

copies ()
{
  start_folio "$remote_uri"
  nbdcopy --flush "$tmp/origin" "$uri"
  same_as_origin "$uri"
  same_as_origin "$remote_uri"
  remote_map
  [ "$make" = nbd-server ] || extents_agree "after writing"
  stop_folio
  start_folio "$remote_uri"
  same_as_origin "$uri"
  extents_agree "of another folio"
  stop_folio
}

every_make () # NAME START...
{
  make=$1
  shift
  echo "== $make"
  rm -f "$tmp/disk"
  truncate -s $size "$tmp/disk"
  "$@"
  store=$remote_uri
  [ "$FORMAT" = raw ] || img_status 0 create -q -s 8M "$store"
  random_requests
  [ "$FORMAT" != raw ] || copies
  kill_remote -TERM # so that an image is closed
}

# A fast zero that ends inside one of qcow2's clusters, which qemu-nbd declines when
# it has zeroed those before: folio takes it, and has it done without haste.
half_zeroed ()
{
  start_folio "$remote_uri"
  client "$remote_uri" <<'EOF'
h, remote = connect(), connect(sys.argv[1])
h.pwrite(pattern(256 * KiB, 1), 0)
h.flush()
h.pread(256 * KiB, 0)
h.zero(132 * KiB, 0, NO_HOLE | FAST_ZERO)
want = bytes(132 * KiB) + pattern(256 * KiB, 1)[132 * KiB:]
same(h.pread(256 * KiB, 0), want, 0, "at once")
h.flush()
same(remote.pread(256 * KiB, 0), want, 0, "on the store")
EOF
  stop_folio
}

every_make "nbdkit memory" remote_nbdkit memory $size
every_make "nbdkit file" remote_nbdkit file "$tmp/disk"
every_make "qemu-nbd, raw" remote_qemu -f raw "$tmp/disk"
# qemu 7.2 itself damages a qcow2 image, whoever is its client, when it is written
# and zeroed at the same time: in one cluster, as it seems. With clusters of 512
# bytes it does not, and no two of folio's requests share one; nor do those that
# copy a disk share larger ones.
qemu-img create -q -f qcow2 -o cluster_size=512 "$tmp/disk.qcow2" $size
oracle_options=(--no-fast-zero)
every_make "qemu-nbd, qcow2" remote_qemu -f qcow2 "$tmp/disk.qcow2"
qemu-img check -q "$tmp/disk.qcow2" || fail "qemu-nbd damages its image"
if [ "$FORMAT" = raw ]; then
  qemu-img create -q -f qcow2 "$tmp/large.qcow2" $size
  remote_qemu -f qcow2 "$tmp/large.qcow2"
  make="qemu-nbd, qcow2, 64 KiB"
  copies
  half_zeroed
  kill_remote
fi
oracle_options=()
every_make nbd-server remote_nbd_server "$tmp/disk"
