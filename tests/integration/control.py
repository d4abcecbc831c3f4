# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The client's side of the control socket, for tests. Run by itself it goes on with
# the program on its standard input, in which "path" is the socket's.

import json
import os
import socket
import sys
import time

path = os.environ.get("control", "")


def check(condition, what):
    if not condition:
        sys.exit("FAIL: %s" % (what,))


class Control:
    def __init__(self, greet=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(path)
        self.rest = b""
        self.events = []
        self.next_id = 0
        if greet:
            greeting = self.line()
            check(list(greeting) == ["folio"], greeting)

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        """The next line, or None at the end."""
        while b"\n" not in self.rest:
            data = self.socket.recv(65536)
            if not data:
                check(not self.rest, "half a line: %r" % self.rest)
                return None
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        check(line.endswith(b"\r"), "a line without CR")
        return json.loads(line)

    def begin(self, name, arguments=None):
        self.next_id += 1
        request = {"execute": name, "id": self.next_id}
        if arguments is not None:
            request["arguments"] = arguments
        self.send(json.dumps(request).encode() + b"\n")
        return self.next_id

    def answer(self, id):
        while True:
            line = self.line()
            check(line is not None, "the connection has ended")
            if "event" in line:
                self.events.append(line)
            else:
                check(line.get("id") == id, "not the answer to %s: %s" % (id, line))
                return line

    def run(self, name, **arguments):
        """What the command returns; it must not fail."""
        arguments = {k.replace("_", "-"): v for k, v in arguments.items()}
        line = self.answer(self.begin(name, arguments or None))
        check("return" in line, "%s %s: %s" % (name, arguments, line))
        return line["return"]

    def fails(self, name, arguments=None, error="GenericError"):
        """What the command says, which must fail."""
        line = self.answer(self.begin(name, arguments))
        check("error" in line, "%s %s: not refused: %s" % (name, arguments, line))
        check(line["error"]["class"] == error, line)
        check("\n" not in line["error"]["desc"], line)
        return line["error"]["desc"]

    def raw(self, data):
        """The answer to a line as it is."""
        self.send(data)
        return self.line()

    def disk(self):
        disk, = self.run("query-disks")
        return disk


def eventually(condition, what, seconds=60):
    end = time.monotonic() + seconds * int(os.environ.get("FOLIO_TIME_FACTOR", 1))
    while not condition():
        if time.monotonic() > end:
            print("LATE: " + what, file=sys.stderr)
            sys.exit(75)
        time.sleep(0.02)


if __name__ == "__main__":
    exec(compile(sys.stdin.read(), "<test>", "exec"))
