#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# folio-img makes, tells of, checks and resizes images, and makes snapshots; in files and
# on a server; and refuses what is wrong with one line.

. "$(dirname "$0")/folio-img-lib.sh"

needs python3 nbdcopy

# --- what it refuses

img_refuses 'no command' 2
img_refuses 'no such command, did you mean create' 2 craete x
img_refuses 'too few operands' 2 info
img_refuses 'too many operands' 2 info a b
img_refuses 'no such option, --nope' 2 create --nope x
img_refuses 'needs a value' 2 create x -s
img_refuses 'twice' 2 create -s 1G -s 1G x
img_refuses 'not a size' 2 create -s lots x
img_refuses 'no such unit' 2 create -s 10X x
img_refuses 'too small' 2 create -s 0 x
img_refuses 'too large' 2 create -s 2E x
img_refuses '-s SIZE is needed' 2 create x
img_refuses 'allowed: 4k to 4k' 2 create -s 1G --block-size 64k "$tmp/x"
img_refuses 'there is no such file' 1 info "$tmp/none"
img_refuses 'no such kind of store' 1 info rbd:pool/image
img_refuses 'there is no such file' 8 check "$tmp/none"
img_refuses 'too few operands' 16 check
img_refuses 'it takes: create\|delete' 2 snapshot make a b
img_refuses 'not a size' 2 resize "$tmp/none" large
img_refuses 'too small' 2 resize "$tmp/none" 0
img_refuses 'not a size' 2 convert -O thin --store-size large a b
img_refuses 'is for -O thin' 2 convert -O raw --store-size 1G a b
img_refuses 'is for -f thin' 2 convert -O thin --snapshot old a b
img_refuses 'is for -f thin' 2 convert -O thin --salvage a b
[ ! -e "$tmp/x" ] || fail "what was refused was made"

img_status 0 --help
grep -q '^  convert ' <<<"$out" || fail "--help: $out"
img_status 0 create --help
grep -q -- '--preallocate' <<<"$out" || fail "create --help: $out"

# --- a disk in a file

disk=$tmp/disk.thin
img_status 0 create -s 100M "$disk"
[ "$(stat -c %b "$disk")" -lt 1000 ] || fail "an empty disk takes $(du -k "$disk")"
[ "$(field "$disk" disk-size)" = $((100 << 20)) ] || fail "info: $(img info "$disk")"
[ "$(field "$disk" data-size)" = 0 ] || fail "info: $(img info "$disk")"
img_status 0 info "$disk"
grep -qE '^disk: +100 MiB$' <<<"$out" || fail "info: $out"
clean "$disk"
img_refuses 'holds something already' 1 create -s 1G "$disk"
img_status 0 create --force -q -s 50M "$disk"
[ "$(field "$disk" disk-size)" = $((50 << 20)) ] || fail "info: $(img info "$disk")"
[ "$(img map --json "$disk")" = '[
  {"start": 0, "length": 52428800, "type": "hole"}
]' ] || fail "map: $(img map --json "$disk")"
ls "$tmp" | grep part && fail "something is left over"

img_refuses 'not.*thin|no.*superblock|no thin image' 1 info "$abs_top_srcdir/README.md"

# --- all of its space taken

img_status 0 create -s 20M --preallocate "$tmp/full.thin"
[ $(($(stat -c '%b * %B' "$tmp/full.thin"))) -ge $((20 << 20)) ] ||
  fail "not preallocated: $(du -k "$tmp/full.thin")"
clean "$tmp/full.thin"

# --- another size

img_status 0 resize "$disk" 60M
[ "$(field "$disk" disk-size)" = $((60 << 20)) ] || fail "resize: $(img info "$disk")"
img_refuses 'with --force it is cut off' 1 resize "$disk" 10M
img_status 0 resize --force "$disk" 10M
clean "$disk"
free=$(field "$disk" free-size)
truncate -s +64M "$disk"
img_status 0 resize "$disk"
[ "$(field "$disk" free-size)" = $((free + (64 << 20))) ] ||
  fail "the store's growth: $(img info "$disk")"
