#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Live migration by Debian's virsh between two ferryds on this machine: conducted by the client, and from daemon to daemon."""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "migration"))
from certificates import authority  # noqa: E402 pylint: disable=wrong-import-position
from migration import Qmp  # noqa: E402 pylint: disable=wrong-import-position
from proxy import Proxy  # noqa: E402 pylint: disable=wrong-import-position

from interop import BUILD, GUESTS, LIMIT, Daemon, InteropTest, main, need
from ports import free_port

need("virsh")


class Pair(InteropTest):
    """Two ferryds, and a VM of the first one."""

    OPTIONS, TLS = ("--hostname", "kvm1", "--migration-host", "127.0.0.1"), ()

    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory(prefix="ferry-")  # pylint: disable=consider-using-with
        self.addCleanup(directory.cleanup)
        self.port = free_port()
        self.other_options = ("--hostname", "kvm2", "--migration-host", "127.0.0.1", "--listen-tcp", f"127.0.0.1:{self.port}")
        self.other = Daemon(directory.name, *self.other_options, *self.TLS)
        self.addCleanup(self.clean_up_other)
        self.disk = self.place / "disk.img"
        self.disk.write_bytes(bytes(1 << 20))

    def clean_up_other(self):
        self.daemon, self.place, kept = self.other, self.other.place, (self.daemon, self.place)
        self.clean_up()
        self.daemon, self.place = kept

    def start(self, guest="count", disk=True, more=""):
        disk = f"<disk><source file='{self.disk}'/><target dev='vda'/></disk>" if disk else ""
        path = self.place / "t1.xml"
        path.write_text(f"""<domain type='qemu'><name>t1</name><memory unit='MiB'>16</memory>
          <os><type>hvm</type><kernel>{GUESTS / guest}.elf</kernel></os><devices>{disk}{more}<console type='pty'/></devices></domain>""")
        self.virsh("define", path)
        self.virsh("start", "t1")

    @property
    def tcp(self):
        return f"qemu+tcp://127.0.0.1:{self.port}/system"

    def there(self, *arguments):
        code, out, err = self.other.virsh(*arguments)
        self.assertEqual(code, 0, f"{arguments}: {err}{self.other.log()[-2000:]}")
        return out.strip()

    def assert_moved(self, persistent=False, source="shut off (migrated)"):
        self.assertEqual(self.there("list", "--name"), "t1")
        self.assertEqual(self.there("domstate", "t1", "--reason"), "running (migrated)")
        self.assertEqual(self.there("list", "--name", "--persistent"), "t1" if persistent else "")
        if source is None:
            self.assertEqual(self.virsh("list", "--all", "--name"), "")
        else:
            self.assertEqual(self.virsh("domstate", "t1", "--reason"), source)
        self.assertEqual(self.processes(), 1)

    def processes(self):
        """VMs of both daemons that live."""
        count = 0
        for place in (self.place, self.other.place):
            for path in (place / "run" / "domains").glob("*.lock"):
                count += pathlib.Path(f"/proc/{path.read_text().strip()}").exists()
        return count


