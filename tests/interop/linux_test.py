#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What needs a guest that answers: shutdown, reboot, and devices that it lets go, with Debian's kernel on the translator."""
import os
import subprocess
import time
import unittest

from interop import ROOT, InteropTest, main, need

need("virsh")


def guest_files():
    """Paths of the kernel and its image, or None where apt has no lists."""
    done = subprocess.run([ROOT / "tools" / "guest", "cloud/vmlinuz", "cloud/lab.img"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    return done.stdout.decode().split() if done.returncode == 0 else None


class Linux(InteropTest):
    OPTIONS = ("--default-network", "none")

    def setUp(self):
        files = guest_files()
        if files is None:
            raise unittest.SkipTest("no kernel: tools/guest needs an apt index")
        super().setUp()
        path = self.place / "l1.xml"
        self.log = self.place / "console.log"
        path.write_text(f"""<domain type='qemu'><name>l1</name><memory unit='MiB'>256</memory>
          <os><type>hvm</type><kernel>{files[0]}</kernel><initrd>{files[1]}</initrd>
            <cmdline>console=ttyS0 quiet NET=off BUTTON=on RUN="sleep 1000"</cmdline></os>
          <devices><serial type='file'><source path='{self.log}'/></serial></devices></domain>""")
        self.virsh("define", path)

    def boot(self):
        self.virsh("start", "l1")
        self.wait_for_run()

    def wait_for_run(self):
        self.wait_for(lambda: self.log.exists() and b"guest: run" in self.log.read_bytes(), "the guest")
        time.sleep(0.5)

    def pid(self):
        return int(next((self.place / "run" / "domains").glob("*.lock")).read_text())

    def test_shutdown_reboot_and_plug(self):
        disk = self.place / "disk.img"
        disk.write_bytes(bytes(1 << 20))
        self.boot()
        self.virsh("attach-disk", "l1", disk, "vdb", "--live", "--config")
        self.virsh("detach-disk", "l1", "vdb", "--live", "--config")
        self.wait_for(lambda: "vdb" not in self.virsh("domblklist", "l1"), "the guest to let the disk go")
        self.assertNotIn("vdb", self.virsh("domblklist", "l1", "--inactive"))
        self.virsh("setmem", "l1", "200M", "--live")
        self.wait_for(lambda: "actual 204800\n" in self.virsh("dommemstat", "l1") + "\n", "the guest to give memory back")
        before = self.pid()
        self.log.unlink()
        self.virsh("reboot", "l1")
        self.wait_for_run()
        self.assertEqual(self.virsh("domstate", "l1", "--reason"), "running (booted)")
        self.assertNotEqual(self.pid(), before)
        self.assertFalse(os.path.exists(f"/proc/{before}"))
        self.reboot_across_restarts()
        self.virsh("shutdown", "l1")
        self.wait_for(lambda: self.virsh("domstate", "l1") == "shut off", "shutdown")
        self.assertEqual(self.virsh("domstate", "l1", "--reason"), "shut off (shutdown)")

    def reboot_across_restarts(self):
        """A reboot that was asked for takes place, whether ferryd comes back before the guest's end or behind it."""
        for wait in (False, True):
            before = self.pid()
            self.log.unlink()
            self.virsh("reboot", "l1")
            self.daemon.kill()
            if wait:
                self.wait_for(lambda pid=before: not os.path.exists(f"/proc/{pid}"), "the guest's end")
            self.daemon.start()
            self.wait_for_run()
            self.wait_for(lambda: self.virsh("domstate", "l1") == "running", "the new start")
            self.assertNotEqual(self.pid(), before)


main()
