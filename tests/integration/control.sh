#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# control=: the protocol, what the queries tell, who may connect, and what it takes
# of clients that misbehave.

. "$(dirname "$0")/helpers.sh"

# control: runs a Python program that has all of control.py.
control ()
{
  control=$tmp/control "$python" "$here/control.py"
}

find_python
truncate -s 16M "$tmp/disk.img"

# --- where the socket is made

refuses 'control=: no path given; allowed: a path' "$tmp/disk.img" control=
refuses 'control: .*/none/c: cannot listen: No such file' \
  "$tmp/disk.img" "control=$tmp/none/c"
echo text >"$tmp/file"
refuses 'control: .*/file: something is there already' \
  "$tmp/disk.img" "control=$tmp/file"

start_folio "$tmp/disk.img" "control=$tmp/control"
[ "$(stat -c %a "$tmp/control")" = 600 ] || fail "others may connect"
server=other refuses 'control: .*: something is there already' \
  create=16M "$tmp/other.img" "control=$tmp/control"
use_folio main

# --- queries

client <<'EOF'
h = connect()
for i in range(10):
    h.pwrite(bytes([i + 1]) * 4096, i * 4096)
h.pread(4096, 0)
h.flush()
h.shutdown()
EOF
control <<'EOF'
c = Control()
names = [command["name"] for command in c.run("query-commands")]
for name in names:
    if name.startswith("query-"):
        c.run(name)
status = c.run("query-status")
check(status["state"] == "running", status)
check(status["uptime"] >= 0 and status["disks"] == 1, status)
disk = c.disk()
check(disk["disk"] == "default" and disk["size"] == 16 << 20, disk)
check(disk["store-state"] == "ok" and disk["error"] is None, disk)
check(disk["unsaved"] == 0 and disk["flush-time"] is not None, disk)
check(c.run("query-disks", disk="default")[0]["disk"] == "default", "by name")
stats, = c.run("query-stats", disk="default")["disks"]
check(stats["counters"]["writes"] == 10, stats)
check(stats["counters"]["reads"] == 1, stats)
check(stats["histograms"]["flush"]["count"] == 1, stats)
check(sum(n for _, n in stats["histograms"]["flush"]["buckets"]) == 1, stats)

# --- what is refused, and changes nothing of the connection

c.fails("query-disks", {"disk": "other"}, "DiskNotFound")
c.fails("query-disks", {"disk": 1}, "DiskNotFound")
c.fails("query-status", {"disk": "default"})
c.fails("query-status", {"x": 1})
c.fails("query-status", [])
c.fails("no-such", None, "CommandNotFound")
for wrong in (b"", b"{", b"[]", b"1", b'"x"', b"{}", b'{"execute": 1}', b"null",
              b'{"execute": "query-status", "execute": "query-status"}',
              b'{"execute": "query-status", "what": 1}', b"\xff\xfe", b"\0",
              b'{"execute": "query-status"} x', b'{"execute": "\\u0000"}',
              b"[" * 30000, b'{"a":' * 10000):
    if wrong:
        check("error" in c.raw(wrong + b"\r\n"), wrong[:100])
c.send(b"\r\n\n")
for id in (None, 1, "x", [1, {"a": 2}], {"b": []}):
    line = c.raw(json.dumps({"execute": "query-status", "id": id}).encode() + b"\n")
    check(line["id"] == id, line)
check("id" not in c.raw(b'{"execute": "query-status"}\n'), "an id")
check(c.raw(b'{"execute": "x", "id": 7}\n')["id"] == 7, "an error without id")

# Piece by piece; several at once.
for byte in b'{"execute": "query-status", "id": 8}':
    c.send(bytes([byte]))
check(c.raw(b"\n")["id"] == 8, "byte by byte")
c.send(b'{"execute": "query-stats", "id": 9}\n' * 500)
for i in range(500):
    check(c.line()["id"] == 9, "of many")

# --- bounds

d = Control()
check("error" in d.raw(b"x" * 65536), "a line of 64 KiB")
check(d.line() is None, "it was not hung up")
many = [Control() for i in range(15)]
last = Control(greet=False)
check("error" in last.line() and last.line() is None, "17 clients")
c.run("query-status")
for other in many:
    other.socket.close()
def room ():
    line = Control(greet=False).line()
    return line and "folio" in line
eventually(room, "no room after clients have left")

# One that asks and does not listen waits for itself.
deaf = Control()
deaf.socket.setblocking(False)
try:
    for i in range(100000):
        deaf.socket.send(b'{"execute": "query-stats"}\n' * 100)
except BlockingIOError:
    pass
c.run("query-status")
deaf.socket.close()
EOF

# --- the end

control <<<'c = Control(); c.send(b"{"); c.socket.close()'
stop_folio
[ ! -e "$tmp/control" ] || fail "the socket is left"
start_folio "$tmp/disk.img" "control=$tmp/control"
kill_folio
start_folio "$tmp/disk.img" "control=$tmp/control"
control <<<'check(Control().disk()["dirty"] == 0, "dirty")'
stop_folio
