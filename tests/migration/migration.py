# SPDX-License-Identifier: GPL-2.0-or-later
"""What the migration tests share: pairs of VMs, one of which waits for the other's guest."""
import pathlib
import re
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))
from system import ENGINES, FERRY, GUESTS, Console, Qmp, SystemTest, ferry, main  # noqa: E402,F401 pylint: disable=wrong-import-position
from ports import free_port  # noqa: E402,F401 pylint: disable=wrong-import-position

LIMIT = 60
OVER = ("completed", "failed", "cancelled", "x-ferry-unsettled")


def without_userfaultfd():
    """Why there is no post-copy here; None: there is."""
    with open("/proc/self/status", encoding="ascii") as status, open("/proc/sys/vm/unprivileged_userfaultfd", encoding="ascii") as allowed:
        may = "\nUid:\t0\t" in status.read() or allowed.read().strip() == "1" or os.access("/dev/userfaultfd", os.R_OK | os.W_OK)
    return None if may else "no userfaultfd for ordinary users here"


def complaints(console):
    """What a VM wrote to standard error but what a host's KVM can't do, and what a busy one takes its time for."""
    return [line for line in console.errors.decode().splitlines() if not re.search("KVM does not take|the VM stood for|took .* ms to stop", line)]


def wait_over(qmp, until=OVER):
    """The answer of query-migrate when the migration is over."""
    deadline = time.monotonic() + LIMIT
    while True:
        answer = qmp.call("query-migrate")
        if answer.get("status") in until:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"the migration does not end: {answer}")
        time.sleep(0.02)


def wait_status(qmp, status):
    """Until query-status says so."""
    deadline = time.monotonic() + LIMIT
    while qmp.call("query-status")["status"] != status:
        if time.monotonic() > deadline:
            raise AssertionError(f"the VM is {qmp.call('query-status')} and not {status}")
        time.sleep(0.02)


PLACES, PAGE = 256, 4096  # of guests/disk.c


def written(path):
    """How many writes of guests/disk.c a raw image holds; AssertionError if they are not what one such guest has left there."""
    data = path.read_bytes()
    places = min(PLACES, len(data) // PAGE)
    apart = len(data) // PAGE // places * PAGE
    numbers = []
    for place in range(places):
        words = struct.unpack_from("<1024I", data, place * apart)
        if not any(words):
            numbers.append(None)
            continue
        n = words[1]
        if words[:3] != (0x4b534944, n, place) or any(word != (n * 2654435761 + i) % (1 << 32) for i, word in enumerate(words[3:], 3)):
            raise AssertionError(f"{path}: place {place} is damaged: {words[:4]}")
        numbers.append(n)
    count = max((n for n in numbers if n is not None), default=-1) + 1
    for place, n in enumerate(numbers):
        last = (count - 1 - place) // places * places + place if count > place else None
        if n != last:
            raise AssertionError(f"{path}: of {count} writes the last one to place {place} is {n} and not {last}")
    return count


class MigrationTest(SystemTest):
    """A guest that answers each key with the next letter, so that a lost or doubled turn shows."""

    def start(self, name, *options, engine=ENGINES[0], guest="count", memory="16M", prefix=()):
        """A VM with a control socket of that name."""
        console = Console([*prefix, FERRY, "run", "--name", "moved", "--engine", engine, "--memory", memory, "--kernel", GUESTS / f"{guest}.elf",
                           "--control", self.place / name, *options], LIMIT)
        self.addCleanup(console.__exit__)
        return console

    def control(self, name):
        qmp = Qmp(self.place / name, LIMIT)
        self.addCleanup(qmp.__exit__)
        return qmp.negotiate()

    def pair(self, uri, *options, engines=(ENGINES[0], ENGINES[0]), source_options=(), target_options=(), target_prefix=(), guest="count"):
        """Source, destination, and their control sockets."""
        source = self.start("source", *options, *source_options, engine=engines[0], guest=guest)
        out = self.control("source")  # its disks are its own before the other one claims them
        target = self.start("target", "--incoming", uri, *options, *target_options, engine=engines[1], guest=guest,
                            prefix=target_prefix)
        return source, target, out, self.control("target")

    def slow(self):
        """A migration that will not end by itself soon."""
        uri = f"unix:{self.place}/m"
        source, target, out, _ = self.pair(uri, guest="dirty")
        self.type(source, "a")
        out.call("migrate-set-parameters", **{"max-bandwidth": 1 << 20, "downtime-limit": 0})
        out.call("migrate", uri=uri)
        while out.call("query-migrate")["ram"]["normal"] == 0:
            pass
        return source, target, out

    def type(self, console, letters):
        """Types a key for each letter and waits for it."""
        before = console.partial()
        for count in range(1, len(letters) + 1):
            console.send(".")
            while console.partial() != before + letters[:count]:
                self.assertTrue(console.step(), (before, letters, console.partial(), console.errors))
