#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM saved on one engine goes on where it was, on the same and on the other one."""
import os
import string

from system import ENGINES, Qmp, SystemTest, main


class State(SystemTest):
    def start(self, name, *options, engine):
        return self.vm("count", "--control", self.place / name, *options, engine=engine)

    def type(self, console, letters):
        """Types a key for each letter and waits for it."""
        for letter in letters:
            console.send(".")
            self.output += letter
        self.wait_for_output(console)

    def wait_for_output(self, console):
        while self.seen(console) != self.output:
            self.assertTrue(console.step(), (self.output, self.seen(console)))

    @staticmethod
    def seen(console):
        return "".join(text for _, text in console.lines) + console.partial()

    def move(self, source, target):
        image = self.place / "image"
        self.output = ""
        letters = string.ascii_lowercase
        with self.start("a", engine=source) as console, Qmp(self.place / "a") as qmp:
            qmp.negotiate()
            self.type(console, letters[:10])
            qmp.call("x-ferry-save", file=str(image))
            self.assertEqual(qmp.call("query-status")["status"], "paused")
            qmp.call("quit")
            self.assertEqual(console.finish(), 0)
        self.output = ""
        with self.start("b", "--load", image, engine=target) as console:
            self.type(console, letters[10:])
            self.assertEqual(console.finish(), 0)
            self.assertEqual(self.text(console), letters[10:])

    def test_same_engine(self):
        for engine in ENGINES:
            with self.subTest(engine=engine):
                self.move(engine, engine)

    def test_across_engines(self):
        if len(ENGINES) < 2:
            self.skipTest("only one engine works here")
        self.move("kvm", "dbt")
        self.move("dbt", "kvm")

    def test_load_in_place(self):
        self.output = ""
        with self.start("a", engine=ENGINES[0]) as console, Qmp(self.place / "a") as qmp:
            qmp.negotiate()
            self.type(console, "abc")
            qmp.call("x-ferry-save", file=str(self.place / "image"))
            qmp.call("cont")
            self.type(console, "def")
            self.assertIn("running", qmp.execute("x-ferry-load", file=str(self.place / "image"))["error"]["desc"])
            qmp.call("stop")
            qmp.call("x-ferry-load", file=str(self.place / "image"))
            qmp.call("cont")
            self.type(console, "def")

    def test_bad_images(self):
        self.output = ""
        image = self.place / "image"
        with self.start("a", engine=ENGINES[0]) as console, Qmp(self.place / "a") as qmp:
            qmp.negotiate()
            self.type(console, "abc")
            qmp.call("x-ferry-save", file=str(image))
            whole = image.read_bytes()
            for name, data in (("short", whole[:100]), ("other", b"FERRYVM0" + whole[8:]), ("cut", whole[:-10]),
                               ("damaged", whole[:60] + os.urandom(40) + whole[100:])):
                (self.place / name).write_bytes(data)
                self.assertIn(name, qmp.execute("x-ferry-load", file=str(self.place / name))["error"]["desc"])
            self.assertIn("incomplete", qmp.execute("cont")["error"]["desc"])
            qmp.call("x-ferry-load", file=str(image))
            qmp.call("cont")
            self.type(console, "def")
            self.assertIn("nowhere", qmp.execute("x-ferry-save", file=str(self.place / "nowhere" / "x"))["error"]["desc"])
            self.assertEqual(sorted(os.listdir(self.place)), ["a", "cut", "damaged", "image", "other", "short"])
        with self.vm("count", "--load", image, "--cpus", "2") as console:
            self.assertEqual(console.finish(), 2)
            self.assertIn(b"--cpus 1", console.errors)
        with self.vm("count", "--load", image, "--memory", "32M") as console:
            self.assertEqual(console.finish(), 2)


main()
