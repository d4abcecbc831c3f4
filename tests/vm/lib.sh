# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What tests in a virtual machine share: its kernel, its ramdisk and its end. Sourced,
# never run; see run and one-host for how.
#
# They need QEMU, busybox and a Linux kernel with nbd.ko: the newest under
# /lib/modules, or else Debian's, which is fetched (not installed) into
# FOLIO_VM_CACHE. On Debian: apt-get install qemu-system-x86 busybox-static nbd-client

# shellcheck shell=bash

: "${abs_top_builddir:=$PWD}"
: "${FOLIO_PLUGIN:=$PWD/plugin/.libs/nbdkit-folio-plugin.so}"
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"

cache=${FOLIO_VM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var}/.cache}/nbdkit-folio}
package=linux-image-cloud-amd64

for program in qemu-system-x86_64 busybox nbd-client mke2fs e2fsck debugfs; do
  requires "$program"
done

# ---------------------------------------------------------------- the kernel

# find_kernel ROOT: sets kernel and modules to the newest one that has nbd.ko.
find_kernel ()
{
  local version
  for version in $(find "$1/lib/modules" -mindepth 1 -maxdepth 1 \
                   -printf '%f\n' 2>/dev/null | sort -rV || true); do
    kernel=$1/boot/vmlinuz-$version modules=$1/lib/modules/$version
    if [ -r "$kernel" ] && [ -n "$(find "$modules" -name 'nbd.ko*')" ]; then
      return 0
    fi
  done
  return 1
}

fetch_kernel ()
{
  local name
  requires apt-get
  requires dpkg-deb
  name=$(apt-cache depends --important $package 2>/dev/null |
         sed -n 's/.*Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
  mkdir "$tmp/fetch"
  (cd "$tmp/fetch" && apt-get -qq -o APT::Sandbox::User=root download \
                              "${name:-$package}" 2>/dev/null) ||
    skip "$package cannot be fetched (apt-get update?)"
  dpkg-deb -x "$tmp"/fetch/*.deb "$tmp/fetch/root"
  mkdir -p "$cache"
  # Whoever is first; another one may do the same at this moment.
  mv -T "$tmp/fetch/root" "$cache/$package" 2>/dev/null || true
}

find_kernel "" || find_kernel "$cache/$package" || {
  fetch_kernel
  find_kernel "$cache/$package" || skip "$package has no nbd.ko"
}
echo "kernel: $kernel"

# --------------------------------------------------------------- its ramdisk

root=$tmp/root

# add_program NAME: with the libraries it needs.
add_program ()
{
  local path library
  path=$(command -v "$1")
  cp -L "$path" "$root/bin/"
  for library in $(ldd "$path" 2>/dev/null | grep -o '/[^ ]*' || true); do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
}

# add_module NAME: after what it depends on; one built in is left out.
loaded=' '
add_module ()
{
  local file needed
  case $loaded in *" $1 "*) return ;; esac
  loaded="$loaded$1 "
  file=$(find "$modules" -name "${1//[-_]/[-_]}.ko*" | head -n 1)
  [ -n "$file" ] || return 0
  case $file in
    *.xz) xz -dc "$file" ;;
    *.zst) zstd -dcq "$file" ;;
    *.gz) gzip -dc "$file" ;;
    *) cat "$file" ;;
  esac >"$root/modules/$1"
  # What it says of itself: a package only unpacked has no modules.dep.
  for needed in $(tr '\0' '\n' <"$root/modules/$1" |
                  sed -n 's/^depends=//p' | tr ',' ' '); do
    add_module "$needed"
  done
  echo "$1" >>"$root/modules/order"
}

mkdir -p "$root"/{bin,etc,proc,sys,dev,tmp,mnt,modules}
ln -s bin "$root/sbin"
ln -s /proc/mounts "$root/etc/mtab"
for program in busybox nbd-client mke2fs e2fsck; do
  add_program "$program"
done
for module in virtio_pci nbd crc32c_generic ext4; do
  add_module $module
done

# Its first process, which does what work_in_guest is given.
cat >"$root/init" <<'EOF'
#!/bin/busybox sh
/bin/busybox mkdir /applets
/bin/busybox --install -s /applets
export PATH=/bin:/applets
# With their paths: busybox would take applets of its own for them.
mke2fs=/bin/mke2fs e2fsck=/bin/e2fsck
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
for module in $(cat /modules/order); do
  insmod /modules/$module
done
ip addr add 127.0.0.1/8 dev lo
ip link set lo up

# wait_until SHELL_CONDITION
wait_until ()
{
  n=0
  until eval "$1"; do
    n=$((n + 1))
    [ $n -lt 1000 ] || { echo "waited in vain: $1"; return 1; }
    sleep 0.1
  done
}

# attach NBD_CLIENT_ARG...
attach ()
{
  nbd-client "$@" && wait_until '[ "$(cat /sys/block/nbd0/size)" != 0 ]'
}

detach ()
{
  nbd-client -d /dev/nbd0 &&
    wait_until '[ ! -e /sys/block/nbd0/pid ]' &&
    wait_until '[ "$(cat /sys/block/nbd0/size)" = 0 ]'
}

. /work
if work; then
  dmesg | grep -iE 'nbd0.*error|I/O error|Out of memory' || echo 'FOLIO: GOOD'
else
  dmesg | tail -n 20
fi
poweroff -f
EOF
chmod 755 "$root/init"

# work_in_guest: standard input is a script for the guest's shell that defines the
# function work.
work_in_guest () { cat >"$root/work"; }

# --------------------------------------------------------------- the machine

# run_machine SECONDS MEBIBYTES KERNEL_OPTIONS QEMU_OPTION...: it starts, works and
# ends, in that time and with nothing to complain of. What it said is left in
# $tmp/console.txt.
run_machine ()
{
  local limit=$(($1 * FOLIO_TIME_FACTOR)) memory=$2 options status=0
  (cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$tmp/initrd"
  # Emulated: /dev/kvm may be there and not work. One connection and one
  # processor are the fastest then.
  # A busy host ticks too late for the kernel's check of its timer, which it takes
  # for broken.
  options="console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable no5lvl"
  options="$options no_timer_check $3"
  shift 3
  timeout -k 5 "$limit" qemu-system-x86_64 -M pc -accel tcg -cpu max -m "$memory" \
    -display none -nodefaults -no-user-config -no-reboot -serial stdio \
    -kernel "$kernel" -initrd "$tmp/initrd" -append "$options" "$@" \
    </dev/null >"$tmp/console" 2>&1 || status=$?
  [ $status = 0 ] || tail -n 40 "$tmp/console"
  ! grep -m 1 'Out of memory' "$tmp/console" || fail "the machine ran out of memory"
  case $status in
    0) ;;
    124 | 137) late "the machine did not end by itself" ;;
    *) fail "the machine ended with status $status" ;;
  esac
  tr -d '\r' <"$tmp/console" | tee "$tmp/console.txt"
  grep -qx 'FOLIO: GOOD' "$tmp/console.txt" || fail "see above"
}
