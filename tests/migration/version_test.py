#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams of other versions and of other hosts: what stands between source and destination changes what is said."""
import json

from migration import MigrationTest, main, wait_over, wait_status
from proxy import Proxy
import saved  # of ../system, which migration makes known

PKRU = 2432  # its byte in AMD's Zen 4; Intel's processors have it at 2688


def of_state(change):
    """What change() makes of the sections."""
    return lambda name, body: saved.pack(change(saved.unpack(body))) if name == "STATE" else body


def of_description(change):
    """What change() leaves of the object."""
    def act(name, body):
        if name != "DESCRIPTION":
            return body
        description = json.loads(body)
        change(description)
        return json.dumps(description).encode()
    return act


def leaf_of(console, leaf, subleaf):
    """The registers as the guest has printed them first."""
    words = [text.split() for _, text in console.lines]
    return next([int(word, 16) for word in line[2:]] for line in words if len(line) == 6 and
                (int(line[0], 16), int(line[1], 16)) == (leaf, subleaf))


class Version(MigrationTest):
    def prepare(self, *options, guest="count", **more):
        self.count = getattr(self, "count", 0)
        sides = self.pair(f"unix:{self.place}/m", *options, guest=guest, engines=("dbt", "dbt"), **more)
        if guest == "count":
            self.type(sides[0], "abc")
        else:
            sides[0].wait_for("end")
        return sides

    def migrate(self, qmp, change):
        """By way of one who says change(name, body) in place of each body."""
        self.count += 1
        proxy = Proxy(self.place / f"p{self.count}", self.place / "m", lambda name, index: False, lambda proxy: None, change=change)
        qmp.call("migrate", uri=f"unix:{self.place}/p{self.count}")
        answer = wait_over(qmp)
        proxy.close()
        return answer

    def end(self, sides):
        """All of them, so that others can take their names."""
        for side in sides[:2]:
            side.process.kill()
            side.finish()
        for name in "source", "target", "m":
            (self.place / name).unlink(missing_ok=True)

    def goes(self, change, guest="count", **more):
        """Both consoles when the guest runs on."""
        sides = self.prepare(guest=guest, **more)
        answer = self.migrate(sides[2], change)
        self.assertEqual(answer["status"], "completed", answer)
        wait_status(sides[3], "running")
        if guest == "count":
            self.type(sides[1], "d")
        else:
            sides[1].send(".")
            sides[1].wait_for("end")
        return sides

    def fails(self, sides, change, sentence):
        answer = self.migrate(sides[2], change)
        self.assertEqual(answer["status"], "failed", answer)
        self.assertRegex(answer["error-desc"], sentence)
        self.assertEqual(sides[2].call("query-status")["status"], "running")

    def refused(self, change, sentence):
        """Its state; the source runs on."""
        sides = self.prepare()
        self.fails(sides, change, sentence)
        self.type(sides[0], "def")
        self.end(sides)

    def refused_in_setup(self, cases, **more):
        """The source runs on, and the destination waits for another."""
        sides = self.prepare(**more)
        for change, sentence in cases:
            with self.subTest(sentence=sentence):
                self.fails(sides, change, sentence)
                self.assertEqual(sides[3].call("query-status")["status"], "inmigrate")
        self.type(sides[0], "def")
        self.end(sides)

    def test_former_version(self):
        """It has said neither the frequency in section machine nor where XSAVE puts registers; that in DESCRIPTION counts."""
        def former(sections):
            for section in sections:
                if section.name == "machine":
                    del section.fields[5], section.fields[6]
            return sections

        model, hz = "x86-64-v1,vendor=GenuineIntel", 1817295000
        target = self.goes(of_state(former), guest="cpuid", source_options=("--cpu", f"{model},tsc-frequency={hz}"),
                           target_options=("--cpu", model))[1]
        self.assertEqual(leaf_of(target, 0x40000010, 0)[0], hz // 1000)

    def test_later_version(self):
        for name in "machine", "cpu", "uart":
            def later(sections):
                for section in sections:
                    section.version += 8 if section.name == name else 0
                return sections

            with self.subTest(section=name):
                self.refused(of_state(later), rf"state of {name} 0 has version 9, and this Ferry knows them up to 1: update it")

    def test_damage(self):
        """One bit of the last section, or its end missing."""
        self.refused(lambda name, body: body[:-40] + bytes([body[-40] ^ 4]) + body[-39:] if name == "STATE" else body,
                     "a section's checksum is wrong")
        self.refused(lambda name, body: body[:-9] if name == "STATE" else body, "a section is cut off")

    def test_impossible_value(self):
        def impossible(sections):
            for section in sections:
                if section.name == "cpu":
                    section.set_numbers(9, 8, [0x80000000])  # CR0: paging without protection
            return sections

        self.refused(of_state(impossible), "CR0 is 0x80000000, which has paging without protection")

    def test_other_host(self):
        """A guest from a processor of AMD's that has PKRU where those do."""
        def of_amd(description):
            for entry in description["cpuid"]:
                if entry[:2] == [0xd, 9]:
                    entry[4] = PKRU
                elif entry[:2] == [0xd, 0]:
                    entry[4] = entry[5] = PKRU + 8

        def moved(sections):
            for section in sections:
                if section.name == "machine":
                    section.set_numbers(6, 2, section.numbers(6)[:9] + [PKRU])
            return sections

        describe, state = of_description(of_amd), of_state(moved)
        target = self.goes(lambda name, body: state(name, describe(name, body)), guest="cpuid")[1]
        self.assertEqual(leaf_of(target, 0xd, 9)[1], PKRU)

    def test_damaged_description(self):
        def place_of_pkru(description):
            for entry in description["cpuid"]:
                if entry[:2] == [0xd, 9]:
                    entry[4] = 600

        self.refused_in_setup([
            (of_description(place_of_pkru), "description of its CPU can't be right: XSAVE components 2 and 9 can't both be at byte 600"),
            (of_description(lambda d: d["cpuid"].clear()), "description of its CPU has 0 entries"),
            (of_description(lambda d: d.update(cpuid=d["cpuid"] * 9)), "description of its CPU has [0-9]{3} entries"),
            (of_description(lambda d: d.update(cpuid=[1, 2, 3])), "description of its CPU is damaged in entry 1"),
            (of_description(lambda d: d["cpuid"][1].__setitem__(3, 1 << 40)), "description of its CPU is damaged in entry 2"),
            (of_description(lambda d: d["cpuid"][2].__setitem__(3, -1)), "description of its CPU is damaged in entry 3"),
            (of_description(lambda d: d.update({"tsc-khz": 0})), "does not tell its TSC frequency"),
            (of_description(lambda d: d.update({"tsc-khz": 1 << 33})), "does not tell its TSC frequency"),
            (of_description(lambda d: d.update({"tsc-khz": "fast"})), "does not tell its TSC frequency"),
            (of_description(lambda d: d.update({"tsc-khz": 50000})), "runs at 50000 kHz, which none does")])

    def test_other_time_of_day(self):
        """However far apart the hosts' are said to be."""
        for clock in -(1 << 63), (1 << 63) - 1:
            with self.subTest(clock=clock):
                self.end(self.goes(of_description(lambda d, clock=clock: d.update(clock=clock))))

    def test_word_size(self):
        """A 64-bit guest stays with CPUs that have long mode; one that never went there goes to either."""
        def long_mode(description):
            self.assertIs(description["long-mode"], False)
            description["long-mode"] = True

        options = {"source_options": ("--cpu", "x86-64-v1"), "target_options": ("--cpu", "x86-64-v1,-lm,-syscall")}
        self.refused_in_setup([(of_description(long_mode), r"guest runs in 64-bit mode, and the destination's CPU \"Ferry virtual CPU "
                                r"x86-64-v1\" has no long mode .* which the source's")], **options)
        self.end(self.goes(None, **options))

    def test_other_vendor(self):
        self.refused_in_setup([(None, r"\"Ferry virtual CPU x86-64-v2\" is of vendor GenuineIntel and the destination's .* of AuthenticAMD")],
                              source_options=("--cpu", "x86-64-v2,vendor=GenuineIntel"), target_options=("--cpu", "x86-64-v2"))


main()