class Migrate(Pair):
    def test_by_the_client(self):
        self.start()
        done = subprocess.run(["virsh", "-c", self.daemon.uri, "migrate", "--live", "--verbose", "t1", self.tcp], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=LIMIT, check=True, text=True)
        self.assertIn("100 %", done.stdout + done.stderr)
        self.assert_moved()

    def test_from_daemon_to_daemon(self):
        for uri in (self.tcp, self.other.uri):
            with self.subTest(uri):
                self.start()
                self.virsh("migrate", "--live", "--p2p", "--persistent", "--undefinesource", "t1", uri)
                self.assert_moved(persistent=True, source=None)
                self.there("destroy", "t1")
                self.there("undefine", "t1")

    def elsewhere(self, image_format="raw"):
        """The domain's document for a host that has its disk in a directory of its own, and the disk there."""
        disk, document = self.other.place / f"disk.{image_format}", self.place / "elsewhere.xml"
        text = self.virsh("dumpxml", "t1", "--migratable").replace(str(self.disk), str(disk))
        document.write_text(re.sub("type='raw'", f"type='{image_format}'", text))
        return document, disk

    def test_disks_that_are_copied(self):
        """The destination's daemon makes the file; the client conducts, or the source's daemon does."""
        content = random.Random(1).randbytes(1 << 20)
        for options in ((self.tcp,), ("--p2p", self.tcp)):
            for image_format in "raw", "qcow2":
                with self.subTest(options=options, image_format=image_format):
                    self.disk.write_bytes(content)
                    self.start()
                    document, disk = self.elsewhere(image_format)
                    self.virsh("migrate", "--live", "--copy-storage-all", "--xml", document, "t1", *options)
                    self.assert_moved()
                    self.there("destroy", "t1")
                    if image_format == "raw":
                        self.assertEqual(disk.read_bytes(), content)
                    elif shutil.which("qemu-img"):
                        subprocess.run(["qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", self.disk, disk], check=True)
                    disk.unlink()
                    self.virsh("undefine", "t1")

    def test_disk_that_is_there_already(self):
        self.disk.write_bytes(bytes([5]) * (1 << 20))
        self.start()
        document, disk = self.elsewhere()
        disk.write_bytes(bytes(1 << 19))
        self.assertIn(f"truncate -s {1 << 20}", self.refused("migrate", "--live", "--copy-storage-all", "--xml", document, "t1", self.tcp))
        self.assertEqual(disk.read_bytes(), bytes(1 << 19))
        self.assertEqual(self.virsh("domstate", "t1"), "running")
        self.wait_for(lambda: self.there("list", "--all", "--name") == "", "the destination's end")
        disk.write_bytes(bytes([5]) * (1 << 20))
        self.virsh("migrate", "--live", "--copy-storage-inc", "--xml", document, "t1", self.tcp)
        self.assert_moved()

    def test_disks_that_are_chosen(self):
        """Of two disks, one is copied, and the other must be the same file; the client conducts, or the source's daemon does."""
        second = self.place / "second.img"
        for options in ((), ("--p2p",)):
            with self.subTest(options):
                self.disk.write_bytes(bytes([7]) * (1 << 20))
                second.write_bytes(bytes([8]) * (1 << 20))
                self.start(more=f"<disk><source file='{second}'/><target dev='vdb'/></disk>")
                document, disk = self.elsewhere()
                command = ("migrate", "--live", "--xml", document, "t1", *options, self.tcp)
                self.assertIn("disk target vdc not found", self.refused(*command, "--copy-storage-all", "--migrate-disks", "vda,vdc"))
                self.assertIn("VIR_MIGRATE_NON_SHARED_DISK", self.refused(*command, "--migrate-disks", "vda"))
                self.assertIn("no disks_port", self.refused(*command, "--copy-storage-all", "--disks-port", "4711"))
                disk.write_bytes(bytes(1 << 20))  # vda is another file there, and is not chosen
                self.assertIn("start it with the source's", self.refused(*command, "--copy-storage-all", "--migrate-disks", "vdb"))
                self.assertEqual(disk.read_bytes(), bytes(1 << 20))
                disk.unlink()
                self.wait_for(lambda: self.there("list", "--all", "--name") == "", "the destination's end")
                self.virsh(*command, "--copy-storage-all", "--migrate-disks", "vda")
                self.assert_moved()
                self.assertEqual(self.there("domblklist", "t1").count(str(disk)), 1)
                self.there("destroy", "t1")
                self.assertEqual(disk.read_bytes(), bytes([7]) * (1 << 20))
                disk.unlink()
                self.virsh("undefine", "t1")

    def test_documents_for_the_other_side(self):
        self.start()
        running, lasting = self.place / "running.xml", self.place / "lasting.xml"
        running.write_text(self.virsh("dumpxml", "t1", "--migratable"))
        lasting.write_text(self.virsh("dumpxml", "t1", "--inactive").replace("<on_reboot>restart", "<on_reboot>destroy"))
        self.virsh("migrate", "--live", "--persistent", "--xml", running, "--persistent-xml", lasting, "t1", self.tcp)
        self.assertIn("<on_reboot>restart", self.there("dumpxml", "t1"))
        self.assertIn("<on_reboot>destroy", self.there("dumpxml", "t1", "--inactive"))

    def test_there_and_back(self):
        self.start()
        self.virsh("migrate", "--live", "t1", self.tcp)
        self.there("migrate", "--live", "t1", self.daemon.uri)
        self.assertEqual(self.virsh("domstate", "t1", "--reason"), "running (migrated)")
        self.assertEqual(self.there("list", "--all", "--name"), "")
        self.virsh("suspend", "t1")
        self.virsh("migrate", "--live", "t1", self.tcp)
        self.assertEqual(self.there("domstate", "t1"), "paused")

    def test_refusals_leave_the_guest_where_it_is(self):
        self.start()
        for arguments, sentence in (
                (("t1", self.daemon.uri), "same host"),
                (("t1", "--p2p", self.daemon.uri), "same host"),
                (("t1", "--p2p", "qemu+tcp://127.0.0.1:1/system"), "127.0.0.1:1"),
                (("t1", "--p2p", "qemu+carrier://x/system"), "transport 'carrier' of the URI is not supported"),
                (("t1", "--zerocopy", "--parallel", self.tcp), "zero-copy"),
                (("t1", "--parallel-connections", "3", self.tcp), "needs the flag VIR_MIGRATE_PARALLEL"),
                (("t1", "--compressed", "--comp-methods", "zlib", self.tcp), "there are zstd, lz4"),
                (("t1", "--compressed", "--comp-methods", "zstd,lz4", self.tcp), "by both 'zstd' and 'lz4'"),
                (("t1", "--copy-storage-all", "--copy-storage-synchronous-writes", self.tcp), "synchronous writes"),
                (("t1", "--tls", self.tcp), "ca-cert.pem"),
                (("t1", "--migrateuri", "rdma:127.0.0.1:1", self.tcp), "there is tcp only")):
            with self.subTest(arguments):
                self.assertIn(sentence, self.refused("migrate", "--live", *arguments))
                self.assertEqual(self.virsh("domstate", "t1"), "running")
                self.assertEqual(self.there("list", "--all", "--name"), "")
        self.disk_elsewhere()
        self.assertEqual(self.processes(), 1)

    def disk_elsewhere(self):
        """A host that has another file of that name would be another namespace; here, a VM of that name."""
        path = self.place / "other.xml"
        path.write_text("<domain type='qemu'><name>t1</name><memory>16384</memory><os><type>hvm</type></os></domain>")
        self.there("define", path)
        self.assertIn("already exists with uuid", self.refused("migrate", "--live", "t1", self.tcp))
        self.there("undefine", "t1")
        self.virsh("migrate", "--live", "--dname", "t2", "t1", self.tcp)
        self.assertEqual(self.there("list", "--name"), "t2")

    def slow_migration(self, *options):
        self.virsh("migrate-setspeed", "t1", "1")
        process = subprocess.Popen(["virsh", "-c", self.daemon.uri, "migrate", "--live", *options, "t1", self.tcp],  # pylint: disable=consider-using-with
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.stdout.close)
        self.wait_for(lambda: "Time elapsed" in self.virsh("domjobinfo", "t1"), "the migration's job")
        return process

    def test_speed_abort_and_job_information(self):
        self.start("dirty", disk=False)
        process = self.slow_migration()
        self.wait_for(lambda: "Memory remaining" in self.virsh("domjobinfo", "t1"), "figures")
        self.assertIn("Unbounded", self.virsh("domjobinfo", "t1"))
        self.assertIn("Outgoing migration", self.virsh("domjobinfo", "t1"))
        self.assertIn("Incoming migration", self.there("domjobinfo", "t1"))
        self.virsh("domjobabort", "t1")
        self.assertIn("canceled by client", process.communicate(timeout=LIMIT)[0])
        self.assertEqual(self.virsh("domstate", "t1"), "running")
        self.wait_for(lambda: self.there("list", "--all", "--name") == "", "the destination's end")
        self.assertEqual(self.virsh("migrate-getspeed", "t1"), "1")
        self.virsh("migrate-setmaxdowntime", "t1", "1000")
        self.assertEqual(self.virsh("migrate-getmaxdowntime", "t1"), "1000")
        self.virsh("migrate-setspeed", "t1", "0")
        self.virsh("migrate", "--live", "t1", self.tcp)
        self.assertEqual(self.there("list", "--name"), "t1")

    def test_our_own_command(self):
        """Its progress is lines where there is no terminal; an interrupt is for the migration, and the guest stays."""
        self.start("dirty", disk=False)
        self.virsh("migrate-setspeed", "t1", "1")
        command = [BUILD / "ferry", "migrate", "t1", self.tcp, "--connect", self.daemon.uri]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # pylint: disable=consider-using-with
        self.addCleanup(process.stdout.close)
        line = process.stdout.readline()
        self.assertRegex(line, r"^t1: round 1, \d+ of 16 MiB left, .* downtime about \d+ ms$")
        process.send_signal(signal.SIGINT)
        self.assertRegex(process.communicate(timeout=LIMIT)[0], "canceled by client\n$")
        self.assertEqual(process.returncode, 1)
        self.assertEqual(self.virsh("domstate", "t1"), "running")
        self.virsh("migrate-setspeed", "t1", "0")
        self.wait_for(lambda: self.there("list", "--all", "--name") == "", "the destination's end")
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=True, text=True)
        self.assertEqual(done.stdout, f"t1 runs at {self.tcp}\n")
        self.assertNotIn("\r", done.stderr)
        self.assert_moved()

    def test_paused(self):
        """It comes as it went, or as --suspend says; suspended on the way for the migration to come to an end, it runs."""
        for way in ((), ("--p2p",)):
            for before, options, state in (((), ("--suspend",), "paused"), (("suspend", "t1"), (), "paused"),
                                           ((), ("--timeout", "1"), "running"), ((), (), "running")):
                with self.subTest((way, before, options)):
                    self.start("dirty", disk=False)
                    if before:
                        self.virsh(*before)
                    if "--timeout" in options:
                        self.virsh("migrate-setspeed", "t1", "2")
                    self.virsh("migrate", "--live", *way, *options, "t1", self.tcp)
                    self.assertEqual(self.there("domstate", "t1"), state)
                    self.there("destroy", "t1")
                    self.virsh("undefine", "t1")

    def test_postcopy(self):
        """Begun when the operator says so; it would not end without."""
        for options in ((), ("--p2p",)):
            with self.subTest(options):
                self.start("dirty", disk=False)
                process = self.slow_migration("--postcopy", *options)
                self.wait_for(lambda: "Memory remaining" in self.virsh("domjobinfo", "t1"), "figures")
                self.virsh("migrate-postcopy", "t1")
                self.assertEqual(process.communicate(timeout=LIMIT)[0], "\n")
                self.assert_moved()
                self.assertIn("Memory processed", self.there("domjobinfo", "t1", "--completed") + self.virsh("domjobinfo", "t1", "--completed"))
                self.there("destroy", "t1")
                self.virsh("undefine", "t1")

    def test_postcopy_after_the_first_round(self):
        self.start("dirty", disk=False)
        self.virsh("migrate-setspeed", "t1", "16")
        self.virsh("migrate", "--live", "--postcopy", "--postcopy-after-precopy", "t1", self.tcp)
        self.assert_moved()

    def parameters(self):
        """What the VM here has been told of its migration."""
        with Qmp(next((self.place / "run" / "vm").glob("*/qmp")), LIMIT) as qmp:
            qmp.negotiate()
            on = {item["capability"] for item in qmp.call("query-migrate-capabilities") if item["state"]}
            return qmp.call("query-migrate-parameters"), on

    def test_parallel_and_compressed(self):
        """Each migration as its own options say, whatever the last one's did."""
        self.start("dirty", disk=False)
        for options, expected, capabilities in (
                (("--parallel", "--parallel-connections", "3", "--compressed", "--comp-methods", "zstd,xbzrle", "--comp-xbzrle-cache", "1048576"),
                 {"multifd-channels": 3, "multifd-compression": "zstd", "xbzrle-cache-size": 1048576}, {"multifd", "xbzrle"}),
                (("--compressed", "--auto-converge", "--auto-converge-initial", "30", "--auto-converge-increment", "15"),
                 {"multifd-compression": "auto", "cpu-throttle-initial": 30, "cpu-throttle-increment": 15}, {"xbzrle"}),
                (("--p2p",), {"multifd-compression": "none", "cpu-throttle-initial": 20, "xbzrle-cache-size": 64 << 20}, set())):
            with self.subTest(options):
                port = free_port()
                proxy = Proxy(("127.0.0.2", port), ("127.0.0.1", port), "ACCEPT", lambda _: None)
                self.addCleanup(proxy.close)
                process = self.virsh_in_background("migrate", "--live", *options, "--migrateuri", f"tcp:127.0.0.2:{port}", "--listen-address",
                                                   "127.0.0.1", "t1", self.tcp)
                self.assertTrue(proxy.done.wait(LIMIT), proxy.seen)
                told, on = self.parameters()
                proxy.cut()
                self.assertIn("the connection was closed by the destination", process.communicate(timeout=LIMIT)[0])
                self.assertEqual({name: told[name] for name in expected}, expected)
                self.assertEqual(on & {"multifd", "xbzrle", "postcopy-ram"}, capabilities)
                self.assertEqual(self.virsh("domstate", "t1"), "running")

    def test_parallel_connections(self):
        port = free_port()
        proxy = self.way(port, channels=3)
        self.start("dirty", disk=False)
        self.virsh("migrate", "--live", "--parallel", "--parallel-connections", "3", "--migrateuri", f"tcp:127.0.0.2:{port}",
                   "--listen-address", "127.0.0.1", "t1", self.tcp)
        self.assertEqual(proxy.seen.count("HELLO"), 3)
        self.assert_moved()

    def test_postcopy_that_was_not_prepared(self):
        self.start("dirty", disk=False)
        self.assertIn("not being migrated", self.refused("migrate-postcopy", "t1"))
        process = self.slow_migration()
        self.wait_for(lambda: "Memory remaining" in self.virsh("domjobinfo", "t1"), "figures")
        self.assertIn("VIR_MIGRATE_POSTCOPY", self.refused("migrate-postcopy", "t1"))
        self.virsh("domjobabort", "t1")
        process.communicate(timeout=LIMIT)

    def way(self, port, let=1 << 30, channels=2):
        """Between the two VMs, for all of their connections; until it is cut or closed. let: so many messages with pages of post-copy."""
        proxy = Proxy(("127.0.0.2", port), ("127.0.0.1", port), lambda *_: False, Proxy.cut, channels=channels, let=let)
        self.addCleanup(proxy.close)
        return proxy

    def virsh_in_background(self, *arguments):
        process = subprocess.Popen(["virsh", "-c", self.daemon.uri, *arguments], stdin=subprocess.DEVNULL,  # pylint: disable=consider-using-with
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.stdout.close)
        return process

    def endless_postcopy(self, *options):
        """Post-copy that does not end by itself, over a way that can be cut: (virsh, the way, its port)."""
        port = free_port()
        proxy = self.way(port, let=2)
        self.start("dirty", disk=False)
        self.virsh("migrate-setspeed", "t1", "1")
        process = self.virsh_in_background("migrate", "--live", "--postcopy", "--postcopy-bandwidth", "1", *options, "--migrateuri",
                                           f"tcp:127.0.0.2:{port}", "--listen-address", "127.0.0.1", "t1", self.tcp)
        self.wait_for(lambda: self.daemon.virsh("migrate-postcopy", "t1")[0] == 0, "an active migration")
        self.wait_for(lambda: self.virsh("domstate", "t1", "--reason") == "paused (post-copy)", "the source's word")
        self.wait_for(lambda: self.there("domstate", "t1", "--reason") == "running (post-copy)", "the destination's word")
        return process, proxy, port

    def lose(self, proxy):
        proxy.close()
        for side in self.virsh, self.there:
            self.wait_for(lambda side=side: side("domstate", "t1", "--reason") == "paused (post-copy failed)", "the loss")

    def test_postcopy_whose_connection_is_lost(self):
        """The source's daemon has it go on, as soon as there is a way again."""
        process, proxy, port = self.endless_postcopy()
        self.lose(proxy)
        self.way(port)
        self.assertEqual(process.communicate(timeout=LIMIT)[0], "\n")
        self.assert_moved()

    def test_daemons_that_die_in_postcopy(self):
        """They remember the way, and what is to become of the domain: the loss comes behind their restart, or before it."""
        for dies, early in ((self.daemon, True), (self.other, True), (self.daemon, False), (self.other, False)):
            with self.subTest(dies.options[1], early=early):
                process, proxy, port = self.endless_postcopy("--p2p", "--persistent", "--undefinesource")
                if early:
                    dies.kill()
                    dies.start()
                    self.lose(proxy)
                else:
                    self.lose(proxy)
                    dies.kill()
                    dies.start()
                self.way(port)
                process.communicate(timeout=LIMIT)
                self.wait_for(lambda: self.virsh("list", "--all", "--name") == "", "the source's end")
                self.wait_for(lambda: self.there("domstate", "t1", "--reason") == "running (migrated)", "the destination's word")
                self.assert_moved(persistent=True, source=None)
                self.there("destroy", "t1")
                self.there("undefine", "t1")

    def test_postcopy_that_goes_on_by_another_way(self):
        """The operator knows one; whoever waited for the first one sees the end, too."""
        for options in ((), ("--p2p",)):
            with self.subTest(options):
                process, proxy, _ = self.endless_postcopy(*options)
                self.lose(proxy)
                self.virsh("migrate", "--live", "--postcopy", "--postcopy-resume", *options, "t1", self.tcp)
                self.assertEqual(process.communicate(timeout=LIMIT)[0], "\n")
                self.assert_moved()
                self.there("destroy", "t1")
                self.virsh("undefine", "t1")

    def test_postcopy_that_is_broken_off(self):
        """It stands until it is resumed, whatever happens to the daemons."""
        process, proxy, _ = self.endless_postcopy()
        self.assertIn("'postcopy-active'", self.refused("migrate", "--live", "--postcopy", "--postcopy-resume", "t1", self.tcp))
        self.virsh("domjobabort", "t1", "--postcopy")
        proxy.close()  # it holds pages back, and does not see the source go
        self.assertIn("lacks memory", process.communicate(timeout=LIMIT)[0])
        self.daemon.kill()
        self.daemon.start()
        time.sleep(2)
        self.assertEqual(self.virsh("domstate", "t1", "--reason"), "paused (post-copy failed)")
        self.assertEqual(self.there("domstate", "t1", "--reason"), "paused (post-copy failed)")
        self.virsh("migrate", "--live", "--postcopy", "--postcopy-resume", "--postcopy-bandwidth", "1000", "t1", self.tcp)
        self.wait_for(lambda: self.virsh("domstate", "t1") == "shut off", "the source's end")
        self.assert_moved()
        self.assertIn("not running", self.refused("migrate", "--live", "--postcopy", "--postcopy-resume", "t1", self.tcp))

    def parameter(self, name):
        return json.loads(self.virsh("qemu-monitor-command", "t1", '{"execute": "query-migrate-parameters"}'))["return"][name]

    def test_speed_of_postcopy(self):
        """It has a limit of its own, which can change on the way."""
        process, proxy, _ = self.endless_postcopy()
        self.assertEqual(self.virsh("migrate-getspeed", "t1", "--postcopy"), "0")
        self.assertEqual(self.parameter("max-postcopy-bandwidth"), 1 << 20)
        self.virsh("migrate-setspeed", "t1", "2000", "--postcopy")
        self.assertEqual(self.virsh("migrate-getspeed", "t1", "--postcopy"), "2000")
        self.assertEqual(self.parameter("max-postcopy-bandwidth"), 2000 << 20)
        proxy.released.set()
        self.assertEqual(process.communicate(timeout=LIMIT)[0], "\n")
        self.assert_moved()

    @unittest.skipUnless(os.geteuid() == 0, "VMs run as another user only when ferryd is root")
    def test_postcopy_to_a_vm_of_another_user(self):
        """Ferryd gives it what it needs to see who touches missing memory, and only then."""
        self.other.kill()
        self.other.place.chmod(0o711)
        self.other.options += ["--user", "nobody", "--group", "nogroup"]
        self.other.start()
        process, proxy, _ = self.endless_postcopy()
        pid = int(next((self.other.place / "run" / "domains").glob("*.lock")).read_text())
        self.assertNotEqual(os.stat(f"/proc/{pid}").st_uid, 0)
        proxy.released.set()
        self.assertEqual(process.communicate(timeout=LIMIT)[0], "\n")
        self.assert_moved()
        self.wait_for(lambda: "/dev/userfaultfd" not in [os.path.realpath(fd) for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()],
                      "the descriptor's end")

    def test_client_dies_half_way(self):
        for options in ((), ("--p2p",)):
            with self.subTest(options):
                self.start("dirty", disk=False)
                process = self.slow_migration(*options)
                process.send_signal(signal.SIGKILL)
                process.wait(LIMIT)
                self.virsh("migrate-setspeed", "t1", "0")
                self.wait_for(self.settled, "one running VM")
                self.assertEqual(self.processes(), 1)
                side = self.virsh if self.virsh("list", "--name") == "t1" else self.there
                self.assertEqual(side("domstate", "t1"), "running")
                side("destroy", "t1")
                self.wait_for(lambda: self.there("list", "--all", "--name") == "", "the transient domain's end")
                self.virsh("undefine", "t1")

    def settled(self):
        return self.processes() == 1 and "running" in (self.virsh("domstate", "t1"), *self.there("list").split()) and \
            "Time elapsed" not in self.other.virsh("domjobinfo", "t1")[1]

    def test_source_daemon_dies_half_way(self):
        self.start("dirty", disk=False)
        process = self.slow_migration("--p2p")
        self.daemon.kill()
        process.communicate(timeout=LIMIT)
        self.daemon.start()
        for _ in range(20):  # at no time two
            self.assertLessEqual(self.processes_running(), 1)
            time.sleep(0.1)
        self.virsh("migrate-setspeed", "t1", "0")
        self.wait_for(lambda: self.processes_running() == 1 and self.processes() == 1, "one running VM")

    def cut(self, message, act, *options):
        """Virsh's migration of a VM without a disk, so without an arbiter beside it, whose connection is lost at that message."""
        port = free_port()
        proxy = Proxy(("127.0.0.2", port), ("127.0.0.1", port), message, act)
        self.addCleanup(proxy.close)
        self.start(disk=False)
        done = subprocess.run(["virsh", "-c", self.daemon.uri, "migrate", "--live", *options, "--migrateuri", f"tcp:127.0.0.2:{port}",
                               "--listen-address", "127.0.0.1", "t1", self.tcp], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=LIMIT, check=False)
        self.assertTrue(proxy.done.wait(LIMIT), proxy.seen)
        return done

    def test_daemons_settle_a_loss_before_the_decision(self):
        for options in ((), ("--p2p",)):
            with self.subTest(options):
                done = self.cut("COMMIT", Proxy.cut, *options)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("at the point of decision the connection", done.stderr)
                self.wait_for(lambda: self.virsh("domstate", "t1") == "running", "the source's guest")
                self.assertEqual(self.there("list", "--all", "--name"), "")
                self.assertEqual(self.processes(), 1)
                self.virsh("destroy", "t1")
                self.virsh("undefine", "t1")

    def test_daemons_settle_a_loss_behind_the_decision(self):
        for options in ((), ("--p2p",)):
            with self.subTest(options):
                self.cut("TAKEN", Proxy.cut, *options)
                self.wait_for(lambda: self.virsh("domstate", "t1") == "shut off", "the source's end")
                self.assert_moved()
                self.there("destroy", "t1")
                self.virsh("undefine", "t1")

    def test_daemon_that_is_away_at_the_decision(self):
        """It is asked until it is there again, for a while; if it is not, the guest stays paused, whoever says what."""
        def away(proxy):
            self.other.kill()
            proxy.cut()

        for options in ((), ("--p2p",)):
            with self.subTest(options):
                back = threading.Timer(0.1, self.other.start)
                self.cut("TAKEN", lambda proxy, back=back: (away(proxy), back.start()), *options)
                back.join()
                self.wait_for(lambda: self.virsh("domstate", "t1", "--reason") == "shut off (migrated)", "the source's end")
                self.assertEqual(self.there("domstate", "t1"), "running")
                self.assertEqual(self.processes(), 1)
                self.there("destroy", "t1")
                self.virsh("undefine", "t1")

    def test_source_daemon_that_is_away_at_the_decision(self):
        """When it is there again it knows whom to ask, and what is to become of the domain."""
        for message, source, there in (("COMMIT", "running", ""), ("TAKEN", None, "t1")):
            with self.subTest(message):
                self.cut(message, lambda proxy: (self.daemon.kill(), proxy.cut()), "--p2p", "--undefinesource")
                self.daemon.start()
                if source is None:
                    self.wait_for(lambda: self.virsh("list", "--all", "--name") == "", "the source's end")
                    self.assertEqual(self.there("domstate", "t1"), "running")
                else:
                    self.wait_for(lambda: self.virsh("domstate", "t1") == "running", "the source's guest")
                self.wait_for(lambda there=there: self.there("list", "--all", "--name") == there, "the destination's end")
                self.assertEqual(self.processes(), 1)
                if source is not None:
                    self.virsh("destroy", "t1")
                    self.virsh("undefine", "t1")

    def test_nobody_to_ask(self):
        done = self.cut("TAKEN", lambda proxy: (self.other.kill(), proxy.cut()))
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertEqual(self.virsh("domstate", "t1"), "paused", f"{done.stderr} {self.daemon.log()}")
        self.wait_for(lambda: "it stays paused here" in self.daemon.log(), "the end of asking")
        self.assertEqual(self.virsh("domstate", "t1"), "paused")
        command = re.search("ferry (migrate --control [^ ]+ --settle) run", self.daemon.log())[1]
        subprocess.run([BUILD / "ferry", *command.split(), "discard"], check=True)
        self.virsh("destroy", "t1")
        self.other.start()
        self.assertEqual(self.there("domstate", "t1"), "running")

    def processes_running(self):
        """Domains that run, on both sides together."""
        return sum(state.count("running") for state in (self.virsh("list"), self.there("list")))

    def test_destination_daemon_dies_half_way(self):
        self.start("dirty", disk=False)
        process = self.slow_migration("--p2p")
        self.other.kill()
        self.virsh("migrate-setspeed", "t1", "0")
        process.communicate(timeout=LIMIT)
        self.other.start()
        self.wait_for(lambda: self.processes() == 1, "one VM")
        time.sleep(0.5)
        running = self.virsh("list", "--name").split() + self.there("list", "--name").split()
        self.assertEqual(running, ["t1"])


