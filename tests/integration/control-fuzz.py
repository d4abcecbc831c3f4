# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests, well- and ill-formed, from 16 clients: each gets its answer or the
# connection ends, in time, and none has an effect but those that succeeded.
#
#   control-fuzz.py SEED REQUESTS

import random
import threading

from control import *

COMMANDS = ["query-commands", "query-status", "query-disks", "query-stats",
            "flush", "cancel", "drop-clean", "set", "pause-writeback",
            "resume-writeback", "prefetch", "quit", ""]
KEYS = ["disk", "dirty-ratio", "flush-target", "io-depth", "readahead", "values",
        "seconds", "offset", "length", "cache-size", "x"]


def value(r, depth=0):
    kind = r.randrange(9 if depth < 3 else 7)
    if kind == 0:
        return r.choice([None, True, False])
    if kind == 1:
        return r.choice([0, 1, -1, 2 ** 31, 2 ** 63 - 1, -2 ** 63, 1e308, 0.5])
    if kind == 2:
        return r.randrange(100)
    if kind == 3:
        return r.choice(["default", "", "1M", "10", "100ms", "none", "\u20ac\0\n"])
    if kind == 4:
        return "".join(chr(r.randrange(1, 0xd7ff)) for i in range(r.randrange(300)))
    if kind == 5:
        return str(r.randrange(1 << r.randrange(1, 64)))
    if kind == 6:
        return r.randrange(1 << r.randrange(1, 63))
    if kind == 7:
        return [value(r, depth + 1) for i in range(r.randrange(4))]
    return arguments(r, depth + 1)


def arguments(r, depth=0):
    return {r.choice(KEYS): value(r, depth) for i in range(r.randrange(4))}


def line(r):
    request = {"execute": r.choice(COMMANDS) if r.random() < .95 else value(r)}
    if r.random() < .6:
        request["arguments"] = arguments(r) if r.random() < .95 else value(r)
    if r.random() < .7:
        request["id"] = value(r)
    if r.random() < .05:
        request[r.choice(KEYS)] = value(r)
    text = bytearray(json.dumps(request).encode())
    if r.random() < .3:
        for i in range(r.randrange(1, 5)):
            at = r.randrange(len(text) + 1)
            what = r.randrange(3)
            if what == 0:
                text[at:at] = bytes([r.randrange(256)])
            elif what == 1:
                del text[at:at + r.randrange(9)]
            else:
                text[at:at] = text[:r.randrange(2000)]
    if r.random() < .003:
        text += bytes([r.randrange(256)]) * r.randrange(100000)
    return bytes(text).replace(b"\n", b" ")


def speak(r, count):
    """Send requests until the connection ends; returns how many."""
    try:
        c = Control(greet=False)
        c.line()
        for i in range(count):
            many = r.choice([1, 1, 1, 5])
            blank = 0
            for k in range(many):
                text = line(r)
                blank += not text.strip(b"\r")
                c.send(text + b"\n")
            if r.random() < .02:
                c.send(b"{" * r.randrange(100))
                return i + 1
            for k in range(many - blank):
                answer = c.line()
                while answer and "event" in answer:
                    answer = c.line()
                if answer is None:
                    return i + 1
                check(("return" in answer) != ("error" in answer), answer)
        return count
    except OSError:
        return 1


failed = []


def client(seed, count):
    try:
        r = random.Random(seed)
        while count > 0:
            count -= speak(r, count)
    except BaseException as error:
        failed.append(error)
        raise


seed, requests = map(int, sys.argv[1:])
print("seed %d: %d requests" % (seed, requests))
threads = [threading.Thread(target=client, args=(seed * 16 + i, requests // 16))
           for i in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
check(not failed, failed)
