# SPDX-License-Identifier: GPL-2.0-or-later
"""The loads of tools/bench and tools/soak: what they are, the root directory that they run in, and how they run on the bare machine."""
import dataclasses
import io
import os
import subprocess
import tarfile

from console import BUILD, ROOT, Failure, guest

SOURCES = ROOT / "tests/bench"


@dataclasses.dataclass
class Load:
    title: str       # with {} for the count
    count: int
    tools: tuple     # of tools/guest
    goal: float = 0  # at most this share of TCG's time; 0: none
    native: bool = True
    scaled: bool = True


LOADS = {
    "shell": Load("shell loop, {} turns", 300000, (), 0.2),
    "perl": Load("perl loop, {} turns", 600000, ("perl",), 0.3),
    "awk": Load("awk loop, {} turns", 600000, ("awk",), 0.3),
    "gzip": Load("gzip -6 of {} KiB", 32768, ("gzip",), 0.5),
    "xz": Load("xz -1 of {} KiB", 32768, ("xz",), 0.5),
    "sort": Load("qsort of {} 000 numbers", 1000, ()),
    "sha256": Load("SHA-256 of {} MiB", 256, ("openssl",), 0.1),
    "aes": Load("AES-128-CTR of {} MiB", 512, ("openssl",), 0.1),
    "matrix": Load("{} matrix products, 192 x 192 doubles", 60, (), 0.1),
    "stress-matrix": Load("stress-ng --matrix, {} operations", 200, ("stress-ng",), 0.1),
    "bodies": Load("five bodies, {} steps", 1000000, (), 0.1),
    "x87": Load("x87, {} 000 divisions", 10000, (), 0.1),
    "fork-exec": Load("{} x fork + exec", 300, (), 0.6),
    "syscalls": Load("{} system calls", 500000, (), 0.6),
    "pingpong": Load("{} x pipe there and back, two processes", 20000, (), 0.6),
    "compile": Load("C compiler (cc1 -O2), {} x one file", 2, ("cc1",), 0.4),
    "tcc": Load("C compiler (tcc), {} x one file", 100, ("tcc",), 0.4),
    "disk-read": Load("disk read, direct, {} x 64 KiB", 256, (), native=False, scaled=False),
    "disk-write": Load("disk write, direct, and flush, {} x 64 KiB", 256, (), native=False, scaled=False),
    "network": Load("HTTP fetch of 4 MiB", 0, (), native=False, scaled=False),
}


# The root directory of the loads: programs from packages and our own

def compiled(place, name, *arguments):
    """Path of a program of ours, made again when its source is newer."""
    source, program = SOURCES / f"{name}.c", place / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        done = subprocess.run(["gcc", "-std=gnu17", "-O2", "-o", program, source, *arguments, "-lm"], stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise Failure(f"gcc could not make {program}:\n{done.stderr.decode(errors='replace')}")
    return program


def our_files(names, place):
    yield "bin/stopwatch", compiled(place, "stopwatch", "-static").read_bytes()
    yield "bin/work", compiled(place, "work", "-static").read_bytes()
    for name in ("guest-run", "guest-soak"):
        yield name, (SOURCES / name).read_bytes()
    if {"sha256", "aes"} & set(names):
        archive, = guest("tools/openssl.tar")
        library = place / "libcrypto.so.3"
        with tarfile.open(archive) as tar:
            library.write_bytes(tar.extractfile("lib/x86_64-linux-gnu/libcrypto.so.3").read())
        yield "bin/crypto", compiled(place, "crypto", library).read_bytes()
    if "compile" in names:
        source = b"".join((SOURCES / f"{name}.c").read_bytes().replace(b"int main(", b"int main_%s(" % name.encode())
                          for name in ("work", "crypto"))
        yield "source.i", subprocess.run(["gcc", "-E", "-P", "-O2", "-x", "c", "-"], input=source, stdout=subprocess.PIPE, check=True).stdout
    if "tcc" in names:  # the C library's headers know what it does not have
        yield "source-tcc.i", subprocess.run(["gcc", "-E", "-P", "-U__GNUC__", "-D__TINYC__", SOURCES / "work.c"],
                                             stdout=subprocess.PIPE, check=True).stdout


def root_archive(names, place):
    """A tar of all that the loads of these names need."""
    own = BUILD / "guest" / "bench"
    own.mkdir(parents=True, exist_ok=True)
    files = {}
    for tool in dict.fromkeys(["busybox"] + [tool for name in names for tool in LOADS[name].tools]):
        archive, = guest(f"tools/{tool}.tar")
        with tarfile.open(archive) as tar:
            files.update({member.name: tar.extractfile(member).read() for member in tar})
    files.update(our_files(names, own))
    path = place / "root.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    with path.open("ab") as file:
        file.truncate((path.stat().st_size >> 20 << 20) + (1 << 20))
    return path


def boot_image(place, kernel, command):
    """A lab image that unpacks the root directory from its first disk and runs a shell script of it there."""
    script, image = place / "script", place / "loads.img"
    script.write_text((SOURCES / "guest-start").read_text().replace("@COMMAND@", command))
    guest("--script", str(script), f"{kernel}/lab.img", str(image))
    return image


# The bare machine

NATIVE = r"""
set -e
mount -t tmpfs tmpfs "$1"
tar -x -f "$2" -C "$1"
for directory in proc sys dev; do mkdir "$1/$directory"; mount --rbind /$directory "$1/$directory"; done
directory=$1
shift 2
exec chroot "$directory" /bin/busybox sh /guest-run "$@"
"""


def run_native(place, archive, words):
    """The loads in a root directory of their own, seen by nobody else."""
    directory = place / "native"
    directory.mkdir(exist_ok=True)
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--mount", "--propagation", "private", *user, "sh", "-c", NATIVE, "native", directory, archive, *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise Failure("the loads don't run on this machine itself:\n" + done.stdout.decode(errors="replace"))
    return parse(done.stdout.decode(errors="replace").splitlines())


def parse(lines):
    """Seconds and sums of what the loads printed: NAME:COPIES -> seconds (and NAME:COPIES/cpu), NAME:COPIES -> sum."""
    seconds, sums = {}, {}
    for text in lines:
        words = text.split()
        if len(words) == 5 and words[0] == "bench:" and words[2].isdigit() and words[3].isdigit():
            seconds[words[1]], seconds[words[1] + "/cpu"], sums[words[1]] = int(words[2]) / 1e6, int(words[3]) / 1e6, words[4]
    return seconds, sums


# Tables in docs/performance.md

def into_page(path, tool, text):
    """Puts the text between the marks of that tool on the page."""
    begin, end = f"<!-- written by {tool} -->\n", f"<!-- end of what {tool} wrote -->\n"
    page = path.read_text()
    if begin not in page or end not in page:
        raise Failure(f"{path} has no marks for {tool}: {begin.strip()} and {end.strip()}")
    head, rest = page.split(begin, 1)
    path.write_text(head + begin + text.rstrip() + "\n" + end + rest.split(end, 1)[1])
