#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's virt-install and python3-libvirt against ferryd."""
import os
import subprocess
import textwrap
import xml.etree.ElementTree as ElementTree

from interop import GUESTS, LIMIT, InteropTest, main, need

need("virsh", "virt-install")
PYTHON = "/usr/bin/python3"  # Debian's, which has Debian's modules


class Install(InteropTest):
    OPTIONS = ("--default-network", "none")

    def install(self, *options, name="fw1"):
        home = self.place / "home"
        home.mkdir(exist_ok=True)
        return subprocess.run(["virt-install", "--connect", self.daemon.uri, "--name", name, "--vcpus", "1", "--ram", "64", "--import",
                               "--boot", f"kernel={GUESTS / 'echo.elf'}", "--noautoconsole", *map(str, options)],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False, text=True,
                              env=dict(os.environ, HOME=str(home), XDG_CACHE_HOME=str(home)))

    def test_kernel_boot_with_a_disk_that_is_there(self):
        disk = self.place / "images" / "fw1.img"
        disk.parent.mkdir()
        disk.write_bytes(bytes(1 << 20))
        done = self.install("--os-variant", "debian11", "--graphics", "none", "--network", "user", "--disk", f"path={disk}")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + self.daemon.log())
        self.assertEqual(self.virsh("list", "--name", "--persistent"), "fw1")
        document = ElementTree.fromstring(self.virsh("dumpxml", "fw1"))
        self.assertEqual(document.find("devices/disk/source").get("file"), str(disk))
        self.assertEqual(document.find("devices/interface/model").get("type"), "virtio")
        self.assertIn("http://libosinfo.org/xmlns/libvirt/domain/1.0", self.virsh("dumpxml", "fw1"))
        self.assertEqual(document.find("devices/controller[@type='usb']").get("model"), "none")
        self.assertRegex(self.virsh("dominfo", "fw1"), "Messages: +the machine has no USB")
        self.assertIn("already in use by other guests", self.install("--os-variant", "debian11", "--graphics", "none", "--disk", f"path={disk}", name="fw2").stderr)
        self.virsh("destroy", "fw1")
        self.virsh("undefine", "fw1")

    def test_new_disk_comes_from_a_pool(self):
        disk = self.place / "images" / "new.img"
        disk.parent.mkdir()
        done = self.install("--os-variant", "debian11", "--graphics", "none", "--network", "none", "--disk", f"path={disk},size=0.01,format=raw")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + self.daemon.log())
        self.assertEqual(disk.stat().st_size, int(0.01 * (1 << 30)))
        self.assertIn("images", self.virsh("pool-list", "--name"))
        self.virsh("destroy", "fw1")

    def plain(self, *options):
        """virt-install as people type it, without a kernel; its complaint."""
        home = self.place / "home"
        home.mkdir(exist_ok=True)
        done = subprocess.run(["virt-install", "--connect", self.daemon.uri, "--name", "x", "--ram", "64", "--noautoconsole", *map(str, options)],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False, text=True,
                              env=dict(os.environ, HOME=str(home), XDG_CACHE_HOME=str(home)))
        self.assertEqual(self.virsh("list", "--all", "--name"), "")
        return done.stderr

    def test_what_the_machine_has_not_is_said(self):
        image = self.place / "image.img"
        image.write_bytes(bytes(1 << 20))
        none = ("--graphics", "none")
        debian = ("--osinfo", "debian11")
        disk = ("--disk", f"path={image}", "--network", "user")
        for options, sentence in (
                (("--import", *disk, "--osinfo", "detect=on,require=off"), "the machine has no display: its console is the serial port (virt-install: --graphics none)"),
                (("--import", *disk, *debian, "--graphics", "vnc"), "the machine has no display"),
                (("--import", *disk, "--osinfo", "detect=on,require=off", *none), "bus='ide' is not supported; there is: virtio (virt-install takes it for"),
                (("--import", "--disk", "none", "--network", "user", "--osinfo", "generic", *none), "type='e1000' is not supported; there is: virtio"),
                (("--import", *disk, *debian, *none), "the machine has no firmware that could boot from a disk: <os> must name a <kernel>"),
                (("--pxe", *disk, *debian, *none), "the machine has no firmware"),
                (("--cdrom", image, "--disk", "none", "--network", "user", *debian, *none), "device='cdrom' is not supported; there is: disk (the machine has no drives"),
                (("--import", *disk, *debian, *none, "--tpm", "emulator"), "element <tpm>"),
                (("--import", *disk, *debian, *none, "--watchdog", "default"), "element <watchdog>"),
                (("--import", *disk, *debian, *none, "--sound", "ich6"), "element <sound>"),
                (("--import", *disk, *debian, *none, "--boot", "uefi"), "does not support UEFI"),
                (("--import", "--disk", "none", *debian, *none, "--network", "network=nowhere", "--boot", f"kernel={GUESTS / 'echo.elf'}"),
                 "there is no network 'nowhere'")):
            with self.subTest(options):
                self.assertIn(sentence, self.plain(*options))