clean "$disk"

# --- snapshots

img_status 0 snapshot create monday "$disk"
img_refuses 'there is one of that name' 1 snapshot create monday "$disk"
img_refuses 'that is no name' 1 snapshot create a/b "$disk"
img_refuses 'there is none of that name' 1 snapshot delete friday "$disk"
img_status 0 snapshot create tuesday "$disk"
[ "$(img snapshot list --json "$disk" | grep -c '"name"')" = 2 ] ||
  fail "list: $(img snapshot list --json "$disk")"
img_status 0 snapshot list "$disk"
grep -q 'monday$' <<<"$out" || fail "list: $out"
img_status 0 snapshot revert monday "$disk"
img_status 0 snapshot delete monday "$disk"
clean "$disk"
img_refuses 'it has no snapshot monday' 1 map --snapshot monday "$disk"

# --- a second copy mends a superblock

head -c 4096 /dev/zero | dd of="$disk" conv=notrunc status=none
img_status 4 check "$disk"
img_status 1 check --repair "$disk"
clean "$disk"
head -c 100 /dev/urandom |
  dd of="$disk" bs=1 seek=$((1 << 20)) conv=notrunc status=none
img_status 4 check "$disk"
img_status 1 check --repair "$disk"
clean "$disk"

# --- what is free and how often something is used is made anew; what it is, is not

# zero_root N: the root of the N-th tree, as in FORMAT.md's table of a superblock
zero_root ()
{
  local at
  at=$(od -A n -t u8 -j $((136 + 24 * $1)) -N 8 "$disk")
  head -c 4096 /dev/zero |
    dd of="$disk" bs=4096 seek=$((at)) conv=notrunc status=none
}

zero_root 1
img_status 4 check "$disk"
img_status 1 check --repair "$disk"
clean "$disk"
img_status 0 snapshot create friday "$disk"
cp "$disk" "$tmp/whole.thin"
zero_root 4
img_status 4 check "$disk"
img_status 4 check --repair "$disk"
grep -q 'nothing was changed' <<<"$out" || fail "--repair: $out"
cp "$tmp/whole.thin" "$disk"
clean "$disk"

# --- on a server

nbd_server memory memory 64M
img_status 0 create -s 1T "$nbd"
[ "$(field "$nbd" disk-size)" = $((1 << 40)) ] || fail "info: $(img info "$nbd")"
clean "$nbd"
img_refuses 'holds something already' 1 create -s 1T "$nbd"

# --- while it is served, there too, where nothing is locked

start_folio "$nbd" fs=thin
for command in info map "snapshot list" "snapshot create now" resize "convert -O raw"; do
  read -r -a words <<<"$command"
  operands=("$nbd")
  [ "${words[0]}" = convert ] && operands+=("$tmp/copy.raw")
  img_refuses 'another server has it open' 1 "${words[@]}" "${operands[@]}"
done
img_refuses 'another server has it open' 8 check -q "$nbd"
[ ! -e "$tmp/copy.raw" ] || fail "a disk that is served was copied"
stop_folio
clean "$nbd"

# An owner who comes while it is read is noticed at the end.
head -c 40M /dev/urandom >"$tmp/data.raw"
img_status 0 convert -q --force -O thin "$tmp/data.raw" "$nbd"
nbd_server slow --filter=rate nbd uri="$nbd" rate=40M
img convert -q -O raw "$nbd" "$tmp/copy.raw" >"$tmp/out" 2>&1 &
copying=$!
has_begun ()
{
  [ -n "$(find "$tmp" -name 'copy.raw.part-*' -size +100k)" ]
}
eventually 20 has_begun || late "the conversion does not begin"
start_folio "${nbd/slow.sock/memory.sock}" fs=thin
status=0
wait $copying || status=$?
[ $status = 1 ] || fail "status $status: $(cat "$tmp/out")"
grep -q 'has written to it meanwhile' "$tmp/out" || fail "it says: $(cat "$tmp/out")"
[ ! -e "$tmp/copy.raw" ] || fail "a disk that is served was copied"
stop_folio
