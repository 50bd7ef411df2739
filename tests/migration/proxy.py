# SPDX-License-Identifier: GPL-2.0-or-later
"""Stands between a source and a destination and lets their messages through, one by one, up to a chosen one."""
import socket
import struct
import threading
import time

HEADER = struct.Struct("<4sHHII")
TYPES = {1: "HELLO", 2: "DESCRIPTION", 3: "PAGES", 4: "ROUND", 5: "STATE", 6: "COMMIT", 7: "CANCEL", 8: "PROBE", 65: "WELCOME",
         66: "ACCEPT", 67: "REFUSE", 68: "ROUND_DONE", 69: "READY", 70: "TAKEN",
         9: "POSTCOPY", 10: "DONE", 71: "WANT", 72: "ALL", 73: "MISSING", 11: "COMPARE", 12: "BLOCKS",
         13: "SYNC", 74: "DIGESTS", 75: "SYNCED"}


def without_page(header, body, lost):
    """PAGES in post-copy, unpacked, without one page."""
    magic, kind, flags, count, _ = HEADER.unpack(header)
    runs, contents, at = [], b"", count * 16
    for address, pages, zero in struct.iter_unpack("<QII", body[:count * 16]):
        for page in range(address, address + pages * 4096, 4096):
            if page != lost:
                runs.append(struct.pack("<QII", page, 1, zero))
                contents += b"" if zero else body[at:at + 4096]
            at += 0 if zero else 4096
    if lost is None or len(runs) in (0, sum(pages for _, pages, _ in struct.iter_unpack("<QII", body[:count * 16]))):
        return header, body
    body = b"".join(runs) + contents
    return HEADER.pack(magic, kind, flags, len(runs), len(body)), body


def _socket(address):
    return socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)


class Proxy:
    """Listens at `path` (a Unix socket; as the target's it may be a host and port instead) for one source and forwards to the destination's. When a message of the type `until` comes
    (or until(name, index) is true, index counting all messages from 0), it calls act(proxy) instead of forwarding it, or after that,
    and forwards nothing more. channels: how many connections there will be; on the later ones only `let` PAGES pass until then, or until a
    message of the type `release` has passed; each of them takes `pace` seconds; the page at the address `lost` is taken out of them. change(name, body): what to forward in place of a
    message's body."""

    def __init__(self, path, target, until, act, after=False, channels=1, let=2, release=None, pace=0, lost=None,
                 change=None):
        self.until = until if callable(until) else lambda name, _: name == until
        self.act, self.after, self.seen, self.passed = act, after, [], []
        self.lock, self.stopped, self.done = threading.Lock(), False, threading.Event()
        self.server = _socket(path)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server.bind(path if isinstance(path, tuple) else str(path))
        self.server.listen(channels)
        self.let, self.release, self.pace, self.lost, self.body, self.change = let, release, pace, lost, b"", change
        self.released = threading.Event()
        self.target = target if isinstance(target, tuple) else str(target)
        self.sides = []
        threading.Thread(target=self._serve_all, args=(channels,), daemon=True).start()

    def _serve_all(self, channels):
        for number in range(channels):
            try:
                source, _ = self.server.accept()
            except OSError:
                return
            self._serve(source, number)

    def _serve(self, source, number):
        destination = _socket(self.target)
        try:
            destination.connect(self.target)
        except OSError:
            source.close()
            return
        self.sides += [source, destination]
        if self.stopped:
            self.cut()
        threads = [threading.Thread(target=self._forward, args=(*pair, number), daemon=True)
                   for pair in ((source, destination), (destination, source))]
        for thread in threads:
            thread.start()

    @staticmethod
    def _read(sock, size):
        data = bytearray()
        while len(data) < size:
            piece = sock.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def _forward(self, into, out, number):
        pages = 0
        try:
            while True:
                header = self._read(into, HEADER.size)
                _, kind, _, _, size = HEADER.unpack(header)
                body = self._read(into, size)
                pages += kind == 3
                if number > 0 and kind == 3:
                    time.sleep(self.pace)
                    header, body = without_page(header, body, self.lost)
                if number > 0 and kind == 3 and pages > self.let:
                    self.released.wait(60)
                with self.lock:
                    name = TYPES.get(kind, str(kind))
                    self.seen.append(name)
                    self.body = body
                    if self.stopped:
                        continue
                    if self.until(name, len(self.seen) - 1):
                        self.stopped = True
                        if self.after:
                            self.passed.append(name)
                            out.sendall(header + body)
                        self.act(self)
                        self.done.set()
                        self.released.set()
                        continue
                    self.passed.append(name)
                    if self.change is not None:
                        body = self.change(name, body)
                        header = HEADER.pack(*HEADER.unpack(header)[:4], len(body))
                out.sendall(header + body)
                if name == self.release:
                    self.released.set()
        except (EOFError, OSError):
            self._shut(out, socket.SHUT_WR)
            self._shut(into, socket.SHUT_RD)

    def cut(self):
        """Ends all connections."""
        self.stopped = True
        for side in self.sides:
            self._shut(side, socket.SHUT_RDWR)

    @staticmethod
    def _shut(side, how):
        try:
            side.shutdown(how)
        except OSError:
            pass

    def close(self):
        self.cut()
        for side in self.sides:
            side.close()
        self.server.close()
