# SPDX-License-Identifier: GPL-2.0-or-later
"""Stands between a source and a destination and lets their messages through, one by one, up to a chosen one."""
import socket
import struct
import threading

HEADER = struct.Struct("<4sHHII")
TYPES = {1: "HELLO", 2: "DESCRIPTION", 3: "PAGES", 4: "ROUND", 5: "STATE", 6: "COMMIT", 7: "CANCEL", 8: "PROBE", 65: "WELCOME",
         66: "ACCEPT", 67: "REFUSE", 68: "ROUND_DONE", 69: "READY", 70: "TAKEN",
         9: "POSTCOPY", 10: "DONE", 71: "WANT", 72: "ALL", 73: "MISSING", 11: "COMPARE", 12: "BLOCKS",
         13: "SYNC", 74: "DIGESTS", 75: "SYNCED"}


def _socket(address):
    return socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)


class Proxy:
    """Listens at `path` (a Unix socket; as the target's it may be a host and port instead) for one source and forwards to the destination's. When a message of the type `until` comes
    (or until(name, index) is true, index counting all messages from 0), it calls act(proxy) instead of forwarding it, or after that,
    and forwards nothing more. channels: how many connections there will be; on the later ones only `let` PAGES pass until then."""

    def __init__(self, path, target, until, act, after=False, channels=1, let=2):
        self.until = until if callable(until) else lambda name, _: name == until
        self.act, self.after, self.seen, self.passed = act, after, [], []
        self.lock, self.stopped, self.done = threading.Lock(), False, threading.Event()
        self.server = _socket(path)
        self.server.bind(path if isinstance(path, tuple) else str(path))
        self.server.listen(channels)
        self.let = let
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
                if number > 0 and kind == 3 and pages > self.let:
                    self.done.wait(60)
                with self.lock:
                    name = TYPES.get(kind, str(kind))
                    self.seen.append(name)
                    if self.stopped:
                        continue
                    if self.until(name, len(self.seen) - 1):
                        self.stopped = True
                        if self.after:
                            self.passed.append(name)
                            out.sendall(header + body)
                        self.act(self)
                        self.done.set()
                        continue
                    self.passed.append(name)
                out.sendall(header + body)
        except (EOFError, OSError):
            if not self.stopped:
                self.cut()

    def cut(self):
        """Ends both connections."""
        self.stopped = True
        for side in self.sides:
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.cut()
        for side in self.sides:
            side.close()
        self.server.close()
