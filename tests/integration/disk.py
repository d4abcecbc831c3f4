# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The client side of the integration tests: a connection to $uri and a shadow
# copy of the disk that every write, zero and trim is applied to as well. Run by
# itself it goes on with the program on its standard input.

import os
import random
import sys

import nbd

KiB = 1024
MiB = 1024 * KiB

FUA = nbd.CMD_FLAG_FUA
NO_HOLE = nbd.CMD_FLAG_NO_HOLE
FAST_ZERO = nbd.CMD_FLAG_FAST_ZERO

# What base:allocation says of a range.
HOLE = nbd.STATE_HOLE
ZERO = nbd.STATE_ZERO


def connect(uri=None, checked=True):
    """A connection to URI (or $uri). With CHECKED False libnbd sends what
    the server must refuse."""
    h = nbd.NBD()
    if not checked:
        h.set_strict_mode(0)
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.connect_uri(uri or os.environ["uri"])
    return h


def pattern(n, seed):
    """N bytes that SEED alone decides, none of them zero in a row of two, so
    that they are mistaken neither for a hole nor for one another."""
    return random.Random(seed).randbytes(n).replace(b"\0\0", b"\1\2")


def fail(message):
    print("FAIL: %s" % message, file=sys.stderr)
    sys.exit(1)


def refused(what, request, *errors):
    """The request must fail with one of these errors; by default EIO."""
    try:
        request()
    except nbd.Error as e:
        if e.errno not in (errors or ("EIO",)):
            fail("%s: %s" % (what, e.errno))
    else:
        fail("%s: no error" % what)


def same(got, want, offset, what):
    """Ends the test unless GOT, read at OFFSET, is WANT."""
    if got == want:
        return
    bad = next(i for i in range(len(want)) if got[i] != want[i])
    wrong = sum(got[i:i + 512] != want[i:i + 512]
                for i in range(0, len(want), 512))
    fail("%s: %d of %d sectors wrong, the first byte at %d: %#x, not %#x"
         % (what, wrong, (len(want) + 511) // 512, offset + bad, got[bad],
            want[bad]))


def extents(h, offset, length, flags=0):
    """[(length, flags)] for exactly that range, neighbours alike joined."""
    out = []
    end = offset + length

    def add(context, start, entries, error):
        nonlocal offset
        if context != nbd.CONTEXT_BASE_ALLOCATION:
            return
        for i in range(0, len(entries), 2):
            n = min(entries[i], end - offset)
            if n == 0:
                break
            if out and out[-1][1] == entries[i + 1]:
                out[-1] = (out[-1][0] + n, entries[i + 1])
            else:
                out.append((n, entries[i + 1]))
            offset += n

    while offset < end:
        before = offset
        h.block_status(end - offset, offset, add, flags)
        if offset == before:
            fail("block status at %d says nothing" % offset)
    return out


class Shadow:
    """A disk and what it must hold."""

    def __init__(self, h):
        self.h = h
        self.bytes = bytearray()
        for at in range(0, h.get_size(), MiB):
            self.bytes += h.pread(min(MiB, h.get_size() - at), at)

    @classmethod
    def load(cls, h, path):
        """The disk as it was when save wrote it to PATH."""
        shadow = cls.__new__(cls)
        shadow.h = h
        with open(path, "rb") as f:
            shadow.bytes = bytearray(f.read())
        return shadow

    def write(self, data, offset, flags=0):
        for at in range(0, len(data), MiB):
            self.h.pwrite(data[at:at + MiB], offset + at, flags)
        self.bytes[offset:offset + len(data)] = data

    def zero(self, n, offset, flags=0):
        self.h.zero(n, offset, flags)
        self.bytes[offset:offset + n] = bytes(n)

    def trim(self, n, offset, flags=0):
        self.h.trim(n, offset, flags)
        self.bytes[offset:offset + n] = bytes(n)

    def check(self, what, n=None, offset=0, h=None):
        """Reads the range (all of the disk if N is None) and compares."""
        if n is None:
            n = len(self.bytes)
        h = h or self.h
        for at in range(offset, offset + n, MiB):
            m = min(MiB, offset + n - at)
            same(h.pread(m, at), self.bytes[at:at + m], at, what)

    def save(self, path):
        with open(path, "wb") as f:
            f.write(self.bytes)


if __name__ == "__main__":
    exec(compile(sys.stdin.read(), "client", "exec"))
