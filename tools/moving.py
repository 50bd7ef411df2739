# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM that is moved from one process to the next again and again, each time another way, while its console is read; for tools/soak."""
import pathlib
import sys
import time

from console import Console, Failure

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "system"))
from system import Qmp  # pylint: disable=wrong-import-position,import-error

OVER = ("completed", "failed", "cancelled", "x-ferry-unsettled", "postcopy-paused")
MIB = 1 << 20


def draw_way(source):
    """Capabilities, parameters and whether post-copy is begun, drawn at random."""
    late = source.random() < 0.2
    capabilities = {"multifd": source.random() < 0.4, "postcopy-ram": late, "xbzrle": source.random() < 0.4}
    compression = source.choice(["none", "none", "zstd", "lz4", "auto"])
    bandwidth = source.choice([0, 0, 512 * MIB, 128 * MIB])
    return capabilities, {"multifd-compression": compression, "max-bandwidth": bandwidth, "downtime-limit": source.choice([300, 50])}, late


class Moving:
    """command: of `ferry run`, without a control socket."""

    def __init__(self, command, place, limit, echo=None):
        self.command, self.place, self.limit, self.echo = command, pathlib.Path(place), limit, echo
        self.moves, self.downtimes = 0, []
        self.worst = {}  # the parts of the longest downtime
        self.console, self.qmp = self._start()

    def _start(self, *more):
        control = self.place / f"control-{self.moves}"
        console = Console([*self.command, "--control", control, *more], self.limit, self.echo)
        try:
            return console, Qmp(control, self.limit).negotiate()
        except OSError:
            console.__exit__()
            raise Failure(f"a VM could not be started:\n{console.errors.decode(errors='replace')}") from None

    def move(self, way):
        """Moves the guest; what it prints meanwhile is read."""
        capabilities, parameters, late = way
        self.moves += 1
        uri = f"unix:{self.place}/move-{self.moves}"
        target, into = self._start("--incoming", uri)
        try:
            self.qmp.call("migrate-set-capabilities",
                          capabilities=[{"capability": name, "state": on} for name, on in capabilities.items()])
            self.qmp.call("migrate-set-parameters", **parameters)
            self.qmp.call("migrate", uri=uri)
            self._wait(late, way)
            self.qmp.call("quit")
            while self.console.step():
                pass
        except (EOFError, OSError, Failure) as failure:
            errors = (self.console.errors + target.errors).decode(errors="replace")
            target.__exit__()
            raise Failure(f"move {self.moves} {way}: {failure}\n{errors}") from None
        if self.console.process.wait(60) != 0:
            raise Failure(f"move {self.moves}: the source ended with exit code {self.console.process.returncode}")
        target.follow(self.console)
        self.close()
        self.console, self.qmp = target, into

    def _wait(self, late, way):
        end = time.monotonic() + self.limit
        while (answer := self.qmp.call("query-migrate"))["status"] not in OVER:
            if late and answer["ram"]["normal"] > 0:
                self.qmp.execute("migrate-start-postcopy")  # may come too late, and is refused then
                late = False
            if time.monotonic() > end:
                raise Failure(f"the migration does not end: {answer}")
            self.console.step(0.01)
        if answer["status"] != "completed":
            raise Failure(f"move {self.moves} {way}: {answer}")
        self.downtimes.append(answer["x-ferry-downtime-us"] / 1000)
        if self.downtimes[-1] == max(self.downtimes):
            self.worst = answer["x-ferry-downtime-parts-us"]

    def close(self):
        self.qmp.__exit__()
        self.console.__exit__()
