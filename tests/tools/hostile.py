# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# An NBD server that misbehaves, for tests: hostile.py --socket PATH --file FILE
# [--mode MODE] ... It speaks as much of the protocol as libnbd asks of it, on a
# unix socket, and serves FILE well except for what MODE says, which happens
# from the --after'th request on, --times times. Each misdeed is printed, on a
# line of its own. See MODES.

import argparse
import os
import signal
import socket
import struct
import sys
import threading

MODES = {
    "none": "nothing wrong",
    "close": "close instead of a reply",
    "close-header": "close in the middle of a reply's header",
    "close-payload": "close in the middle of a reply's data",
    "handle": "reply to a request nobody made",
    "twice": "reply to each request twice",
    "magic": "reply with the wrong magic number",
    "chunk-type": "reply with a chunk of a type that does not exist",
    "chunk-long": "a chunk of more data than was asked for",
    "chunk-outside": "a chunk of data from somewhere else",
    "chunk-short": "a chunk too short for what it must hold",
    "chunk-missing": "end a reply before all its data has come",
    "chunk-twice": "one half of the data, and again instead of the other",
    "chunk-order": "the last half of the data before the first, which is right",
    "status-none": "a block status without any extents",
    "status-zero": "extents of no length",
    "status-huge": "extents far past what was asked, and past the end",
    "error-unknown": "an error number that does not exist",
    "error-shutdown": "ESHUTDOWN",
    "silent": "read requests, never answer them",
    "deaf": "stop reading and writing, keep the connection",
    "stall": "keep writes back; close the other connections at the next one; "
             "do the writes some time after the client has come back; close "
             "this connection as soon as the client does",
    "refuse-more": "hang up on the second connection of a client",
    "shrink": "close; the export is smaller from then on",
    "grow": "close; the export is larger from then on",
    "readonly": "close; the export is read-only from then on",
    "no-flush": "close; the export cannot flush from then on",
    "one-client": "close; the export has no multi-conn from then on",
    "gone": "close; the export does not exist from then on",
    "mute": "close; accept connections without a word from then on",
    "garbage": "close; greet clients with rubbish from then on",
}

OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST = 1, 2, 3
OPT_INFO, OPT_GO, OPT_STRUCTURED_REPLY = 6, 7, 8
OPT_LIST_META, OPT_SET_META = 9, 10
REP_ACK, REP_INFO, REP_META = 1, 3, 4
REP_ERR_UNSUP, REP_ERR_UNKNOWN = 0x80000001, 0x80000006
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZERO, STATUS = range(8)
NAMES = "read write disconnect flush trim cache zero status".split()
HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_FUA = 1, 2, 4, 8
SEND_TRIM, SEND_ZEROES, MULTI_CONN = 32, 64, 256
NONE, OFFSET_DATA, BLOCK_STATUS, ERROR = 0, 1, 5, 0x8001
DONE = 1
EINVAL, ESHUTDOWN = 22, 108


class Gone(Exception):
    """The connection has ended, or is to."""


class Server:
    def __init__(self, args):
        self.args = args
        self.fd = os.open(args.file, os.O_RDWR)
        self.size = os.fstat(self.fd).st_size
        self.flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_ZEROES
        if args.multi_conn:
            self.flags |= MULTI_CONN
        self.lock = threading.Condition()
        self.requests = 0
        self.misdeeds = 0
        self.spoiled = False        # the export has changed for good
        self.connections = []
        self.generation = 0         # grows when a write is kept back
        self.newer = 0              # connections made after that
        self.newer_writes = 0       # that came on them
        self.newer_flushes = 0

    def say(self, what):
        print(what, flush=True)

    def now(self, conn, command):
        """Is this request to be done wrong?"""
        mode = self.args.mode
        with self.lock:
            self.requests += 1
            if (mode == "none" or self.requests < self.args.after or
                    self.misdeeds == self.args.times or not self.fits(command)):
                return False
            self.misdeeds += 1
            self.say("%s: request %d, %s" % (mode, self.requests,
                                             NAMES[command]))
            return True

    def fits(self, command):
        mode = self.args.mode
        if mode.startswith("status-"):
            return command == STATUS
        if mode.startswith("chunk-") or mode == "close-payload":
            return command == READ
        if mode == "stall":
            return command == WRITE
        return self.args.only is None or NAMES[command] == self.args.only

    def spoil(self):
        """From now on the export is another one."""
        mode = self.args.mode
        self.spoiled = True
        if mode == "shrink":
            self.size //= 2
        elif mode == "grow":
            self.size *= 2
        elif mode == "readonly":
            self.flags |= READ_ONLY
        elif mode == "no-flush":
            self.flags &= ~SEND_FLUSH
        elif mode == "one-client":
            self.flags &= ~MULTI_CONN

    def heal(self):
        """As it was in the beginning (SIGUSR1)."""
        with self.lock:
            self.size = os.fstat(self.fd).st_size
            self.flags = ((self.flags | SEND_FLUSH) & ~READ_ONLY)
            self.spoiled = False
            self.args.mode = "none"
            self.say("healed")

    def close_all(self, but=None):
        with self.lock:
            for conn in self.connections:
                if conn is not but:
                    conn.end()

    def close_older(self, newer):
        """Those that are older than the last misdeed that this one is newer
        than. The lock is held."""
        for conn in self.connections:
            if conn.misdeeds < newer.misdeeds:
                conn.end()

    def serve(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.args.socket)
        listener.listen(64)
        self.say("listening")
        while True:
            sock, _ = listener.accept()
            with self.lock:
                conn = Connection(self, sock)
                if self.args.hang_up:
                    self.close_older(conn)
                self.connections.append(conn)
            threading.Thread(target=conn.run, daemon=True).start()


