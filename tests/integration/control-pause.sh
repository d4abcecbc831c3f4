#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The control socket: while write-back is paused nothing is sent to the store, and a
# flush waits, and does not fail; a pause ends with its client, its time, when somebody
# says so, and when the server is stopped. Also long commands: flush, which can be
# cancelled, prefetch, drop-clean.

. "$(dirname "$0")/remote-lib.sh"

find_python
export control=$tmp/control

# both: a Python program that has all of disk.py and of control.py.
both ()
{
  cat "$here/disk.py" >"$tmp/both.py"
  PYTHONPATH=$here timeout "$((120 * FOLIO_TIME_FACTOR))" "$python" -c '
import os, sys, threading
source = open(sys.argv[1]).read().split("if __name__")[0]
exec(compile(source, "disk.py", "exec"))
exec(open(sys.argv[2]).read().split("if __name__")[0])
path = os.environ["control"]
exec(compile(sys.stdin.read(), "<test>", "exec"))
' "$tmp/both.py" "$here/control.py"
}

truncate -s 16M "$tmp/disk.img"
start_folio "$tmp/disk.img" "control=$control" dirty-expire=100ms \
  writeback-interval=100ms
both <<'EOF'
MiB = 1 << 20

def writes(c):
    return c.run("query-stats")["disks"][0]["counters"]["store-writes"]

class Flush(threading.Thread):
    def __init__(self, h):
        super().__init__(daemon=True)
        self.h, self.error = h, None
        self.start()

    def run(self):
        try:
            self.h.flush()
        except BaseException as error:
            self.error = error

    def ends(self):
        self.join()
        check(self.error is None, self.error)

def store():
    return open(os.environ["tmp"] + "/disk.img", "rb").read(4096)

def paused(c):
    state = c.disk()["store-state"]
    check(state in ("ok", "paused"), state)
    return state == "paused"

def begin(c, byte, seconds=3600):
    """Pause, write, begin to flush."""
    c.run("pause-writeback", seconds=seconds)
    check(paused(c) or seconds == 1, "not paused")
    before = writes(c)
    h.pwrite(bytes([byte]) * 4096, 0)
    flush = Flush(connect())
    if seconds > 1:
        time.sleep(0.5)
        check(flush.is_alive(), "a flush is over in a pause")
        check(writes(c) == before, "something was sent in a pause")
        check(store()[0] != byte, "the store has it")
        check(h.pread(1, 0)[0] == byte, "it cannot be read")
    return flush

h = connect()
c, d = Control(), Control()
d.fails("resume-writeback")
for seconds in 0, -1, 3601, "1", 1.5, None, 2 ** 63 - 1:
    c.fails("pause-writeback", {"seconds": seconds})
    check(not paused(c), "refused, but paused")

flush = begin(c, 1)
d.fails("pause-writeback", {})
d.run("resume-writeback", disk="default")
flush.ends()
check(c.line()["event"] == "resumed", "no event")
check(store()[0] == 1, "not on the store")

flush = begin(c, 2)
c.run("resume-writeback")
flush.ends()
check(store()[0] == 2, "not on the store")

flush = begin(c, 3, 1)
flush.ends()
check(store()[0] == 3, "not on the store")
c.run("query-status")
eventually(lambda: c.events or not c.run("query-status"), "no event")
check([e["event"] for e in c.events][-1] == "resumed", c.events)

flush = begin(d, 4)
d.socket.close()
flush.ends()
check(store()[0] == 4, "not on the store")
check(not paused(c), "the pause has not ended with its client")
EOF
grep -q 'write-back is paused, and a flush waits' "$log" ||
  fail "the log does not say that a flush waits"

# The server is stopped in a pause: all is saved.
both <<'EOF'
c = Control()
c.run("pause-writeback", seconds=3600)
h = connect()
h.pwrite(bytes([5]) * (1 << 20), 0)
os.kill(int(open(os.environ["pidfile"]).read()), 15)
def store():
    return open(os.environ["tmp"] + "/disk.img", "rb").read(1 << 20)
eventually(lambda: store() == bytes([5]) * (1 << 20), "not saved at the end")
while c.line()["event"] != "resumed":
    pass
EOF
wait_folio || fail "status $?"

# --- long commands

start_folio "$tmp/disk.img" "control=$control" cache-size=16M
both <<'EOF'
c = Control()
h = connect()
size = 4 << 20
h.pwrite(b"z" * size, 0)
h.flush()
free = c.run("query-status")["cache-free"]
h.pwrite(b"x" * 65536, 0)
result = c.run("drop-clean")
check(result["disk"] == "default" and result["bytes"] >= size // 2, result)
check(c.run("query-status")["cache-free"] >= free + size // 2, "nothing dropped")
check(h.pread(65536, 0) == b"x" * 65536, "what was dirty is lost")
check(c.run("flush")["disk"] == "default", "flush")
check(c.disk()["unsaved"] == 0, "unsaved after a flush")
c.run("drop-clean")
check(c.run("prefetch", offset=0, length=size)["bytes"] == size, "prefetch")
def misses():
    return c.run("query-stats")["disks"][0]["counters"]["misses"]
before = misses()
h.pread(size, 0)
check(misses() == before, "misses after a prefetch")
for wrong in ({}, {"offset": 0}, {"offset": -1, "length": 1},
              {"offset": 16 << 20, "length": 1}, {"offset": 0, "length": 9 << 20},
              {"offset": 0, "length": 2 ** 63 - 1}, {"offset": "0", "length": 1}):
    c.fails("prefetch", wrong)

# Who has said all and waits for an answer gets it.
e = Control()
e.send(b'{"execute": "flush", "id": 1}\n')
e.socket.shutdown(1)
check("return" in e.line() and e.line() is None, "half closed")

# While it is paused, a flush lasts: it tells how far it is, and can be cancelled.
d = Control()
c.run("pause-writeback")
h.pwrite(b"y" * 65536, 0)
id = d.begin("flush")
progress = d.line()
check(progress["event"] == "progress" and progress["data"]["job"] == id, progress)
check(progress["data"]["done"] <= progress["data"]["total"], progress)
d.fails("cancel", {"job": id + 1})
c.fails("cancel", {"job": id})
d.send(b'{"execute": "cancel", "arguments": {"job": %d}}\n' % id)
lines = [d.line(), d.line()]
check(sorted(l.get("id", 0) for l in lines) == [0, id], lines)
check([l["error"]["class"] for l in lines if "error" in l] == ["Cancelled"], lines)
others = [Control() for i in range(3)]
for other in others:
    other.begin("flush")
for other in others:
    check(other.line()["event"] == "progress", "it has not begun")
d.fails("flush")
c.run("resume-writeback")
def served():
    return "return" in d.answer(d.begin("flush"))
eventually(served, "no place after the flushes have ended")
EOF
stop_folio
