# SPDX-License-Identifier: GPL-2.0-or-later
"""What the system tests share: images from tools/guest, one running VM with its serial output, and how a test ends."""
import contextlib
import http.server
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SKIPPED = 77


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(SKIPPED)


def need(condition, text):
    """The test's assertion."""
    if not condition:
        raise AssertionError(text)


def images(*names, script=None, programs=(), directory=None):
    """Paths of images. With a script, the first is a copy in the directory that runs it and has the programs in its /bin."""
    command = [str(ROOT / "tools" / "guest")]
    done = subprocess.run(command + list(names), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        skip(f"no guest images: {done.stderr.strip()}")
    paths = done.stdout.split()
    if script is not None:
        source, paths[0] = directory / "script", str(directory / "initrd.img")
        source.write_text(script)
        added = [word for program in programs for word in ("--add", str(program))]
        subprocess.run(command + ["--script", str(source), *added, names[0], paths[0]], check=True)
    return paths


class Vm:
    """A VM on Ferry, or for comparison on QEMU when the engine is "qemu". Its serial output is collected as text."""

    def __init__(self, ferry, engine, kernel, initrd, append="", cpus=1, memory="512M", disk=None, net=False, control=None,
                 more=(), before=()):
        append = f"console=ttyS0 {append}".strip()
        if engine == "qemu":
            command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-nographic", "-smp", str(cpus),
                       "-m", memory, "-kernel", kernel, "-initrd", initrd, "-append", append]
            command += ["-drive", f"file={disk},if=virtio,format=raw"] if disk else []
            command += ["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n"] if net else ["-net", "none"]
            command += ["-qmp", f"unix:{control},server=on,wait=off"] if control else []
        else:
            command = [ferry, "run", "--engine", engine, "--cpus", str(cpus), "--memory", memory, "--kernel", kernel,
                       "--initrd", initrd, "--append", append]
            command += ["--disk", str(disk)] if disk else []
            command += ["--net", "user" if net else "none"]
            command += ["--control", str(control)] if control else []
            command = [*before, *command, *more]
        self.begin = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.text = ""
        self.changed = threading.Condition()
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while piece := os.read(self.process.stdout.fileno(), 65536):
            with self.changed:
                self.text += piece.decode(errors="replace").replace("\r", "")
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def seconds(self):
        return time.monotonic() - self.begin

    def wait_text(self, pattern, limit, count=1):
        """The match number `count` of the pattern in whole lines of the output; fails when it does not come in `limit` seconds."""
        deadline = time.monotonic() + limit

        def found():
            text = self.text if self.ended else self.text[:self.text.rfind("\n") + 1]
            return (list(re.finditer(pattern, text, re.M)) + [None] * count)[count - 1]

        with self.changed:
            while (match := found()) is None and not self.ended and time.monotonic() < deadline:
                self.changed.wait(deadline - time.monotonic())
        need(match is not None, f"\"{pattern}\" did not come" + (": the VM ended" if self.ended else f" in {limit} s"))
        return match

    def wait_end(self, limit):
        """The exit code."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the VM did not end in {limit} s") from None

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Page(http.server.BaseHTTPRequestHandler):
    content = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def web_server(content):
    """Serves the bytes to every GET on 127.0.0.1; gives the port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("OnePage", (Page,), {"content": content}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def run(test, options):
    """Calls test(options, directory, start): start(**arguments) gives a Vm. Prints the guest's last lines when it fails."""
    vms = []

    def start(**arguments):
        vms.append(Vm(options.ferry, options.engine, **arguments))
        return vms[-1]

    with tempfile.TemporaryDirectory(prefix="ferry-system-") as directory:
        try:
            test(options, pathlib.Path(directory), start)
        except AssertionError as failure:
            for vm in vms:
                print("\n".join(vm.text.splitlines()[-40:]))
            print(f"FAILED: {failure}")
            return 1
        finally:
            for vm in vms:
                vm.stop()
    return 0


def add_options(parser):
    parser.add_argument("--ferry", default=str(pathlib.Path(os.environ.get("FERRY_BUILD", ROOT / "build")) / "ferry"))
    parser.add_argument("--engine", default="dbt", help="auto, kvm, dbt, or qemu to see whether the test itself is right")
    parser.add_argument("--limit", type=float, default=300, help="seconds until the guest must be up")
