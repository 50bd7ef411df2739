#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""State that an earlier version has saved goes on; that of a later one as far as it can be read, and else is refused by name."""
import gzip
import pathlib
import string
import subprocess

import saved
from system import ENGINES, FERRY, Qmp, SystemTest, main

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "saved"
# Fields that were not in their section's first version.
GROWN = {"machine": (5, 6), "virtio-net": (4,)}


class Version(SystemTest):
    def start(self, *options, engine, guest="count"):
        console = self.vm(guest, "--control", self.place / "c", *options, engine=engine)
        self.addCleanup(console.__exit__)
        return console

    def control(self):
        qmp = Qmp(self.place / "c")
        self.addCleanup(qmp.__exit__)
        return qmp.negotiate()

    def type(self, console, letters):
        for count in range(1, len(letters) + 1):
            console.send(".")
            while not console.partial().endswith(letters[:count]):
                self.assertTrue(console.step(), (letters, console.partial(), console.errors))

    def save(self, *options, engine, guest="count"):
        """A saved VM, as a file."""
        console = self.start(*options, engine=engine, guest=guest)
        qmp = self.control()
        if guest == "count":
            self.type(console, string.ascii_lowercase[:10])
        else:
            console.wait_for("end")
        qmp.call("x-ferry-save", file=str(self.place / "image"))
        qmp.call("quit")
        self.assertEqual(console.finish(), 0)
        (self.place / "c").unlink(missing_ok=True)
        return (self.place / "image").read_bytes()

    def load(self, data, *options, engine, guest="count"):
        (self.place / "changed").write_bytes(data)
        return self.start("--load", self.place / "changed", *options, engine=engine, guest=guest)

    def goes_on(self, data, *options, engine):
        console = self.load(data, *options, engine=engine)
        self.type(console, "klm")
        console.__exit__()
        (self.place / "c").unlink(missing_ok=True)

    def refused(self, data, sentence, *options, engine):
        console = self.load(data, *options, engine=engine)
        self.assertEqual(console.finish(), 2)
        self.assertRegex(console.errors.decode(), sentence)
        (self.place / "c").unlink(missing_ok=True)

    def test_former_version(self):
        """Files that it has written: section machine tells no frequency, which then is this VM's own."""
        for golden in sorted(GOLDEN.glob("*.gz")):
            data = gzip.decompress(golden.read_bytes())
            machine = next(section for section in saved.unpack(data[24:24 + int.from_bytes(data[16:24], "little")])
                           if section.name == "machine")
            self.assertEqual(sorted(machine.fields), [1, 2, 3, 4])
            for engine in ENGINES:
                with self.subTest(golden=golden.name, engine=engine):
                    self.goes_on(data, "--cpu", "x86-64-v1", engine=engine)

    def test_fields_that_were_added(self):
        """Without each of them, and without all."""
        options = ("--cpu", "x86-64-v1", "--net", "user")
        for engine in ENGINES:
            data = self.save(*options, engine=engine)

            def without(sections, name, tags):
                found = [section for section in sections if section.name == name]
                self.assertTrue(found and all(tag in section.fields for section in found for tag in tags))
                for section in found:
                    for tag in tags:
                        del section.fields[tag]
                return sections

            for name, tags in [(name, (tag,)) for name, tags in GROWN.items() for tag in tags] + list(GROWN.items()):
                with self.subTest(engine=engine, section=name, tags=tags):
                    self.goes_on(saved.change_file(data, lambda sections: without(sections, name, tags)), *options, engine=engine)

    def test_later_version(self):
        """Fields that are not known are skipped in every section; a later version of any is refused with both versions."""
        for engine in ENGINES:
            data = self.save("--cpu", "x86-64-v1", engine=engine)

            def more(sections):
                for section in sections:
                    section.set_numbers(60000, 8, [1, 2, 3])
                return sections

            self.goes_on(saved.change_file(data, more), "--cpu", "x86-64-v1", engine=engine)
            for number, section in enumerate(saved.unpack(data[24:24 + int.from_bytes(data[16:24], "little")])):
                def later(sections):
                    sections[number].version += 8
                    return sections

                with self.subTest(engine=engine, section=section.name):
                    self.refused(saved.change_file(data, later), rf"{section.name} {section.instance} has version {section.version + 8}, and "
                                 rf"this Ferry knows them up to {section.version}: update it", "--cpu", "x86-64-v1", engine=engine)

    def test_place_of_xsave(self):
        """The guest's, wherever it comes from: AMD's processors have PKRU at another byte than Intel's, and dbt has it where it was."""
        def moved(sections):
            for section in sections:
                if section.name == "machine":
                    offsets = section.numbers(6)
                    self.assertEqual((len(offsets), offsets[2], offsets[9]), (10, 576, 2688))
                    section.set_numbers(6, 2, offsets[:9] + [2432])
            return sections

        data = self.save(engine="dbt", guest="cpuid")
        for changed, offset in ((data, 2688), (saved.change_file(data, moved), 2432)):
            console = self.load(changed, engine="dbt", guest="cpuid")
            console.send(".")
            console.wait_for("end")
            leaf = next(text for _, text in console.lines if text.startswith("0000000D 00000009") or text.startswith("0000000d 00000009"))
            self.assertEqual(int(leaf.split()[3], 16), offset)
            console.__exit__()
            (self.place / "c").unlink(missing_ok=True)

    def test_impossible_place_of_xsave(self):
        def broken(sections):
            for section in sections:
                if section.name == "machine":
                    section.set_numbers(6, 2, [0, 0, 16] + 7 * [0])
            return sections

        self.refused(saved.change_file(self.save(engine="dbt"), broken), "XSAVE component 2 can't be at byte 16", engine="dbt")

    def test_place_that_the_processor_decides(self):
        if "kvm" not in ENGINES:
            self.skipTest("no KVM here")
        if not any(line.split()[:2] == ["x86-64-v3", "yes"] for line in subprocess.run(
                [FERRY, "cpu", "list", "--engine", "kvm"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()):
            self.skipTest("this host's KVM has no AVX to offer")

        def elsewhere(sections):
            for section in sections:
                if section.name == "machine":
                    section.set_numbers(6, 2, [0, 0, 640] + 7 * [0])
            return sections

        data = saved.change_file(self.save("--cpu", "x86-64-v3", engine="kvm"), elsewhere)
        self.refused(data, "XSAVE component 2 at byte 640, and this host's processor has it at byte 576: use --engine dbt here",
                     "--cpu", "x86-64-v3", engine="kvm")


main()
