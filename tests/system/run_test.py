#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ferry run with tiny guests: serial port, power-off, reset, crash, exit port, signals, terminal."""
import os
import pty
import signal
import subprocess
import termios
import time

from system import ENGINES, FERRY, GUESTS, SystemTest, ferry, main


class Run(SystemTest):
    def each_engine(self):
        for engine in ENGINES:
            with self.subTest(engine=engine):
                yield engine

    def test_power_off(self):
        for engine in self.each_engine():
            code, console = self.run_vm("hello", engine=engine)
            self.assertEqual((code, self.text(console), console.errors), (0, "hi", b""))

    def test_several_cpus(self):
        for engine in self.each_engine():
            code, console = self.run_vm("hello", "--cpus", "4", engine=engine)
            self.assertEqual((code, self.text(console)), (0, "hi"))

    def test_crash_prints_the_state(self):
        for engine in self.each_engine():
            code, console = self.run_vm("crash", engine=engine)
            errors = console.errors.decode()
            self.assertEqual(code, 3, errors)
            self.assertIn("triple fault", errors)
            self.assertIn("12345678", errors)

    def test_unmasked_simd_exception(self):
        """The host's SIGFPE behind a guest's #XM, in a thread that may not ask for signals any more."""
        self.assertEqual(self.run_vm("simd", "--testdev", engine="dbt")[0], 15)

    def test_exit_port(self):
        for engine in self.each_engine():
            self.assertEqual(self.run_vm("exit", "--testdev", engine=engine)[0], 43)

    def test_reset(self):
        for engine in self.each_engine():
            code, console = self.run_vm("reset", engine=engine)
            self.assertEqual((code, self.text(console)), (0, "rrr"))

    def test_no_reboot(self):
        for engine in self.each_engine():
            code, console = self.run_vm("reset", "--no-reboot", engine=engine)
            self.assertEqual((code, self.text(console)), (0, "r"))

    def test_serial_file(self):
        log = self.place / "log"
        self.assertEqual(self.run_vm("hello", serial=f"file:{log}")[0], 0)
        self.assertEqual(log.read_bytes(), b"hi\n")

    def test_input(self):
        for engine in self.each_engine():
            with self.vm("echo", engine=engine) as console:
                console.send("HAL")
                time.sleep(0.3)
                console.send("q")
                self.assertEqual(console.finish(), 0)
            self.assertEqual(self.text(console), ">IBM")

    def test_input_from_a_file(self):
        keys = self.place / "keys"
        keys.write_text("HALq")
        with open(keys, "rb") as file:
            done = subprocess.run([FERRY, "run", "--memory", "16M", "--kernel", GUESTS / "echo.elf"], stdin=file,
                                  stdout=subprocess.PIPE, timeout=20, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, b">IBM\n"))

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.vm("idle") as console:
                console.wait_for("up")
                console.process.send_signal(number)
                self.assertEqual(console.finish(), 128 + number)

    def test_help_and_version(self):
        code, out, _ = ferry("run", "--help")
        self.assertEqual(code, 0)
        for option in ("--kernel", "--disk", "--control", "--sandbox"):
            self.assertIn(option, out)
        self.assertEqual(ferry("run", "--version")[0], 0)

    def test_statistics(self):
        code, console = self.run_vm("hello", "--stats")
        self.assertEqual(code, 0)
        self.assertIn(b"start-to-guest-us", console.errors)


class Terminal(SystemTest):
    """With a pseudo-terminal as standard input."""

    def setUp(self):
        super().setUp()
        self.master, self.slave = pty.openpty()
        self.addCleanup(os.close, self.master)
        self.addCleanup(os.close, self.slave)
        self.settings = termios.tcgetattr(self.slave)

    def start(self, guest):
        process = subprocess.Popen([FERRY, "run", "--memory", "16M", "--kernel", GUESTS / f"{guest}.elf"], stdin=self.slave,
                                   stdout=self.slave, stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def read_until(self, mark, limit=10):
        seen, deadline = b"", time.monotonic() + limit
        os.set_blocking(self.master, False)
        while mark not in seen:
            self.assertLess(time.monotonic(), deadline, seen)
            try:
                seen += os.read(self.master, 4096)
            except BlockingIOError:
                time.sleep(0.02)
        return seen

    def assert_restored(self):
        self.assertEqual(termios.tcgetattr(self.slave), self.settings)

    def test_escape_ends_the_vm(self):
        process = self.start("echo")
        self.read_until(b">")
        self.assertNotEqual(termios.tcgetattr(self.slave)[3], self.settings[3])
        os.write(self.master, b"\x03\x01h")
        self.read_until(b"Ctrl-A x")
        self.assertIsNone(process.poll())
        os.write(self.master, b"\x01x")
        self.assertEqual(process.wait(10), 0)
        self.assert_restored()

    def test_restored_after_signals_and_crashes(self):
        for number in (signal.SIGTERM, signal.SIGSEGV):
            process = self.start("echo")
            self.read_until(b">")
            process.send_signal(number)
            code = process.wait(10)
            self.assertEqual(code, 128 + number if number == signal.SIGTERM else -number)
            self.assert_restored()

    def test_restored_after_power_off_and_bad_input(self):
        process = self.start("hello")
        self.assertEqual(process.wait(10), 0)
        self.assert_restored()
        process = self.start("nonexistent")
        self.assertEqual(process.wait(10), 2)
        self.assert_restored()


main()
