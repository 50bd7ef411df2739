#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What fault_test.py does, in post-copy: kills source, destination or connection, or pauses it, at every message up to the decision, at
every one behind it, at every one of a connection by which it recovers, and at moments while pages are fetched. Then one side runs the
guest, and its memory and disk are right: before the decision as in any migration, behind it when the connection is there again, at the
same address or another. Or a process was killed that had a part of its memory, and the other one says so and does not run it.

    postcopy_fault_test.py [--count N] [--seed N]"""
import itertools
import random
import sys
import threading
import time

from fault_test import DISKS, LIMIT, Fault, Injection, main
from migration import Qmp, without_userfaultfd
from proxy import Proxy

UP_TO = ("HELLO", "WELCOME", "DESCRIPTION", "ACCEPT", "PAGES", "ROUND", "ROUND_DONE", "POSTCOPY", "STATE", "READY", "COMMIT", "TAKEN")
BEHIND = ("PAGES", "WANT", "DONE", "ALL")
AGAIN = ("HELLO", "MISSING", "PAGES", "WANT", "DONE", "ALL")
VICTIMS = ("connection", "source", "destination")


class LateFault(Fault):
    """behind: the message comes behind TAKEN; count: so often; again: a second one, of the connection by which it recovers."""

    def __init__(self, victim, disk, message=None, after=False, delay=None, behind=False, count=1, again=None):
        super().__init__(victim, disk, message, after, delay)
        self.behind, self.count, self.again = behind, count, again

    def __str__(self):
        return f"{super().__str__()}{f' no. {self.count}' if self.count > 1 else ''}{' behind TAKEN' if self.behind else ''}" + \
            (f", then {self.again}" if self.again else "")


def lost_again(victim, disk, message, after, count=1):
    """Early behind the decision, and once more when it recovers."""
    return LateFault("connection", disk, "PAGES", behind=True, count=2, again=LateFault(victim, disk, message, after, count=count))


def late_faults(count, seed):
    """Every message first, then others and moments drawn at random."""
    disks = itertools.cycle(("no", "a shared"))
    every = [LateFault(victim, next(disks), message, after) for after in (False, True) for message in UP_TO for victim in VICTIMS]
    every += [LateFault(victim, disk, message, after, behind=True) for message in BEHIND for after in (False, True)
              for victim in (*VICTIMS, "pause") for disk in ("no", "a shared")]
    every += [lost_again(victim, next(disks), message, after) for after in (False, True) for message in AGAIN
              for victim in (*VICTIMS, "pause")]
    source = random.Random(seed)
    while len(every) < count:
        victim, disk = source.choice((*VICTIMS, "pause")), source.choice(DISKS)
        every.append(source.choice((
            LateFault(victim, disk, delay=source.uniform(0, 0.1)),
            LateFault(victim, disk, "PAGES", source.random() < 0.5, behind=True, count=source.randint(1, 12)),
            LateFault(source.choice(VICTIMS), disk, "HELLO", source.random() < 0.5, count=2),
            lost_again(victim, disk, "PAGES", source.random() < 0.5, count=source.randint(1, 10)))))
    return every[:count]


class LateInjection(Injection):
    STILL = (*Injection.STILL, "postcopy-paused")

    def stand_between(self, place):
        self.left, self.again = self.fault.count, None
        release = None if self.fault.message == "WANT" else "TAKEN"  # without pages somebody asks for one
        return Proxy(place / "p", place / "m", self.hit, self.act, self.fault.after, channels=2, let=1, release=release, pace=0.002)

    def hit(self, name, _):
        if name != self.fault.message or (self.fault.behind and "TAKEN" not in self.proxy.passed):
            return False
        self.left -= 1
        return self.left == 0

    def act(self, proxy):
        if self.fault.victim == "pause":
            with Qmp(self.place / "a", LIMIT) as qmp:
                qmp.negotiate().execute("migrate-pause")  # refused when it has come to its end
        super().act(proxy)

    def begin(self):
        self.source.ask("migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": True}])
        self.source.ask("migrate-set-parameters", **{"max-bandwidth": 4 << 20, "downtime-limit": 0})
        super().begin()
        while not self.proxy.done.is_set():
            answer = self.source.ask("query-migrate")
            if answer.get("ram", {}).get("normal", 0) > 0 or answer.get("status") in ("failed", "completed", None):
                break
            time.sleep(0.002)
        self.source.attempt("migrate-start-postcopy")  # refused when it has failed meanwhile

    def may_miss(self):
        return self.fault.count > 1 or (self.again is not None and self.fault.message == "WANT")

    def settle(self):
        super().settle()
        self.settled()
        if self.source.migration() == "postcopy-paused" and self.target.alive() and self.fault.again is not None:
            self.lose_again()
            self.settled()
        return self.recover()

    def lose_again(self):
        """The second loss."""
        self.fault = self.fault.again
        self.left = self.fault.count
        self.again = Proxy(self.place / "q", self.place / "m", self.hit, self.act, self.fault.after)
        self.source.ask("migrate", uri=f"unix:{self.place}/q", resume=True)
        self.await_message(self.again)

    def recover(self):
        """What a person does about a post-copy that waits."""
        if self.source.migration() == "postcopy-paused":
            if "postmigrate" not in self.source.qmp.execute("cont")["error"]["desc"]:
                raise AssertionError("the source could be told to run the guest")
            if not self.target.alive():
                return self.lost("destination")
            if self.target.migration() == "completed":
                self.source.ask("x-ferry-migrate-settle", outcome="discard")
            else:
                self.resume()
            self.wait_completed(self.source)
            self.wait_completed(self.target)
        elif self.target.alive() and self.target.migration() == "postcopy-paused":
            if "lacks memory that is on the source" not in self.target.ask("query-migrate")["error-desc"]:
                raise AssertionError("the destination does not say what it lacks")
            self.target.console.terminate()
            if self.target.console.process.wait(LIMIT) != 128 + 15:
                raise AssertionError(f"the destination ended with {self.target.console.process.returncode}")
            return self.lost("source")
        return None

    def lost(self, whose):
        if self.fault.victim != whose:
            raise AssertionError(f"the guest is lost, and not by the {whose}'s death")
        return "lost with one half of its memory"

    def resume(self):
        """At the same address, or at another one."""
        uri = f"unix:{self.place}/m"
        if self.fault.after:
            uri = f"unix:{self.place}/new"
            self.target.qmp.call("migrate-recover", uri=uri)
        self.source.qmp.call("migrate", uri=uri, resume=True)

    @staticmethod
    def wait_completed(side):
        deadline = time.monotonic() + LIMIT
        while side.migration() != "completed":
            if time.monotonic() > deadline:
                raise AssertionError(f"it does not recover: {side.ask('query-migrate')}")
            time.sleep(0.01)

    def close(self):
        if self.again is not None:
            self.again.close()
        super().close()


if __name__ == "__main__":
    why = without_userfaultfd()
    if why is not None:
        print(why)
        sys.exit(77)
    sys.exit(main(__doc__, late_faults, LateInjection))
