#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU models on the command line: what a host has, what hosts share, and VMs that are started with it."""
from system import ENGINES, SystemTest, ferry, main


class Cpu(SystemTest):
    def describe(self, engine):
        code, out, err = ferry("cpu", "describe", "--engine", engine)
        self.assertEqual((code, err), (0, ""))
        path = self.place / engine
        path.write_text(out)
        return path

    def test_list(self):
        for engine in ENGINES:
            code, out, _ = ferry("cpu", "list", "--engine", engine)
            self.assertEqual(code, 0)
            self.assertRegex(out, r"(?m)^x86-64-v1 +yes$")
            self.assertRegex(out, r"(?m)^x86-64-v4 +(yes|no: lacks .*avx512.*)$")
            self.assertRegex(out, r"(?m)^host +yes$")

    def test_a_vm_runs_on_the_baseline_of_all_engines(self):
        code, model, err = ferry("cpu", "baseline", *[self.describe(engine) for engine in ENGINES])
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(model, r"^x86-64-v[1-4](,\+[a-z0-9_]+)*(,phys-bits=[0-9]+)?\n$")
        for engine in ENGINES:
            code, console = self.run_vm("hello", "--cpu", model.strip(), "--testdev", engine=engine)
            self.assertNotEqual(code, 2, console.errors.decode())

    def test_bad_input(self):
        empty = self.place / "empty"
        empty.write_text("")
        for arguments, words in (((), "usage"), (("dance",), "usage"), (("baseline",), "usage"), (("baseline", empty), "its first line"),
                                 (("baseline", self.place / "none"), "No such file"), (("list", "--engine", "x"), "there are auto"),
                                 (("describe", "more"), "usage")):
            code, out, err = ferry("cpu", *arguments)
            self.assertEqual((code, out), (2, ""))
            self.assertIn(words, err)
        code, console = self.run_vm("hello", "--cpu", "x86-64-v1,phys-bits=99")
        self.assertEqual(code, 2)
        self.assertIn("from 32 to 52", console.errors.decode())


if __name__ == "__main__":
    main()
