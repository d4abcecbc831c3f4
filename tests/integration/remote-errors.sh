#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What a remote server says is wrong reaches the log and the client as what it
# is; but that it stops is EIO, since its client does not. It is not an outage,
# and nothing is lost: once the server takes the data a flush writes it.

. "$(dirname "$0")/remote-lib.sh"

# While $tmp/broken exists the server fails all requests of that kind.
# errors_of KIND ERROR TEXT [PARAMETER...]
errors_of ()
{
  local kind=$1 error=$2 text=$3
  shift 3
  echo "== $kind: $error"
  rm -f "$tmp/broken" "$tmp/main.log" "$tmp/disk"
  head -c 8M /dev/urandom >"$tmp/disk"
  remote_nbdkit --filter=error file "$tmp/disk" "error-$kind=$error" \
                "error-$kind-rate=1" "error-$kind-file=$tmp/broken"
  start_folio "$remote_uri" readahead=0 writeback-interval=600 "$@"
  client "$tmp" "$kind" "${error/ESHUTDOWN/EIO}" <<'EOF'
import time

tmp, kind, error = sys.argv[1:]
broken = tmp + "/broken"
h, other = connect(), connect()
disk = Shadow(h) if kind != "pread" else None


def until_it_works(request):
    """What was already on its way may still be refused; of an outage, which
    ESHUTDOWN is, the end has to be awaited."""
    while True:
        try:
            return request()
        except nbd.Error:
            time.sleep(0.05)


def reads():
    h.pwrite(pattern(MiB, 1), 0)
    h.flush()
    open(broken, "w").close()
    refused("a read", lambda: h.pread(4096, 4 * MiB), error)
    same(h.pread(MiB, 0), pattern(MiB, 1), 0, "what is in memory")
    refused("a read over both", lambda: other.pread(2 * MiB, 0), error)
    os.unlink(broken)
    with open(tmp + "/disk", "rb") as f:
        want = f.read()
    got = until_it_works(lambda: h.pread(2 * MiB, 0))
    same(got, want[:2 * MiB], 0, "afterwards")


def writes():
    disk.write(pattern(MiB, 1), 0)
    h.flush()
    open(broken, "w").close()
    disk.write(pattern(MiB, 2), 512 * KiB)
    for each in (h, other, h):
        refused("a flush", each.flush, error)
    refused("FUA", lambda: h.pwrite(pattern(4096, 3), 4 * MiB, FUA), error)
    disk.bytes[4 * MiB:4 * MiB + 4096] = h.pread(4096, 4 * MiB)
    disk.check("while nothing can be written")
    os.unlink(broken)
    until_it_works(h.flush)
    other.flush()
    disk.check("afterwards", h=other)
    disk.save(tmp + "/want")


if kind == "pread":
    reads()
else:
    writes()
EOF
  logged "$text" || fail "$error is not in the log"
  logged 'lost|gone' && [ "$error" != ESHUTDOWN ] &&
    fail "an error was taken for an outage"
  if [ "$kind" != pread ]; then
    cmp "$tmp/want" "$tmp/disk" || fail "$kind, $error: the remote disk"
  fi
  stop_folio
  kill_remote
}

errors_of pread EIO 'Input/output error'
errors_of pread EPERM 'Operation not permitted'
errors_of pwrite EPERM 'Operation not permitted'
errors_of pwrite ENOSPC 'No space left on device'
errors_of pwrite EINVAL 'Invalid argument'
errors_of pwrite ESHUTDOWN 'shutdown|shutting down' retry=4
errors_of pread ESHUTDOWN 'shutdown|shutting down' retry=4

# A remote disk that really is full.
if [ "$(id -u)" = 0 ] && mkdir "$tmp/small" &&
   mount -t tmpfs -o size=4M tmpfs "$tmp/small" 2>/dev/null; then
  on_exit umount "$tmp/small"
  echo "== a full disk"
  rm -f "$tmp/main.log"
  truncate -s 16M "$tmp/small/disk"
  remote_nbdkit file "$tmp/small/disk"
  start_folio "$remote_uri"
  client "$tmp" <<'EOF'
import subprocess
import time

h = connect()
disk = Shadow(h)
disk.write(pattern(8 * MiB, 1), 0)
for each in (h, connect()):
    try:
        each.flush()
    except nbd.Error as e:
        if e.errno != "ENOSPC":
            fail("a flush to a full disk: %s" % e.errno)
    else:
        fail("8 MiB are flushed to a disk of 4")
subprocess.run(["mount", "-o", "remount,size=64M", sys.argv[1] + "/small"],
               check=True)
# What was already on its way may still find no room.
while True:
    try:
        h.flush()
        break
    except nbd.Error as e:
        if e.errno != "ENOSPC":
            fail("a flush, now that there is room: %s" % e.errno)
        time.sleep(0.05)
disk.check("afterwards")
disk.save(sys.argv[1] + "/want")
EOF
  logged 'No space left on device' || fail "a full disk is not in the log"
  cmp "$tmp/want" "$tmp/small/disk" || fail "the remote disk, once there is room"
  stop_folio
  kill_remote
fi
