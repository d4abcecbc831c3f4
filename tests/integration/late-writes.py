# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Rounds for late-writes.sh; goes on from disk.py. Arguments: the first round and
# how many, the seed, the server's log, the pid of the store's server. Status 3: the
# server is gone; the number of rounds that were done is on standard output.

import re
import signal

FIRST, ROUNDS, SEED = (int(a) for a in sys.argv[1:4])
LOG, STORE = sys.argv[4], int(sys.argv[5])
AREA = 3 * MiB
SECONDS = 120
MAX = 256 * KiB



def until(condition, what):
    """Wait for what comes by itself, in its own time."""
    import time
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            fail("%s: not in %d seconds" % (what, SECONDS))
        time.sleep(0.01)


def logged(pattern):
    with open(LOG, errors="replace") as f:
        return len(re.findall(pattern, f.read()))


def requests():
    """How many changes of the disk have come to the plugin."""
    return logged(r"debug: folio: (pwrite|zero|trim) count")


def stop_store():
    os.kill(STORE, signal.SIGSTOP)

    def stopped():
        tasks = "/proc/%d/task" % STORE
        return all(open("%s/%s/stat" % (tasks, t)).read().rsplit(")", 1)[1]
                   .split()[0] == "T" for t in os.listdir(tasks))
    until(stopped, "the store's server stops")


def send(h, rng, kind):
    """A change of a random place of the area, or of all of it."""
    kind = rng.choice(("write", "zero", "trim")) if kind == "mixed" else kind
    align = rng.choice((1, 512, 4096, 65536))
    at = rng.randrange(AREA // align) * align
    n = min(max(align, rng.randrange(1, MAX) // align * align), AREA - at)
    flags = FUA if rng.random() < 0.1 else 0
    if kind == "write":
        return h.aio_pwrite(bytearray(b"O" * n), at, flags=flags)
    if rng.random() < 0.5:
        at, n = 0, AREA
    call = h.aio_zero if kind == "zero" else h.aio_trim
    return call(n, at, flags=flags)


def old_client(rng, kind, connections, each):
    """A process that has sent its requests and waits for the answers."""
    pid = os.fork()
    if pid:
        return pid
    handles = [connect() for i in range(connections)]
    filler = [handles[0].aio_pwrite(bytearray(65536), 32 * MiB + i * 65536)
              for i in range(4)]
    cookies = [send(h, rng, kind) for i in range(each) for h in handles]
    del filler, cookies
    while True:
        for h in handles:
            h.poll(20)


def drive(h, cookies):
    cookies = list(cookies)

    def over():
        h.poll(0)
        cookies[:] = [c for c in cookies if not h.aio_command_completed(c)]
        return not cookies
    until(over, "the new client's writes")


def check(h, wrote, what):
    for at, data in wrote.items():
        got = bytes(h.pread(len(data), at))
        if got != data:
            fail("%s: at %d a write of the client that was gone, %r, is over "
                 "one of the next" % (what, at, got[:4]))


def new_client(rng):
    h = connect()
    places = rng.sample(range(AREA // 65536), 14)
    wrote = {p * 65536 + rng.choice((0, 512, 4096, 100)): b"N" * rng.choice(
        (512, 4096, 8192, 700)) for p in places}
    return h, wrote, [h.aio_pwrite(bytearray(data), at)
                      for at, data in wrote.items()]


def one_round(number):
    rng = random.Random(SEED * 1000003 + number)
    kind = ("write", "zero", "trim", "mixed")[number % 4]
    connections, each = ((1, 10), (4, 4))[number // 4 % 2]
    what = "round %d (%s, %d connections)" % (number, kind, connections)
    before, closed = requests(), logged("debug: folio: close")
    stop_store()
    pid = old_client(rng, kind, connections, each)
    try:
        until(lambda: requests() >= before + 4 + connections * each,
              what + ": the old client's requests")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    before = requests()
    h, wrote, cookies = new_client(rng)

    def sent():
        h.poll(0)
        return requests() >= before + len(wrote)
    until(sent, what + ": the new client's requests")
    os.kill(STORE, signal.SIGCONT)
    drive(h, cookies)
    h.flush()
    check(h, wrote, what + ", flushed")
    until(lambda: logged("debug: folio: close") >= closed + connections,
          what + ": the old connections' end")
    h.flush()
    check(h, wrote, what + ", later")
    store = connect(os.environ["remote_uri"])
    check(store, wrote, what + ", on the store")
    store.shutdown()
    h.shutdown()
    until(lambda: logged("debug: folio: close") >= closed + connections + 1,
          what + ": the new connection's end")


for done in range(ROUNDS):
    try:
        one_round(FIRST + done)
    except nbd.Error as e:
        print(done)
        print("round %d: %s" % (FIRST + done, e), file=sys.stderr)
        sys.exit(3)
    finally:
        os.kill(STORE, signal.SIGCONT)
print(ROUNDS)