class Connection:
    def __init__(self, server, sock):
        self.server = server
        self.sock = sock
        self.generation = server.generation
        self.misdeeds = server.misdeeds     # before it was made
        self.structured = self.meta = False
        self.kept = None            # writes kept back
        self.ended = False          # nothing that came is done any more
        server.newer += 1
        server.lock.notify_all()

    # --- bytes

    def recv(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise Gone
            data += more
        return data

    def end(self):
        self.ended = True
        self.hang_up()

    def hang_up(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def run(self):
        server = self.server
        try:
            if self.welcome():
                while True:
                    self.request()
        except (Gone, OSError):
            pass
        with server.lock:
            server.connections.remove(self)
        self.hang_up()
        self.sock.close()

    def sleep_for_ever(self):
        threading.Event().wait()

    # --- negotiation

    def welcome(self):
        server, mode = self.server, self.server.args.mode
        if mode == "refuse-more" and len(server.connections) > 1:
            server.say("refused a connection")
            return False
        if server.spoiled and mode == "mute":
            self.sleep_for_ever()
        if server.spoiled and mode == "garbage":
            self.sock.sendall(b"220 smtp.example.com ESMTP" + bytes(999))
            return False
        self.sock.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        self.recv(4)
        while not self.option():
            pass
        return True

    def option(self):
        magic, option, length = struct.unpack(">8sII", self.recv(16))
        data = self.recv(length)
        size, flags = self.server.size, self.server.flags

        def reply(kind, payload=b""):
            self.sock.sendall(struct.pack(">QIII", 0x3e889045565a9, option,
                                          kind, len(payload)) + payload)

        if option == OPT_ABORT:
            reply(REP_ACK)
            raise Gone
        if option == OPT_STRUCTURED_REPLY and not self.server.args.simple:
            self.structured = True
            reply(REP_ACK)
        elif option == OPT_SET_META and self.structured:
            self.meta = True
            reply(REP_META, struct.pack(">I", 7) + b"base:allocation")
            reply(REP_ACK)
        elif option in (OPT_GO, OPT_INFO):
            if self.server.spoiled and self.server.args.mode == "gone":
                reply(REP_ERR_UNKNOWN)
                return False
            reply(REP_INFO, struct.pack(">HQH", 0, size, flags))
            reply(REP_INFO, struct.pack(">HIII", 3, 1, 4096, 32 << 20))
            reply(REP_ACK)
            return option == OPT_GO
        else:
            reply(REP_ERR_UNSUP)
        return False

    # --- requests

    def request(self):
        magic, flags, command, handle, offset, length = struct.unpack(
            ">IHHQQI", self.recv(28))
        if command == DISC:
            raise Gone
        data = self.recv(length) if command == WRITE else b""
        wrong = self.server.now(self, command)
        if wrong or self.kept is not None:
            self.misbehave(command, handle, offset, length, data)
        else:
            self.behave(command, handle, offset, length, data)

    def answer_part(self, handle, offset, length, flags=DONE):
        data = os.pread(self.server.fd, length, offset)
        self.answer(handle, OFFSET_DATA, struct.pack(">Q", offset) + data, flags)

    def behave(self, command, handle, offset, length, data):
        server = self.server
        if command != FLUSH and offset + length > server.size:
            self.fail(handle, EINVAL)
        elif command == READ:
            self.answer_part(handle, offset, length)
        elif command == STATUS:
            self.answer(handle, BLOCK_STATUS, struct.pack(">III", 7, length, 0))
        else:
            self.change(command, offset, length, data)
            self.answer(handle, NONE)

    def change(self, command, offset, length, data):
        server = self.server
        if command in (TRIM, ZERO):
            data = bytes(length)
        if command in (WRITE, TRIM, ZERO):
            with server.lock:
                if self.ended:
                    raise Gone
                os.pwrite(server.fd, data, offset)
                if self.generation == server.generation:
                    server.newer_writes += 1
        elif command == FLUSH and self.generation == server.generation:
            with server.lock:
                server.newer_flushes += 1
                server.lock.notify_all()

    def answer(self, handle, kind, payload=b"", flags=DONE):
        if self.structured:
            head = struct.pack(">IHHQI", 0x668e33ef, flags, kind, handle,
                               len(payload))
        else:
            head = struct.pack(">IIQ", 0x67446698, 0, handle)
            payload = payload[8:]
        self.sock.sendall(head + payload)

    def fail(self, handle, error):
        if self.structured:
            self.answer(handle, ERROR, struct.pack(">IH", error, 0))
        else:
            self.sock.sendall(struct.pack(">IIQ", 0x67446698, error, handle))

    def misbehave(self, command, handle, offset, length, data):
        server, mode = self.server, self.server.args.mode
        here = struct.pack(">Q", offset)
        if mode in ("close-header", "close-payload"):
            n = 7 if mode == "close-header" else 28 + length // 2
            reply = struct.pack(">IHHQI", 0x668e33ef, DONE, OFFSET_DATA, handle,
                                8 + length) + here + bytes(length)
            self.sock.sendall(reply[:n])
            raise Gone
        if mode == "handle":
            self.answer(handle ^ 0x5555, NONE)
        elif mode == "twice":
            self.behave(command, handle, offset, length, data)
            if command in (READ, STATUS):
                self.behave(command, handle, offset, length, data)
            else:   # not done twice: something newer may be there by now
                self.answer(handle, NONE)
        elif mode == "magic":
            self.sock.sendall(struct.pack(">IHHQI", 0xdeadbeef, 0, 0, handle, 0))
        elif mode == "chunk-type":
            self.answer(handle, 77, bytes(16))
        elif mode == "chunk-long":
            self.answer(handle, OFFSET_DATA, here + b"X" * (length + 4096))
        elif mode == "chunk-outside":
            self.answer(handle, OFFSET_DATA, struct.pack(">Q", offset + length) +
                        b"X" * length)
        elif mode == "chunk-short":
            self.answer(handle, OFFSET_DATA, b"X" * 5)
        elif mode == "chunk-missing":
            self.answer(handle, OFFSET_DATA, here + b"X" * (length // 2))
        elif mode == "chunk-twice":
            half = length // 2
            start = offset + half * (server.misdeeds % 2)
            self.answer_part(handle, start, half, 0)
            self.answer_part(handle, start, half)
        elif mode == "chunk-order":
            half = length // 2
            self.answer_part(handle, offset + half, half, 0)
            self.answer_part(handle, offset, half)
        elif mode == "status-none":
            self.answer(handle, BLOCK_STATUS, struct.pack(">I", 7))
        elif mode == "status-zero":
            self.answer(handle, BLOCK_STATUS, struct.pack(">IIIII", 7, 0, 3, 0,
                                                          3))
        elif mode == "status-huge":
            self.answer(handle, BLOCK_STATUS,
                        struct.pack(">I", 7) +
                        struct.pack(">II", 0xfffff000, 0) * 64)
        elif mode == "error-unknown":
            self.fail(handle, 4711)
        elif mode == "error-shutdown":
            self.fail(handle, ESHUTDOWN)
        elif mode == "silent":
            pass
        elif mode == "deaf":
            self.sleep_for_ever()
        elif mode == "stall":
            self.keep(command, handle, offset, length, data)
        else:
            self.break_off()

    def break_off(self):
        """All connections end, as if the server had."""
        if self.server.args.mode != "close":
            self.server.spoil()
        self.server.close_all(but=self)
        raise Gone

    # --- the stale write

    def keep(self, command, handle, offset, length, data):
        """Hold a write back, and everything after it on this connection;
        break the others."""
        if self.kept is None:
            self.kept = []
            with self.server.lock:
                self.server.generation += 1
                self.server.newer = 0
                self.server.newer_writes = 0
                self.server.newer_flushes = 0
            self.server.close_all(but=self)
            threading.Thread(target=self.let_go, daemon=True).start()
        self.kept.append((command, handle, offset, length, data))

    def let_go(self):
        """The client has come back, so it sends nothing more here. If it
        writes and flushes on a new connection before it has been answered on
        this one, that comes first."""
        server = self.server
        with server.lock:
            server.lock.wait_for(lambda: server.newer > 0)
            server.lock.wait_for(lambda: server.newer_writes > 0 and
                                 server.newer_flushes > 0,
                                 server.args.patience)
            early = server.newer_writes
        server.say("let go of %d writes, %d newer ones before them"
                   % (len(self.kept), early))
        for kept in self.kept:
            try:
                self.behave(*kept)
            except OSError:
                pass                # the answer has nobody to go to


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--file", required=True)
    parser.add_argument("--mode", choices=MODES, default="none")
    parser.add_argument("--after", type=int, default=1)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--multi-conn", action="store_true")
    parser.add_argument("--hang-up", action="store_true",
                        help="after a misdeed, once the client has come back, "
                             "close its older connections")
    parser.add_argument("--simple", action="store_true",
                        help="no structured replies")
    parser.add_argument("--patience", type=float, default=1.0)
    server = Server(parser.parse_args())
    signal.signal(signal.SIGUSR1, lambda *_: threading.Thread(
        target=server.heal).start())
    server.serve()


if __name__ == "__main__":
    sys.exit(main())