class Python(InteropTest):
    OPTIONS = ("--default-network", "none")

    def python(self, script):
        done = subprocess.run([PYTHON, "-c", "import libvirt, sys\nuri, readonly, kernel = sys.argv[1:]\n" + textwrap.dedent(script), self.daemon.uri,
                               self.daemon.uri_readonly, GUESTS / "echo.elf"], capture_output=True, timeout=LIMIT, check=False, text=True)
        self.assertEqual(done.returncode, 0, done.stderr + self.daemon.log()[-2000:])
        return done.stdout

    def setUp(self):
        if subprocess.run([PYTHON, "-c", "import libvirt"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("python3-libvirt is not installed")
        super().setUp()

    def test_life_of_a_domain(self):
        self.python("""
            c = libvirt.open(uri)
            assert c.getType() == 'QEMU' and c.getInfo()[0] == 'x86_64' and c.isAlive()
            xml = f'''<domain type='qemu'><name>p1</name><memory>16384</memory><os><type>hvm</type><kernel>{kernel}</kernel></os>
                <devices><console type='pty'/><interface type='user'/></devices></domain>'''
            d = c.defineXML(xml)
            d.create()
            assert d.state()[0] == libvirt.VIR_DOMAIN_RUNNING and d.ID() > 0 and d.isPersistent()
            assert c.lookupByID(d.ID()).name() == 'p1' and c.lookupByUUIDString(d.UUIDString()).name() == 'p1'
            assert [x.name() for x in c.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)] == ['p1']
            stats = c.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_VCPU)[0][1]
            assert stats['state.state'] == 1 and stats['vcpu.current'] == 1, stats
            stream = c.newStream()
            d.openConsole(None, stream)
            stream.send(b'hal')
            assert stream.recv(1) == b'i'
            stream.finish()
            d.suspend()
            assert d.info()[0] == libvirt.VIR_DOMAIN_PAUSED
            d.resume()
            d.setAutostart(1)
            assert d.autostart() == 1
            d.destroy()
            d.undefine()
            assert c.numOfDefinedDomains() == 0
            c.close()
        """)

    def test_errors_have_their_codes(self):
        self.python("""
            c = libvirt.open(uri)
            def code(fn, *arguments):
                try:
                    fn(*arguments)
                except libvirt.libvirtError as e:
                    return e.get_error_code()
            libvirt.registerErrorHandler(lambda *_: None, None)
            assert code(c.lookupByName, 'x') == libvirt.VIR_ERR_NO_DOMAIN
            assert code(c.networkLookupByName, 'x') == libvirt.VIR_ERR_NO_NETWORK
            assert code(c.storagePoolLookupByName, 'x') == libvirt.VIR_ERR_NO_STORAGE_POOL
            assert code(c.defineXML, '<domain') == libvirt.VIR_ERR_XML_ERROR
            assert code(c.defineXML, "<domain type='qemu'><name>a</name><memory>9999</memory><x/></domain>") == libvirt.VIR_ERR_CONFIG_UNSUPPORTED
            d = c.defineXML("<domain type='qemu'><name>a</name><memory>16384</memory></domain>")
            assert code(d.destroy) == libvirt.VIR_ERR_OPERATION_INVALID
            assert code(d.abortJob) == libvirt.VIR_ERR_OPERATION_INVALID
            assert code(d.snapshotCurrent) in (libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT, libvirt.VIR_ERR_NO_SUPPORT)
            r = libvirt.openReadOnly(readonly)
            assert code(r.lookupByName('a').create) == libvirt.VIR_ERR_OPERATION_DENIED
            assert code(libvirt.open, uri.replace('/system', '/nothing')) == libvirt.VIR_ERR_NO_CONNECT
        """)

    def test_events(self):
        self.assertEqual(self.python("""
            libvirt.virEventRegisterDefaultImpl()
            c = libvirt.open(uri)
            seen = []
            c.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lambda c, d, e, detail, o: seen.append((e, detail)), None)
            d = c.createXML(f"<domain type='qemu'><name>e</name><memory>16384</memory><os><type>hvm</type><kernel>{kernel}</kernel></os></domain>")
            d.destroy()
            while (5, 1) not in seen:
                libvirt.virEventRunDefaultImpl()
            print([event for event in seen if event[0] != 6])  # a VM may still say that it ends
        """).strip(), "[(2, 0), (4, 0), (5, 1)]")


main()
