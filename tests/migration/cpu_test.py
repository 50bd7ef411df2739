#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The CPU that a guest sees is the same before and after a migration, whatever runs it."""
from migration import ENGINES, MigrationTest, main, wait_over, wait_status

# Some hosts' KVM merges bits of the host's own CPU into these leaves of what it was told.
MERGED = ("00000001", "00000007", "0000000d")


def parse(lines):
    """(leaf, subleaf) -> registers; the APIC ID and so on are those of CPU 0."""
    words = [line.split() for line in lines]
    return {(leaf, subleaf): tuple(int(value, 16) for value in values) for leaf, subleaf, *values in words}


class Cpu(MigrationTest):
    def read(self, console, after=0):
        """CPUID as the guest printed it behind that many lines."""
        console.wait_for("end", after)
        texts = [text for _, text in console.lines[after:]]
        return parse(texts[:texts.index("end")])

    def move(self, engines, model, target_model=None):
        """CPUID before and after."""
        source, target, out, into = self.pair(f"unix:{self.place}/m{engines}", engines=engines, source_options=("--cpu", model),
                                              target_options=("--cpu", target_model or model), guest="cpuid")
        before = self.read(source)
        out.call("migrate", uri=f"unix:{self.place}/m{engines}")
        self.assertEqual(wait_over(out)["status"], "completed", out.call("query-migrate"))
        wait_status(into, "running")
        target.send(".")
        after = self.read(target)
        for name, qmp, console in (("source", out, source), ("target", into, target)):
            qmp.call("quit")
            self.assertEqual(console.finish(), 0)
            (self.place / name).unlink(missing_ok=True)
        return before, after

    def test_same_engine(self):
        for engine in ENGINES:
            for model in ("x86-64-v1", "max", "host"):
                with self.subTest(engine=engine, model=model):
                    before, after = self.move((engine, engine), model)
                    self.assertEqual(before, after)

    def test_tsc_frequency(self):
        """It is the VM's, wherever it goes."""
        for hz in 1817295000, 3999999000:
            before, after = self.move(("dbt", "dbt"), f"x86-64-v1,vendor=GenuineIntel,tsc-frequency={hz}", "x86-64-v1,vendor=GenuineIntel")
            self.assertEqual(before, after)
            self.assertEqual(after["40000010", "00000000"][0], hz // 1000)
            denominator, numerator, crystal, _ = after["00000015", "00000000"]
            self.assertLessEqual(abs(crystal * numerator // denominator - hz), hz // 1000000)

    def test_other_engine(self):
        if len(ENGINES) < 2:
            self.skipTest("one engine only")
        for engines in (ENGINES, ENGINES[::-1]):
            with self.subTest(engines=engines):
                before, after = self.move(tuple(engines), "x86-64-v1")
                own = before if engines[0] == "dbt" else after
                other = after if engines[0] == "dbt" else before
                self.assertEqual(own.keys(), other.keys())
                for (leaf, subleaf), values in own.items():
                    for register, value in enumerate(values):
                        seen = other[leaf, subleaf][register]
                        if leaf in MERGED:
                            value, seen = value & ~seen, 0
                        self.assertEqual(value, seen, (leaf, subleaf, register))


if __name__ == "__main__":
    main()