class Tls(Pair):
    """By certificates of one authority; the destination's is for the address, or for a name that is said."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="ferry-")  # pylint: disable=consider-using-with
        place = pathlib.Path(cls.directory.name)
        cls.OPTIONS = (*Pair.OPTIONS, "--migration-tls-dir", authority(place / "good"))
        cls.TLS, cls.foreign = cls.OPTIONS[-2:], authority(place / "foreign")

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def test_move(self):
        for options in ((), ("--p2p",), ("--parallel",)):
            with self.subTest(options):
                port = free_port()
                self.start()
                self.virsh("migrate", "--live", "--tls", *options, "--migrateuri", f"tcp://127.0.0.1:{port}", "--listen-address", "127.0.0.1",
                           "t1", self.tcp)
                self.assert_moved()
                self.assertIn(f"tls:127.0.0.1:{port}", self.log_of_the_vm())
                self.there("destroy", "t1")
                self.virsh("undefine", "t1")

    def log_of_the_vm(self):
        return (self.other.place / "log" / "t1.log").read_text()

    def test_names(self):
        self.start()
        migrate = ("migrate", "--live", "--tls", "--migrateuri", "tcp:[::ffff:127.0.0.1]:" + str(free_port()), "--listen-address", "127.0.0.1")
        self.assertIn("certificate is refused", self.refused(*migrate, "t1", self.tcp))
        self.assertEqual(self.virsh("domstate", "t1"), "running")
        self.virsh(*migrate, "--tls-destination", "localhost", "t1", self.tcp)
        self.assert_moved()

    def test_another_authority(self):
        self.other.end()
        self.other = Daemon(self.other.place, *self.other_options, "--migration-tls-dir", self.foreign)
        self.start()
        self.assertIn("certificate is refused", self.refused("migrate", "--live", "--tls", "t1", self.tcp))
        self.assertEqual(self.virsh("domstate", "t1"), "running")
        self.assertEqual(self.there("list", "--all", "--name"), "")


main()
