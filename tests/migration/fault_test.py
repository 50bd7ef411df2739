#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Kills the source, the destination or the connection of a migration: at every message, before and after it is passed on, and at
moments in between. Then exactly one side runs the guest, or (where docs/formats/migration.md says so) it waits and the settling command
works, or the one who had it is the one who was killed; and the guest goes on where it was, with its memory and its disk as they were:
guests/disk.c checks both as it goes, and the image is looked at afterwards. Without a disk, with one that both sides share, with one
that is copied.

    fault_test.py [--count N] [--seed N]"""
import argparse
import collections
import os
import pathlib
import random
import sys
import tempfile
import threading
import time

from migration import GUESTS, FERRY, Console, Qmp, written
from proxy import Proxy

LIMIT = 60
MESSAGES = ("HELLO", "WELCOME", "DESCRIPTION", "ACCEPT", "PAGES", "ROUND", "ROUND_DONE", "STATE", "READY", "COMMIT", "TAKEN")
COPYING = ("COMPARE", "DIGESTS", "BLOCKS", "SYNC", "SYNCED")
VICTIMS = ("connection", "source", "destination")
DISKS = ("no", "a shared", "a copied")


class Fault:
    """One injection."""

    def __init__(self, victim, disk, message=None, after=False, delay=None):
        self.victim, self.disk, self.message, self.after, self.delay = victim, disk, message, after, delay

    def __str__(self):
        when = f"{'behind' if self.after else 'before'} {self.message}" if self.message else f"after {self.delay * 1000:.1f} ms"
        return f"{self.victim} lost {when}, with {self.disk} disk"


def faults(count, seed):
    """Every message first, then moments drawn at random."""
    every = [Fault(victim, disk, message, after) for disk in DISKS for message in MESSAGES + (COPYING if disk == "a copied" else ())
             for after in (False, True) for victim in VICTIMS]
    source = random.Random(seed)
    while len(every) < count:
        every.append(Fault(source.choice(VICTIMS), source.choice(DISKS), delay=source.uniform(0, 0.1)))
    return every[:count]


class Side:
    """One VM's process."""

    def __init__(self, place, name, image, *options):
        self.image = image
        options += ("--disk", image) if image is not None else ()
        self.console = Console([FERRY, "run", "--name", "moved", "--engine", "dbt", "--memory", "16M", "--kernel", GUESTS / "disk.elf",
                                "--control", place / name, *options], LIMIT)
        self.qmp = Qmp(place / name, LIMIT).negotiate()
        self.letters = ""

    def alive(self):
        return self.console.process.poll() is None

    def kill(self):
        self.console.process.kill()
        self.console.process.wait()

    def attempt(self, command, **arguments):
        """The answer, an error too; {} of a dead one."""
        try:
            return self.qmp.execute(command, **arguments)
        except (EOFError, OSError):
            return {}

    def ask(self, command, **arguments):
        answer = self.attempt(command, **arguments)
        assert "error" not in answer, answer
        return answer.get("return", {})

    def status(self):
        return self.ask("query-status").get("status", "dead")

    def migration(self):
        return self.ask("query-migrate").get("status", "none")

    def key(self, letter):
        """Types a key; the guest must answer with that letter."""
        self.console.send(".")
        self.letters += letter
        while self.console.partial() != self.letters:
            if not self.console.step() or any(mark in self.console.partial() for mark in "!?#"):
                raise AssertionError(f"the guest said {self.console.partial()!r} instead of {self.letters!r}: its memory or disk is wrong")

    def close(self):
        self.qmp.__exit__()
        self.console.__exit__()


