#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's virsh and virt-install against ferryd: directory pools and their volumes, and pools on an NFS server."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

from interop import GUESTS, LIMIT, InteropTest, main, need

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))
from nfs_server import ADDRESS, NfsServer  # noqa: E402 pylint: disable=wrong-import-position

need("virsh", "qemu-img")


class Storage(InteropTest):
    def setUp(self):
        super().setUp()
        self.images = self.place / "images"

    def pool(self, name="images", target=None):
        self.virsh("pool-define-as", name, "dir", "--target", target or self.images)
        self.virsh("pool-build", name)
        self.virsh("pool-start", name)

    def volumes(self, pool="images"):
        return [line.split()[0] for line in self.virsh("vol-list", pool).splitlines()]

    def dump(self, *command):
        return ElementTree.fromstring(self.virsh(*command))


class Pools(Storage):
    def test_life_of_a_pool(self):
        self.virsh("pool-define-as", "images", "dir", "--target", self.images)
        self.assertEqual(self.virsh("pool-list", "--all", "--name"), "images")
        self.assertEqual(self.virsh("pool-list", "--name"), "")
        self.assertIn("No such file", self.refused("pool-start", "images"))
        self.assertIn("not active", self.refused("vol-list", "images"))
        self.virsh("pool-build", "images")
        self.virsh("pool-start", "images")
        self.assertIn("already active", self.refused("pool-start", "images"))
        self.virsh("pool-autostart", "images")
        info = self.virsh("pool-info", "images")
        for line in ("State: +running", "Persistent: +yes", "Autostart: +yes", "Capacity: +[0-9]"):
            self.assertRegex(info, line)
        tree = self.dump("pool-dumpxml", "images")
        self.assertEqual((tree.get("type"), tree.findtext("target/path")), ("dir", str(self.images)))
        self.assertGreater(int(tree.findtext("capacity")), 0)
        self.assertIn("still active", self.refused("pool-undefine", "images"))
        self.virsh("pool-destroy", "images")
        self.assertIn("not active", self.refused("pool-destroy", "images"))
        self.virsh("pool-delete", "images")
        self.assertFalse(self.images.exists())
        self.virsh("pool-undefine", "images")
        self.assertIn("no storage pool 'images'", self.refused("pool-info", "images"))

    def test_transient_pool(self):
        self.virsh("pool-create-as", "now", "dir", "--target", self.images, "--build")
        self.assertIn("not persistent", self.refused("pool-autostart", "now"))
        self.virsh("pool-destroy", "now")
        self.assertEqual(self.virsh("pool-list", "--all", "--name"), "")

    def test_pools_are_found_again(self):
        self.pool()
        self.virsh("pool-define-as", "lazy", "dir", "--target", self.place / "lazy")
        self.virsh("pool-create-as", "now", "dir", "--target", self.place / "now", "--build")
        self.virsh("vol-create-as", "images", "a", "1M")
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(sorted(self.virsh("pool-list", "--name").split()), ["images", "now"])
        self.assertEqual(self.volumes(), ["a"])
        self.virsh("pool-destroy", "images")
        self.virsh("pool-autostart", "images")
        self.virsh("pool-autostart", "lazy")
        self.daemon.kill()
        shutil.rmtree(self.place / "run" / "storage")  # the host booted
        self.daemon.start()
        self.assertEqual(self.virsh("pool-list", "--name"), "images")
        self.assertIn("lazy", self.daemon.log())  # why it could not

    def test_what_is_refused(self):
        self.pool()
        for text, complaint in (
                ("<pool type='logical'><name>x</name><target><path>/x</path></target></pool>", "there are: dir, netfs"),
                ("<pool type='dir'><name>a/b</name><target><path>/x</path></target></pool>", "can't be the name"),
                ("<pool type='dir'><name>x</name><target><path>x</path></target></pool>", "not an absolute path"),
                ("<pool type='dir'><name>x</name><target><path>/x/../y</path></target></pool>", "leads elsewhere"),
                ("<pool type='dir'><name>x</name></pool>", "<path>"),
                ("<pool type='dir'><name>x</name><target><path>/x</path><colour/></target></pool>", "colour"),
                ("<pool type='netfs'><name>x</name><target><path>/x</path></target></pool>", "host name"),
                ("<pool type='netfs'><name>x</name><source><host name='h'/><dir path='/d'/><format type='cifs'/></source>"
                 "<target><path>/x</path></target></pool>", "auto, nfs"),
                (f"<pool type='dir'><name>x</name><target><path>{self.images}/</path></target></pool>", "already has the target"),
                ("<pool type='dir'><name>images</name><target><path>/x</path></target></pool>", "already exists with uuid"),
                ("<pool", "")):
            (self.place / "x.xml").write_text(text)
            self.assertIn(complaint, self.refused("pool-define", self.place / "x.xml"))
        code, _, err = self.daemon.virsh("pool-destroy", "images", readonly=True)
        self.assertEqual(code, 1)
        self.assertIn("read only", err)

    def test_events(self):
        watcher = subprocess.Popen(["virsh", "-c", self.daemon.uri, "pool-event", "--event", "lifecycle", "--loop", "--timeout", "20"],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            seen = []
            for _ in range(3):
                time.sleep(1)  # until virsh has registered
                self.virsh("pool-create-as", "now", "dir", "--target", self.images, "--build")
                self.virsh("pool-destroy", "now")
            for line in watcher.stdout:
                seen.append(line)
                if "Stopped" in line:
                    break
            self.assertRegex("".join(seen), "event .lifecycle. for storage pool now: (Started|Stopped)")
        finally:
            watcher.kill()
            watcher.wait()
            watcher.stdout.close()


class Volumes(Storage):
    def test_life_of_a_volume(self):
        self.pool()
        self.virsh("vol-create-as", "images", "fw1.img", "5G")
        path = self.images / "fw1.img"
        self.assertEqual(path.stat().st_size, 5 << 30)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.volumes(), ["fw1.img"])
        self.assertEqual(self.virsh("vol-path", "fw1.img", "--pool", "images"), str(path))
        self.assertEqual(self.virsh("vol-pool", path), "images")
        self.assertEqual(self.virsh("vol-name", path), "fw1.img")
        self.assertRegex(self.virsh("vol-info", path), "Capacity: +5.00 GiB")
        tree = self.dump("vol-dumpxml", path)
        self.assertEqual((tree.findtext("key"), tree.find("target/format").get("type"), tree.findtext("capacity")),
                         (str(path), "raw", str(5 << 30)))
        self.assertIn("already exists", self.refused("vol-create-as", "images", "fw1.img", "1G"))
        self.virsh("vol-resize", path, "6G")
        self.assertEqual(path.stat().st_size, 6 << 30)
        self.virsh("vol-resize", path, "1G", "--delta")
        self.assertEqual(path.stat().st_size, 7 << 30)
        self.assertIn("shrink", self.refused("vol-resize", path, "1M"))
        self.virsh("vol-resize", path, "1M", "--shrink")
        self.virsh("vol-delete", path)
        self.assertFalse(path.exists())
        self.assertIn("no storage vol", self.refused("vol-info", path))

    def test_allocation(self):
        self.pool()
        self.virsh("vol-create-as", "images", "full", "8M", "--allocation", "8M")
        self.virsh("vol-create-as", "images", "sparse", "8M", "--allocation", "0")
        self.assertGreaterEqual((self.images / "full").stat().st_blocks * 512, 8 << 20)
        self.assertEqual((self.images / "sparse").stat().st_blocks, 0)

    def test_contents(self):
        self.pool()
        data = os.urandom(3 << 20)
        (self.place / "in").write_bytes(data)
        self.virsh("vol-create-as", "images", "a", "3M")
        path = self.images / "a"
        self.virsh("vol-upload", path, self.place / "in")
        self.assertEqual(path.read_bytes(), data)
        self.virsh("vol-download", path, self.place / "out")
        self.assertEqual((self.place / "out").read_bytes(), data)
        self.virsh("vol-download", path, self.place / "part", "--offset", 1000, "--length", 5000)
        self.assertEqual((self.place / "part").read_bytes(), data[1000:6000])
        self.virsh("vol-upload", path, self.place / "part", "--offset", 7)
        self.assertEqual(path.read_bytes(), data[:7] + data[1000:6000] + data[5007:])
        self.assertIn("reach past", self.refused("vol-download", path, self.place / "out", "--offset", 4 << 20))
        self.virsh("vol-create-as", "images", "small", "1M")
        self.assertIn("more data than", self.refused("vol-upload", self.images / "small", self.place / "in"))
        self.virsh("vol-clone", path, "b")
        self.assertEqual((self.images / "b").read_bytes(), path.read_bytes())
        self.virsh("vol-wipe", self.images / "b")
        self.assertEqual((self.images / "b").read_bytes(), bytes(3 << 20))

    def test_nothing_leads_out(self):
        self.pool()
        outside = self.place / "outside"
        outside.write_bytes(b"secret" * 1000)
        os.symlink(outside, self.images / "absolute")
        os.symlink("../outside", self.images / "relative")
        (self.images / "inside").write_bytes(bytes(512))
        os.symlink("inside", self.images / "fine")
        os.mkfifo(self.images / "pipe")
        self.virsh("pool-refresh", "images")
        self.assertEqual(self.volumes(), ["fine", "inside"])
        for name in ("../outside", "a/b", "..", "x\ty"):
            self.assertIn("can't be the name", self.refused("vol-create-as", "images", name, "1M"))
        for name in ("absolute", "relative"):
            self.assertTrue(self.refused("vol-create-as", "images", name, "1M"))
            self.assertTrue(self.refused("vol-download", name, self.place / "out", "--pool", "images"))
        self.assertEqual(outside.read_bytes(), b"secret" * 1000)

    def test_what_is_refused(self):
        self.pool()
        for text, complaint in (
                ("<volume><name>x</name></volume>", "<capacity>"),
                ("<volume><capacity>1</capacity></volume>", "<name>"),
                ("<volume><name>x</name><capacity unit='furlong'>1</capacity></volume>", "furlong"),
                ("<volume><name>x</name><capacity unit='EiB'>9</capacity></volume>", "no size"),
                ("<volume><name>x</name><capacity>1</capacity><target><format type='vmdk'/></target></volume>", "raw, qcow2"),
                ("<volume type='block'><name>x</name><capacity>1</capacity></volume>", "type 'block'"),
                ("<volume><name>x</name><capacity>1</capacity><target><encryption/></target></volume>", "encryption")):
            (self.place / "x.xml").write_text(text)
            self.assertIn(complaint, self.refused("vol-create", "images", self.place / "x.xml"))
        self.assertEqual(self.volumes(), [])

    def test_qcow2(self):
        self.pool()
        self.virsh("vol-create-as", "images", "q", "64M", "--format", "qcow2")
        self.virsh("vol-create-as", "images", "over", "64M", "--format", "qcow2", "--backing-vol", self.images / "q", "--backing-vol-format",
                   "qcow2")
        tree = self.dump("vol-dumpxml", self.images / "over")
        self.assertEqual((tree.find("target/format").get("type"), tree.findtext("capacity"), tree.findtext("backingStore/path")),
                         ("qcow2", str(64 << 20), str(self.images / "q")))
        self.assertLess((self.images / "q").stat().st_size, 1 << 20)
        self.assertIn("can grow, but not shrink", self.refused("vol-resize", self.images / "q", "32M", "--shrink"))
        self.assertIn("can grow, but not allocate", self.refused("vol-resize", self.images / "q", "128M", "--allocate"))
        self.assertIn("no room for that", self.refused("vol-resize", self.images / "q", "5T"))
        self.virsh("vol-create-as", "images", "grown", "64M", "--format", "qcow2")
        self.virsh("vol-resize", self.images / "grown", "3T")
        self.assertEqual(self.dump("vol-dumpxml", self.images / "grown").findtext("capacity"), str(3 << 40))
        subprocess.run(["qemu-img", "check", self.images / "grown"], check=True, stdout=subprocess.DEVNULL, timeout=LIMIT)
        subprocess.run(["qemu-img", "snapshot", "-c", "one", self.images / "grown"], check=True, timeout=LIMIT)
        self.assertIn("it has snapshots", self.refused("vol-resize", self.images / "grown", "4T"))
        self.virsh("vol-delete", self.images / "grown", "--delete-snapshots")
        (self.place / "d.xml").write_text(f"""<domain type='qemu'><name>t1</name><memory unit='MiB'>16</memory>
            <os><type>hvm</type><kernel>{GUESTS}/idle.elf</kernel></os><devices><disk type='file'><driver name='qemu' type='qcow2'/>
            <source file='{self.images}/over'/><target dev='vda' bus='virtio'/></disk></devices></domain>""")
        self.virsh("create", self.place / "d.xml")
        self.assertRegex(self.virsh("domblkinfo", "t1", "vda"), "Capacity: +67108864")
        self.virsh("destroy", "t1")

    def test_what_is_known(self):
        tree = self.dump("pool-capabilities")
        self.assertEqual([pool.get("type") for pool in tree if pool.get("supported") == "yes"], ["dir", "netfs"])
        self.assertIn("can't be found; name the directory that the server exports", self.refused("find-storage-pool-sources", "netfs"))
        self.virsh("pool-define-as", "images", "dir", "--target", self.images)
        self.assertIn("which those of type dir and netfs are not", self.refused("pool-build", "images", "--overwrite"))
        self.virsh("pool-build", "images")
        self.virsh("pool-start", "images")
        self.virsh("vol-create-as", "images", "a", "1M")
        self.virsh("vol-resize", self.images / "a", "2M", "--allocate")
        self.assertGreaterEqual((self.images / "a").stat().st_blocks * 512, 2 << 20)
        self.assertIn("copies share no blocks", self.refused("vol-clone", self.images / "a", "b", "--reflink"))
        self.assertIn("all bytes are transferred", self.refused("vol-download", self.images / "a", self.place / "out", "--sparse"))
        self.assertIn("with zeros only", self.refused("vol-wipe", self.images / "a", "--algorithm", "random"))
        (self.place / "v.xml").write_text("""<volume><name>owned</name><capacity>512</capacity><target><permissions><owner>12345</owner>
            <group>54321</group><mode>0640</mode></permissions></target></volume>""")
        if os.geteuid() == 0:
            self.virsh("vol-create", "images", self.place / "v.xml")
            about = (self.images / "owned").stat()
            self.assertEqual((about.st_uid, about.st_gid, about.st_mode & 0o777), (12345, 54321, 0o640))
        for inside, complaint in (("<compat>0.10</compat>", "made with 1.1"), ("<features><lazy_refcounts/></features>", "lazy_refcounts"),
                                  ("<clusterSize>512</clusterSize>", "clusters of 64 KiB")):
            (self.place / "v.xml").write_text(f"""<volume><name>x</name><capacity>512</capacity><target><format type='qcow2'/>{inside}
                </target></volume>""")
            self.assertIn(complaint, self.refused("vol-create", "images", self.place / "v.xml"))

    def test_virt_install_makes_pool_and_volume(self):
        need("virt-install")
        self.images.mkdir()
        done = subprocess.run(["virt-install", "--connect", self.daemon.uri, "--name", "fw1", "--vcpus", "1", "--ram", "16", "--disk",
                               f"path={self.images}/fw1.img,size=0.01,bus=virtio", "--boot", f"kernel={GUESTS}/idle.elf", "--import",
                               "--controller", "usb,model=none", "--virt-type", "qemu", "--osinfo", "detect=off,require=off", "--network", "none", "--graphics", "none",
                               "--noautoconsole"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=LIMIT, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + self.daemon.log()[-3000:])
        self.assertEqual((self.images / "fw1.img").stat().st_size, 10737418)
        self.assertEqual(self.virsh("pool-list", "--name", "--autostart"), "images")
        self.assertEqual(self.virsh("list", "--name"), "fw1")
        self.virsh("destroy", "fw1")


class Nfs(Storage):
    """Without a kernel that could mount it, /storage/fw1.img names the same image all the same."""

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0 or shutil.which("ganesha.nfsd") is None:
            raise cls.skipTest("needs root and nfs-ganesha")
        cls.server = NfsServer().__enter__()
        cls.addClassCleanup(cls.server.__exit__)

    def setUp(self):
        super().setUp()
        self.daemon.end()
        self.daemon.prefix = self.server.inside()
        self.daemon.start()

    def test_pool_on_a_server(self):
        self.virsh("pool-define-as", "shared", "netfs", "--source-host", ADDRESS, "--source-path", "/storage", "--target", "/storage-x")
        self.virsh("pool-start", "shared")
        self.assertGreater(int(self.dump("pool-dumpxml", "shared").findtext("capacity")), 0)
        self.virsh("vol-create-as", "shared", "fw 1%.img", "4M")
        self.virsh("vol-create-as", "shared", "b", "4M")
        self.assertEqual(self.virsh("vol-path", "b", "--pool", "shared"), "/storage-x/b")
        self.assertEqual((self.server.export / "fw 1%.img").stat().st_size, 4 << 20)
        data = os.urandom(2 << 20)
        (self.place / "in").write_bytes(data)
        self.virsh("vol-upload", "/storage-x/fw 1%.img", self.place / "in")
        self.assertEqual((self.server.export / "fw 1%.img").read_bytes()[:2 << 20], data)
        self.virsh("vol-download", "/storage-x/fw 1%.img", self.place / "out")
        self.assertEqual(hashlib.sha256((self.place / "out").read_bytes()[:2 << 20]).digest(), hashlib.sha256(data).digest())
        self.virsh("vol-clone", "/storage-x/b", "c")
        self.virsh("vol-resize", "/storage-x/b", "5M")
        self.virsh("vol-delete", "/storage-x/c")
        self.virsh("pool-refresh", "shared")
        self.assertEqual(sorted(path.name for path in self.server.export.iterdir()), ["b", "fw 1%.img"])
        self.assertEqual((self.server.export / "b").stat().st_size, 5 << 20)
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.virsh("pool-list", "--name"), "shared")

        devices = "<disk type='file'><source file='/storage-x/b'/><target dev='vda' bus='virtio'/></disk>"
        (self.place / "d.xml").write_text(f"""<domain type='qemu'><name>t1</name><memory unit='MiB'>16</memory>
            <os><type>hvm</type><kernel>{GUESTS}/idle.elf</kernel></os><devices>{devices}</devices></domain>""")
        self.virsh("create", self.place / "d.xml")
        (self.place / "e.xml").write_text(devices.replace("/b", "/fw 1%.img").replace("vda", "vdb"))
        self.virsh("attach-device", "t1", self.place / "e.xml", "--live")
        second = (self.place / "d.xml").read_text().replace("t1", "t2")
        (self.place / "d2.xml").write_text(second)
        self.assertIn("in use", self.refused("create", self.place / "d2.xml") + "".join(
            path.read_text() for path in (self.place / "log").glob("**/t2*")))
        self.virsh("destroy", "t1")
        self.virsh("create", self.place / "d2.xml")
        self.virsh("destroy", "t2")
        self.virsh("pool-destroy", "shared")
        self.assertIn("Cannot access", self.refused("create", self.place / "d2.xml"))

    def test_server_comes_later_than_ferryd(self):
        self.virsh("pool-define-as", "shared", "netfs", "--source-host", ADDRESS, "--source-path", "/storage", "--target", "/storage-x")
        self.virsh("pool-start", "shared")
        self.server.kill()
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.virsh("pool-list", "--name"), "")
        self.server.start()
        self.wait_for(lambda: self.virsh("pool-list", "--name") == "shared", "the pool")
        self.virsh("pool-destroy", "shared")
        self.server.kill()
        self.virsh("pool-autostart", "shared")
        self.daemon.end()
        self.daemon.start()
        self.virsh("pool-destroy", "shared")  # nobody wants it any more
        self.assertIn("not active", self.refused("pool-destroy", "shared"))
        self.server.start()
        self.assertEqual(self.virsh("pool-list", "--name"), "")

    def test_root_of_the_server(self):
        """Its entries lead into other file systems, which some servers bear only if they are not asked about these."""
        self.virsh("pool-define-as", "root", "netfs", "--source-host", ADDRESS, "--source-path", "/", "--target", "/storage-z")
        self.virsh("pool-start", "root")
        self.virsh("pool-refresh", "root")
        self.assertEqual(self.virsh("vol-list", "root"), "")
        self.assertIsNone(self.server.process.poll())
        self.virsh("pool-destroy", "root")

    def test_server_that_is_not_there(self):
        self.virsh("pool-define-as", "away", "netfs", "--source-host", "192.0.2.1", "--source-path", "/storage", "--target", "/storage-y")
        self.assertIn("cannot reach the NFS server", self.refused("pool-start", "away"))
        self.virsh("pool-define-as", "wrong", "netfs", "--source-host", ADDRESS, "--source-path", "/nowhere", "--target", "/storage-z")
        self.assertIn("No such file", self.refused("pool-start", "wrong"))


if __name__ == "__main__":
    main()
