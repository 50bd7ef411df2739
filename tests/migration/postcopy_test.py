#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Post-copy: a guest that no way is fast enough for runs on the destination before its memory is there; and goes on after the
connection was lost in the middle."""
import os
import pwd
import random
import signal
import stat
import subprocess
import sys
import time
import unittest

from migration import ENGINES, FERRY, GUESTS, MigrationTest, free_port, main, wait_over, without_userfaultfd
from proxy import Proxy


class PostcopyTest(MigrationTest):
    def begin(self, uri, listen=None, engines=(ENGINES[0], ENGINES[0]), options=(), guest="dirty",
              method="none", limit=0, **more):
        """A migration that is in its first round and told to switch."""
        source, target, out, into = self.pair(listen or uri, *options, engines=engines, guest=guest, **more)
        self.type(source, "ab")
        into.call("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        out.call("migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": True}])
        out.call("migrate-set-parameters", **{"max-bandwidth": 1 << 20, "downtime-limit": 0, "multifd-compression": method,
                                               "max-postcopy-bandwidth": limit})
        self.assertIn("no migration", out.execute("migrate-start-postcopy")["error"]["desc"])
        out.call("migrate", uri=uri)
        while out.call("query-migrate")["ram"]["normal"] == 0:
            time.sleep(0.01)
        out.call("migrate-start-postcopy")
        return source, target, out, into

    def assert_recovered(self, source, target, out, into):
        self.assertEqual(wait_over(out)["status"], "completed")
        self.assertEqual(wait_over(into)["status"], "completed")
        self.type(target, "cdefghijkl")
        self.assertTrue(source.process.poll() is None)


class Postcopy(PostcopyTest):
    def test_switch(self):
        for engine in ENGINES:
            with self.subTest(engine=engine):
                source, target, out, into = self.begin(f"unix:{self.place}/m", engines=(engine, engine))
                answer = wait_over(out)
                self.assertEqual(answer["status"], "completed", answer)
                self.type(target, "cdefg")
                self.assertEqual(wait_over(into)["status"], "completed")
                self.type(target, "hijkl")
                out.call("quit")
                self.assertEqual(source.finish(), 0)
                self.doCleanups()
                self.setUp()

    def test_packed(self):
        for method in "zstd", "lz4", "auto":
            with self.subTest(method=method):
                source, target, out, into = self.begin(f"unix:{self.place}/m", method=method)
                self.assert_recovered(source, target, out, into)
                ram = out.call("query-migrate")["ram"]
                if method != "auto":
                    self.assertLess(ram["transferred"], ram["normal-bytes"] / 4)
                self.doCleanups()
                self.setUp()

    def test_limit(self):
        """What nobody waits for goes as slowly as it is told to, until it is told otherwise."""
        never_read = self.place / "initrd"
        never_read.write_bytes(random.Random(1).randbytes(24 << 20))
        _, target, out, into = self.begin(f"unix:{self.place}/m", guest="count", options=("--initrd", never_read, "--memory", "64M"), limit=1)
        self.assertEqual(out.call("query-migrate-parameters")["max-postcopy-bandwidth"], 1)
        wait_over(out, ("postcopy-active",))
        self.type(target, "cdefghijkl")
        answer = out.call("query-migrate")
        self.assertEqual(answer["status"], "postcopy-active")
        self.assertGreater(answer["ram"]["remaining"], 4 << 20)
        self.assertEqual(into.call("query-migrate")["status"], "postcopy-active")
        out.call("migrate-set-parameters", **{"max-postcopy-bandwidth": 0})
        self.assertEqual(wait_over(out)["status"], "completed")
        self.assertEqual(wait_over(into)["status"], "completed")

    def test_limit_is_not_for_what_is_waited_for(self):
        """A guest that touches all of its memory gets it by its own requests."""
        source, target, out, into = self.begin(f"unix:{self.place}/m", limit=1)
        self.assert_recovered(source, target, out, into)
        self.assertGreater(out.call("query-migrate")["ram"]["postcopy-requests"], 16)

    def begin_behind(self, until, **more):
        """The same through a proxy that holds pages back."""
        proxy = Proxy(self.place / "p", self.place / "m", until, Proxy.cut, channels=2, **more)
        self.addCleanup(proxy.close)
        return proxy, *self.begin(f"unix:{self.place}/p", listen=f"unix:{self.place}/m")

    def test_connection_lost(self):
        _, source, target, out, into = self.begin_behind("TAKEN", after=True)
        answer = wait_over(out, ("postcopy-paused", "completed"))
        self.assertEqual(answer["status"], "postcopy-paused", answer)
        self.assertIn("migrate with resume", answer["error-desc"])
        wait_over(into, ("postcopy-paused",))
        self.assertIn("still on its way", into.execute("stop")["error"]["desc"])
        self.assertIn("cannot connect", self.failed_resume(out))
        self.assertIn("runs on the destination", out.execute("x-ferry-migrate-settle", outcome="run")["error"]["desc"])
        out.call("migrate", uri=f"unix:{self.place}/m", resume=True)
        self.assert_recovered(source, target, out, into)

    def test_pause_and_recover(self):
        """The operator breaks the connection off, and it goes on at another address."""
        place = self.place
        slow, source, target, out, into = self.begin_behind(lambda *_: False)
        self.assertIn("nothing to recover", into.execute("migrate-recover", uri=f"unix:{place}/new")["error"]["desc"])
        wait_over(out, ("postcopy-active",))
        out.call("migrate-pause")
        answer = wait_over(out, ("postcopy-paused",))
        slow.cut()  # it holds pages back, and does not see the source go
        self.assertIn("migrate with resume", answer["error-desc"])
        wait_over(into, ("postcopy-paused",))
        self.assertIn("only post-copy", out.execute("migrate-pause")["error"]["desc"])
        self.assertIn("fd:", into.execute("migrate-recover", uri="nowhere")["error"]["desc"])
        new = f"tcp:127.0.0.1:{free_port()}"
        into.call("migrate-recover", uri=new)
        self.assertFalse((place / "m").exists())
        out.call("migrate", uri=new, resume=True)
        self.assert_recovered(source, target, out, into)

    def statuses(self, qmp):
        """That this connection was told of by events."""
        qmp.call("query-status")
        return [event["data"]["status"] for event in qmp.events if event["event"] == "MIGRATION"]

    def lose_while_a_device_waits(self, act=Proxy.cut):
        """The page to which the guest has its disk read is lost on its way, and when somebody asks for it, nothing more passes, and the
        connection is cut, or what else act does. Mostly that is the disk, so that the VM's loop waits."""
        symbols = subprocess.run(["nm", GUESTS / "disk.elf"], stdout=subprocess.PIPE, text=True, check=True).stdout
        block = int(next(line.split()[0] for line in symbols.splitlines() if line.endswith(" block")), 16)
        disk = self.place / "disk"
        for _ in range(20):
            disk.write_bytes(bytes(1 << 20))
            proxy = Proxy(self.place / "p", self.place / "m",
                          lambda name, _: name == "WANT" and int.from_bytes(proxy.body, "little") == block // 4096, act, channels=2,
                          let=1 << 30, lost=block)
            self.addCleanup(proxy.close)
            begun = self.begin(f"unix:{self.place}/p", listen=f"unix:{self.place}/m", guest="disk", options=("--disk", disk))
            for qmp in begun[2:]:
                wait_over(qmp, ("postcopy-paused",))
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                if "a device of this VM waits" in begun[3].execute("query-block").get("error", {}).get("desc", ""):
                    return begun
                time.sleep(0.05)
            self.doCleanups()
            self.setUp()
            disk = self.place / "disk"
        return self.fail("the disk never waits")

    def test_device_waits(self):
        """What is needed to go on is answered all the same, on connections that are there and on new ones; and everything behind it."""
        source, target, out, into = self.lose_while_a_device_waits()
        later = self.control("target")
        self.assertEqual(later.call("query-status")["status"], "running")
        self.assertIn("postcopy-paused", self.statuses(into))
        new = f"unix:{self.place}/new"
        later.call("migrate-recover", uri=new)
        out.call("migrate", uri=new, resume=True)
        self.assert_recovered(source, target, out, into)
        for qmp in into, later:
            self.assertNotEqual(qmp.call("query-block"), [])
        self.assertNotEqual(self.control("target").call("query-block"), [])

    def test_silence(self):
        """A connection on which nothing comes while somebody waits is lost. Until then, and behind it, people are answered."""
        source, target, out, into = self.lose_while_a_device_waits(act=lambda _: None)
        self.assertIn("nothing came from the source for 15 s, though", into.call("query-migrate")["error-desc"])
        statuses = self.statuses(into)
        self.assertLess(statuses.index("postcopy-active"), statuses.index("postcopy-paused"))
        self.assertEqual(wait_over(out, ("postcopy-paused",))["status"], "postcopy-paused")
        out.call("migrate", uri=f"unix:{self.place}/m", resume=True)
        self.assert_recovered(source, target, out, into)

    def test_source_that_is_stopped(self):
        """It is lost when the guest waits for a page; and when it wakes up, it goes on from there."""
        source, target, out, into = self.begin_behind(lambda *_: False)[1:]
        wait_over(into, ("postcopy-active",))
        source.process.send_signal(signal.SIGSTOP)
        wait_over(into, ("postcopy-paused",))
        source.process.send_signal(signal.SIGCONT)
        wait_over(out, ("postcopy-paused",))
        out.call("migrate", uri=f"unix:{self.place}/m", resume=True)
        self.assert_recovered(source, target, out, into)

    def test_device_waits_for_ever(self):
        """It can be ended, by a command or a signal."""
        for end in (lambda target, into: into.call("quit"), 0), (lambda target, _: target.terminate(), 128 + 15):
            with self.subTest(end=end):
                _, target, _, into = self.lose_while_a_device_waits()
                try:
                    end[0](target, into)
                except EOFError:
                    pass  # it may be faster than its answer
                self.assertEqual(target.finish(), end[1])
                self.doCleanups()
                self.setUp()

    def test_source_dies(self):
        """In post-copy, its memory is lost: the destination says so, waits and ends when it is told to."""
        slow, source, target, out, into = self.begin_behind(lambda *_: False)
        wait_over(out, ("postcopy-active",))
        source.process.kill()
        slow.cut()  # it holds pages back, and does not see the source go
        answer = wait_over(into, ("postcopy-paused",))
        self.assertIn("lacks memory that is on the source", answer["error-desc"])
        target.terminate()
        self.assertEqual(target.finish(), 128 + 15)

    def test_last_answer_lost(self):
        """The destination has everything, and the source is told so."""
        _, source, target, out, into = self.begin_behind("ALL", release="TAKEN")
        self.assertEqual(wait_over(into, ("completed", "postcopy-paused"))["status"], "completed")
        self.assertIn("lacks nothing", wait_over(out, ("postcopy-paused",))["error-desc"])
        self.failed_resume(out)
        out.call("x-ferry-migrate-settle", outcome="discard")
        self.assert_recovered(source, target, out, into)

    def failed_resume(self, out):
        out.call("migrate", uri=f"unix:{self.place}/nowhere", resume=True)
        while True:
            answer = out.call("query-migrate")
            if answer["status"] == "postcopy-paused" and "cannot connect" in answer.get("error-desc", ""):
                return answer["error-desc"]
            time.sleep(0.01)

    def test_destination_ends(self):
        """The guest is lost then, and nothing pretends otherwise."""
        _, _, target, out, into = self.begin_behind("TAKEN", after=True)
        wait_over(out, ("postcopy-paused",))
        wait_over(into, ("postcopy-paused",))
        target.terminate()
        self.assertEqual(target.finish(), 128 + 15)
        self.assertIn("postmigrate", out.execute("cont")["error"]["desc"])

    def test_not_prepared(self):
        source, _, out, _ = self.pair(f"unix:{self.place}/m", guest="dirty")
        self.type(source, "a")
        out.call("migrate-set-parameters", **{"max-bandwidth": 1 << 20, "downtime-limit": 0})
        out.call("migrate", uri=f"unix:{self.place}/m")
        self.assertIn("postcopy-ram", out.execute("migrate-start-postcopy")["error"]["desc"])
        self.assertIn("nothing to resume", out.execute("migrate", uri=f"unix:{self.place}/m", resume=True)["error"]["desc"])
        out.call("migrate_cancel")
        self.assertEqual(wait_over(out)["status"], "cancelled")
        self.type(source, "b")