class Injection:
    def __init__(self, place, fault):
        self.place, self.fault = place, fault
        images = {"no": (None, None), "a shared": (place / "disk",) * 2, "a copied": (place / "a.img", place / "b.img")}[fault.disk]
        for image in images:
            if image is not None:
                image.write_bytes(bytes(1 << 20))
        self.source = Side(place, "a", images[0])
        self.target = Side(place, "b", images[1], "--incoming", f"unix:{place}/m")
        self.proxy = self.stand_between(place)

    def stand_between(self, place):
        return Proxy(place / "p", place / "m", lambda name, _: name == self.fault.message, self.act, self.fault.after)

    def act(self, proxy):
        if self.fault.victim == "source":
            self.source.kill()
        elif self.fault.victim == "destination":
            self.target.kill()
        proxy.cut()

    def begin(self):
        self.source.ask("migrate", uri=f"unix:{self.place}/p", blk=self.fault.disk == "a copied")

    def running(self):
        return [side for side in (self.source, self.target) if side.alive() and side.status() == "running"]

    STILL = ("none", "completed", "failed", "cancelled", "x-ferry-unsettled")

    def settled(self):
        """Nothing moves any more."""
        def still(side):
            return side.migration() in self.STILL
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            if all(not side.alive() or still(side) for side in (self.source, self.target)):
                return
            time.sleep(0.01)
        raise AssertionError(f"it does not end: {self.source.ask('query-migrate')} {self.target.ask('query-migrate')}")

    def settle(self):
        """As a person would who looks at both sides: a guest that nobody runs and that waits somewhere is told to run there, the
        source's first; what waits besides is discarded. With an arbiter the command finds out by itself. Returns what became of the guest,
        if that is all there is to see."""
        for side in (self.source, self.target):
            if side.alive() and side.migration() == "x-ferry-unsettled":
                side.ask("x-ferry-migrate-settle", outcome="discard" if self.running() else "run")
                deadline = time.monotonic() + LIMIT
                while side.alive() and side.migration() == "x-ferry-unsettled" and time.monotonic() < deadline:
                    time.sleep(0.01)

    def check_loss(self):
        """Nobody runs the guest: only if the one who was killed had it."""
        if self.fault.victim == "connection":
            raise AssertionError("nobody runs the guest")
        if self.fault.victim == "source" and "COMMIT" in self.proxy.passed:
            raise AssertionError("the destination had COMMIT and does not run the guest")
        if self.fault.victim == "destination" and "TAKEN" not in self.proxy.seen and \
                not any(os.readlink(link) == "destination" for link in self.place.glob("disk.ferry-*")):
            raise AssertionError("the destination had not taken the guest, and the source does not run it")

    def check_image(self, side):
        """It is what one guest wrote. Of a copy that nobody has run nothing is known."""
        if side.image is not None and written(side.image) == 0 and side.alive():
            raise AssertionError("the guest has written nothing to its disk")

    def judge(self):
        if len(self.running()) > 1:
            raise AssertionError("both sides run the guest")
        outcome = self.settle()
        if outcome is not None:
            return outcome
        running = self.running()
        if len(running) > 1:
            raise AssertionError("both sides run the guest after it was settled")
        if not running:
            self.check_loss()
            self.check_image(self.source if self.fault.victim == "source" else self.target)
            return "lost with its host"
        return self.check_guest(running)

    def check_guest(self, running):
        """It goes on where it was, and whoever failed says why."""
        running[0].key("b")
        running[0].key("c")
        running[0].ask("stop")
        self.check_image(running[0])
        if self.source.alive() and self.source.migration() == "failed":
            sentence = self.source.ask("query-migrate").get("error-desc", "")
            if not sentence.startswith("in stage ") or "\n" in sentence:
                raise AssertionError(f"no clear error: {sentence!r}")
        return "source" if running[0] is self.source else "destination"

    def may_miss(self):
        """Whether the migration may be over before the message has come."""
        return False

    def await_message(self, proxy):
        deadline = time.monotonic() + LIMIT
        while not proxy.done.wait(0.02) and not (self.may_miss() and self.source.migration() == "completed"):
            if time.monotonic() > deadline:
                raise AssertionError(f"the message did not come: {collections.Counter(proxy.seen)}")

    def run(self):
        self.source.key("a")
        self.begin()
        if self.fault.message is None:
            threading.Timer(self.fault.delay, self.act, (self.proxy,)).run()
        else:
            self.await_message(self.proxy)
        for side, name in ((self.source, "source"), (self.target, "destination")):
            if self.fault.victim == name and self.proxy.stopped:
                side.console.process.wait()
        self.settled()
        return self.judge()

    def close(self):
        self.proxy.close()
        self.source.close()
        self.target.close()


def main(description, draw, inject):
    """draw: all faults, by their number and a seed; inject: one of them, in a directory."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begin, outcomes = time.monotonic(), collections.Counter()
    for number, fault in enumerate(draw(options.count, options.seed)):
        with tempfile.TemporaryDirectory(prefix="ferry-fault-") as directory:
            injection = inject(pathlib.Path(directory), fault)
            try:
                outcomes[injection.run()] += 1
            except AssertionError as failure:
                print(f"FAILED: injection {number}, {fault}: {failure}")
                for side in (injection.source, injection.target):
                    print(f"    {side.status()}, {side.ask('query-migrate')}, {side.console.errors.decode()}")
                return 1
            finally:
                injection.close()
    print(f"{options.count} losses in {time.monotonic() - begin:.0f} s; the guest was then: {dict(outcomes)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(__doc__, faults, Injection))
