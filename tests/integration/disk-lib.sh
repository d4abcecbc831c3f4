# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What tests share of which nothing depends on how the disk lies on which store. Sourced,
# never run. They are run as they are, and by the thin-* tests (see thin-lib.sh) with
#
#   FORMAT  raw, or thin
#   STORE   file; threads: a file whose I/O is done by threads; nbd: on a server; block: a
#           loop device

# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/folio-img-lib.sh"

: "${FORMAT:=raw}" "${STORE:=file}"
disk=$tmp/disk.img

fs_parameters=()
[ "$FORMAT" = raw ] || fs_parameters=(fs="$FORMAT")
[ "$STORE" != threads ] || fs_parameters+=(io=threads)

# format_disk SIZE: the file $disk, whatever it was, has an empty disk of that size.
format_disk ()
{
  rm -f "$disk"
  case $FORMAT in
    raw) truncate -s "$1" "$disk" ;;
    thin)
      img_status 0 create -q -s "$1" "$disk"
      img_status 0 resize -q "$disk"
      # By then it is nobody's.
      dd if="$disk" of="$tmp/nobody" bs=4096 skip=1 count=1 status=none ;;
  esac
}

# Whose image it was is dead, as is known for certain: on a store without locks the next
# one need not wait to see that.
forget_owner ()
{
  [ "$FORMAT" = raw ] ||
    dd if="$tmp/nobody" of="$disk" bs=4096 seek=1 conv=notrunc status=none
}

# What $store is besides a file.
store_server=
store_loop=
end_store ()
{
  [ -z "$store_server" ] || kill "$store_server"
  [ -z "$store_loop" ] || losetup -d "$store_loop"
  store_server=
  store_loop=
}
on_exit end_store

begin_store ()
{
  case $STORE in
    file | threads) store=$disk ;;
    nbd)
      rm -f "$tmp/store.sock" "$tmp/store.pid"
      "$NBDKIT" -U "$tmp/store.sock" -P "$tmp/store.pid" file "$disk"
      eventually 20 test -s "$tmp/store.pid" || late "nbdkit does not start"
      store_server=$(cat "$tmp/store.pid")
      store="nbd+unix:///?socket=$tmp/store.sock" ;;
    block)
      needs losetup
      [ "$(id -u)" = 0 ] || skip "only root can set up a loop device"
      store_loop=$(losetup -f --show "$disk") || skip "no loop device"
      store=$store_loop ;;
    *) fail "no such STORE: $STORE" ;;
  esac
}

# new_disk SIZE: an empty disk, on $store.
new_disk ()
{
  end_store
  format_disk "$1"
  begin_store
}

# start_disk [NBDKIT_OPTION... --] PARAMETER...: start_folio with it, and of the parameters
# those that its store takes.
start_disk ()
{
  local options=() parameters=() word
  case " $* " in
    *' -- '*)
      while [ "$1" != -- ]; do
        options+=("$1")
        shift
      done
      shift ;;
  esac
  for word; do
    case $STORE:$word in
      nbd:direct=*) ;;
      *) parameters+=("$word") ;;
    esac
  done
  start_folio ${options[@]+"${options[@]}"} -- "$store" \
              ${fs_parameters[@]+"${fs_parameters[@]}"} \
              ${parameters[@]+"${parameters[@]}"}
}

# look_inside: nobody serves the disk; $bytes is a file with what is in it.
look_inside ()
{
  bytes=$disk
  [ "$FORMAT" = thin ] || return 0
  bytes=$tmp/disk.bytes
  clean "$disk"
  rm -f "$bytes"
  img_status 0 convert -q -O raw "$disk" "$bytes"
}
