#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# qemu-img convert puts an ext4 image with files in it, raw and qcow2, into the disk
# and takes it out again, and nothing has changed.

. "$(dirname "$0")/disk-lib.sh"

needs qemu-img mke2fs e2fsck

mkdir "$tmp/root"
cp -r "$here" "$tmp/root/etc"
for i in 1 2 3 4; do
  head -c $((i * 700000)) /dev/urandom >"$tmp/root/random$i"
done
truncate -s 5M "$tmp/root/sparse"
ln -s random1 "$tmp/root/link"
truncate -s 128M "$tmp/fs.raw"
mke2fs -q -t ext4 -d "$tmp/root" "$tmp/fs.raw"
qemu-img convert -f raw -O qcow2 "$tmp/fs.raw" "$tmp/fs.qcow2"

for format in raw qcow2; do
  new_disk 128M
  start_disk cache-size=16M
  qemu-img convert -n -f $format -O raw "$tmp/fs.$format" "$uri"
  qemu-img compare -f raw -F raw "$tmp/fs.raw" "$uri"
  qemu-img convert -f raw -O qcow2 "$uri" "$tmp/back.qcow2"
  qemu-img compare -f raw -F qcow2 "$tmp/fs.raw" "$tmp/back.qcow2"
  stop_folio

  look_inside
  cmp "$tmp/fs.raw" "$bytes" || fail "$format: the file is different"
  e2fsck -fn "$bytes" || fail "$format: the filesystem is damaged"

  # From a cold cache.
  start_disk cache-size=16M
  qemu-img compare -f raw -F raw "$tmp/fs.raw" "$uri"
  qemu-img convert -f raw -O raw "$uri" "$tmp/back.raw"
  stop_folio
  cmp "$tmp/fs.raw" "$tmp/back.raw"
done

[ "$FORMAT" = raw ] || exit 0

# Of a size that is not of whole sectors, as the man page has it.
head -c 1000001 /dev/urandom >"$tmp/odd"
truncate -s 1000001 "$tmp/odd.img"
start_folio --filter=truncate -- "$tmp/odd.img" round-up=512
qemu-img convert -n -f raw -O raw "$tmp/odd" "$uri"
qemu-img compare -f raw -F raw "$tmp/odd" "$uri"
stop_folio
cmp "$tmp/odd" "$tmp/odd.img" || fail "the file of an odd size is different"
