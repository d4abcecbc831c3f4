#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Requests past the end of the disk, of no bytes and of too many get the answer that
# the NBD protocol names; the connection goes on and the disk is unchanged.

. "$(dirname "$0")/helpers.sh"

# Sizes that end within a folio, a page and a sector.
for size in 1048576 1052672 999936 999999; do
  rm -f "$tmp/disk.img"
  head -c $size /dev/urandom >"$tmp/disk.img"
  sum=$(sha256sum <"$tmp/disk.img")
  start_folio "$tmp/disk.img" cache-size=4M
  client "$tmp/disk.img" <<'EOF'
h = connect(checked=False)
size = h.get_size()
want = open(sys.argv[1], "rb").read()
if size != len(want):
    fail("the disk has %d bytes, the file %d" % (size, len(want)))

READ = ("EINVAL", "EOVERFLOW")
WRITE = ("ENOSPC", "EINVAL")


def answer(request):
    try:
        request()
    except nbd.Error as e:
        return e.errno
    return "success"


def expect(name, allowed, request):
    got = answer(request)
    if got not in allowed:
        fail("%s, size %d: %s, not %s" % (name, size, got, " or ".join(allowed)))


def status(n, at):
    h.block_status(n, at, lambda *args: 0)


for n, at in ((512, size), (1, size), (1024, size - 512), (2, size - 1),
              (4096, size + 4096), (4096, 2**63 - 4096), (4096, 2**63),
              (4096, 2**64 - 4096), (4096, 2**64 - 1), (2**32 - 1, 0),
              (2**32 - 4096, size - 4096)):
    name = "%d bytes at %d" % (n, at)
    if n <= 65536:
        expect("read of " + name, READ, lambda: h.pread(n, at))
        expect("write of " + name, WRITE, lambda: h.pwrite(b"x" * n, at))
        expect("FUA write of " + name, WRITE,
               lambda: h.pwrite(b"x" * n, at, FUA))
    expect("zero of " + name, WRITE, lambda: h.zero(n, at))
    expect("trim of " + name, READ + WRITE, lambda: h.trim(n, at))
    expect("cache of " + name, READ, lambda: h.cache(n, at))
    expect("block status of " + name, READ, lambda: status(n, at))

# Of no bytes: "unspecified", so an error is an answer and success is too.
for at in 0, 100, size:
    name = "0 bytes at %d" % at
    done = ("success", "EINVAL", "ENOSPC")
    expect("read of " + name, done, lambda: h.pread(0, at))
    expect("write of " + name, done, lambda: h.pwrite(b"", at))
    expect("zero of " + name, done, lambda: h.zero(0, at))
    expect("trim of " + name, done, lambda: h.trim(0, at))
    expect("cache of " + name, done, lambda: h.cache(0, at))

# More than a server takes in one request.
expect("read of 64 MiB", READ + ("ENOMEM",), lambda: h.pread(64 * MiB, 0))

# Flags where they mean nothing.
expect("trim with FAST_ZERO", ("EINVAL",), lambda: h.trim(1, 0, FAST_ZERO))
expect("an unknown flag", ("EINVAL",), lambda: h.pread(1, 0, 1 << 14))

# The last byte is inside, and nothing has changed.
same(h.pread(1, size - 1), want[-1:], size - 1, "the last byte")
same(b"".join(h.pread(min(MiB, size - at), at) for at in range(0, size, MiB)),
     want, 0, "the disk afterwards")
h.flush()
EOF
  stop_folio
  [ "$(sha256sum <"$tmp/disk.img")" = "$sum" ] || fail "the file was changed"

  # Up to the very last byte it can be written, and does not grow.
  start_folio "$tmp/disk.img" cache-size=4M
  client "$tmp/want" <<'EOF'
disk = Shadow(connect())
size = len(disk.bytes)
disk.write(pattern(5000, 1), size - 5000)
disk.zero(100, size - 100)
disk.write(b"z", size - 1)
disk.trim(1500, size - 4000)
disk.check("the end")
disk.h.flush()
disk.save(sys.argv[1])
EOF
  stop_folio
  cmp "$tmp/disk.img" "$tmp/want" || fail "size $size: wrong in the file"
done
