#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The verbs of ferry that talk to ferryd."""
import json
import os
import subprocess

from interop import BUILD, GUESTS, LIMIT, InteropTest, main, need

need("virsh")


class Verbs(InteropTest):
    OPTIONS = ("--default-network", "define")

    def setUp(self):
        super().setUp()
        path = self.place / "t1.xml"
        path.write_text(f"""<domain type='qemu'><name>t1</name><memory unit='MiB'>16</memory>
          <os><type>hvm</type><kernel>{GUESTS / 'echo.elf'}</kernel></os><devices><console type='pty'/></devices></domain>""")
        self.virsh("define", path)

    def ferry(self, *arguments, text="", code=0):
        done = subprocess.run([BUILD / "ferry", *arguments], input=text, capture_output=True, timeout=LIMIT, check=False, text=True,
                              env=dict(os.environ, FERRY_URI=self.daemon.uri))
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return done.stdout if code == 0 else done.stderr

    def test_domains(self):
        self.assertEqual(self.ferry("list"), "id  name  state\n")
        self.assertEqual(json.loads(self.ferry("list", "--all", "--json")), [{"id": "-", "name": "t1", "state": "shut off"}])
        self.ferry("start", "t1", "--paused")
        self.assertEqual(self.ferry("status", "t1"), "paused\n")
        self.ferry("resume", "t1")
        self.assertEqual(json.loads(self.ferry("status", "t1", "--json")), {"name": "t1", "state": "running"})
        with subprocess.Popen([BUILD / "ferry", "console", "t1", "--connect", self.daemon.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as console:
            console.stdin.write(b"hal")
            console.stdin.flush()
            self.assertEqual(console.stdout.read(3), b"ibm")
            console.stdin.write(b"\x1d")
            console.stdin.flush()
            self.assertEqual(console.wait(LIMIT), 0)
        self.ferry("pause", "t1")
        self.ferry("resume", "t1")
        self.ferry("reset", "t1")
        self.ferry("stop", "t1")
        self.ferry("stop", "t1", "--force")
        self.assertEqual(self.virsh("domstate", "t1"), "shut off")

    def test_objects(self):
        self.assertEqual(json.loads(self.ferry("net", "list", "--json")), [{"name": "default", "state": "inactive", "autostart": "no"}])
        self.ferry("net", "autostart", "default")
        self.assertRegex(self.ferry("net", "list"), r"default +inactive +yes")
        images = self.place / "images"
        images.mkdir()
        self.virsh("pool-define-as", "p", "dir", "--target", images)
        self.ferry("pool", "start", "p")
        self.ferry("pool", "refresh", "p")
        self.assertRegex(self.ferry("pool", "list"), r"p +active +no")
        self.ferry("pool", "stop", "p")

    def test_errors(self):
        self.assertIn("no domain with matching name 'x'", self.ferry("start", "x", code=1))
        self.assertIn("not running", self.ferry("stop", "t1", code=1))
        self.assertIn("usage: ferry start NAME", self.ferry("start", "a", "b", code=2))
        self.assertIn("--settle", self.ferry("migrate", "--help"))
        self.assertIn("unknown option '--wrong'", self.ferry("list", "--wrong", code=2))
        self.assertIn("cannot be told to 'dance'", self.ferry("net", "dance", "default", code=1))
        self.assertIn("cannot reach ferryd at /nowhere", self.ferry("list", "--connect", "qemu+unix:///system?socket=/nowhere", code=1))
        self.assertIn("is no URI of a ferryd", self.ferry("list", "--connect", "xen:///", code=1))
        self.ferry("start", "t1")
        self.assertIn("same host", self.ferry("migrate", "t1", self.daemon.uri, code=1))
        self.assertEqual(self.virsh("domstate", "t1"), "running")


main()