def as_nobody(before=""):
    """A command that runs another as an ordinary user, behind what root has a shell do."""
    return ["unshare", "--mount", "sh", "-ec", f'{before}\nexec setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"', "sh"]


def only_root_may():
    with open("/proc/sys/vm/unprivileged_userfaultfd", encoding="ascii") as allowed:
        return os.geteuid() == 0 and allowed.read().strip() == "0" and os.path.exists("/dev/userfaultfd")


@unittest.skipUnless(only_root_may(), "another user is root's to be, and userfaultfd everybody's")
class OrdinaryUser(PostcopyTest):
    """The destination's user may not use userfaultfd by the system call."""

    def setUp(self):
        super().setUp()
        self.place.chmod(0o777)
        code = subprocess.run([*as_nobody(), FERRY, "run", "--version"], stdout=subprocess.DEVNULL, check=False).returncode
        if code != 0:
            self.skipTest("an ordinary user can't run what was built here")

    def test_refused(self):
        source, target, out, _ = self.pair(f"unix:{self.place}/m", guest="dirty", target_prefix=as_nobody())
        out.call("migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": True}])
        out.call("migrate", uri=f"unix:{self.place}/m")
        answer = wait_over(out)
        self.assertEqual(answer["status"], "failed")
        self.assertIn("let the user open /dev/userfaultfd, or", answer["error-desc"])
        self.type(source, "a")
        out.call("migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": False}])
        out.call("migrate", uri=f"unix:{self.place}/m")
        self.assertEqual(wait_over(out)["status"], "completed")
        self.type(target, "b")

    def assert_switches(self, **how):
        source, target, out, into = self.begin(f"unix:{self.place}/m", **how)
        self.assert_recovered(source, target, out, into)

    def test_descriptor(self):
        """Of the device, from somebody who may open it."""
        self.assert_switches(target_prefix=as_nobody("exec 9<>/dev/userfaultfd"), target_options=("--userfaultfd", "9"))

    def test_device(self):
        """That the user may open."""
        node = self.place / "userfaultfd"
        number = os.stat("/dev/userfaultfd").st_rdev
        os.mknod(node, 0o600 | stat.S_IFCHR, number)
        os.chown(node, pwd.getpwnam("nobody").pw_uid, -1)
        self.assert_switches(target_prefix=as_nobody(f"mount --bind {node} /dev/userfaultfd"))

    def test_disk(self):
        """Whose pages are touched by the kernel, not by the guest."""
        disk = self.place / "disk"
        disk.write_bytes(bytes(1 << 20))
        disk.chmod(0o666)
        self.assert_switches(target_prefix=as_nobody("exec 9<>/dev/userfaultfd"), target_options=("--userfaultfd", "9"), guest="disk",
                             options=("--disk", disk))


if __name__ == "__main__":
    why = without_userfaultfd()
    if why is not None:
        print(why)
        sys.exit(77)
    main()
