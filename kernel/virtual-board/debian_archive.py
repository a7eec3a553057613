# SPDX-License-Identifier: MIT
"""Packages of Debian's archive for other releases and architectures than this machine's.

apt does the work, with a state of its own in a folder of ours: it checks the index against the
archive's signature and each package against the index. Nothing is installed, and the machine's own
apt is left alone.
"""
import os
import pathlib
import re
import shutil
import subprocess
import time

MIRROR = os.environ.get("ROSENBLATT_DEBIAN_MIRROR", "http://deb.debian.org/debian")
SUITES = "trixie trixie-backports"  # the kernels are in the second, what else is needed in the first
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
A_DAY = 24 * 3600


class Unavailable(Exception):
    """Something that the archive would have could not be had; the text names it and says why."""


def host_architecture():
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True,
                          text=True).stdout.strip()


def _proxies():
    """What the machine's own apt says of how to reach archives: that, and no hooks of others."""
    dump = subprocess.run(["apt-config", "dump", "--no-empty", "--format", '%F "%v";%n', "Acquire"],
                          capture_output=True, text=True, check=False).stdout
    wanted = re.compile(r"Acquire::(https?|Retries\b).*", re.I)
    return "".join(line + "\n" for line in dump.splitlines() if wanted.match(line))


class Archive:
    """A view of the archive whose index lies in `folder`/apt. `offline`: what is there must do."""

    def __init__(self, folder, offline=False, say=print):
        if shutil.which("apt-get") is None:
            raise Unavailable("there is no apt-get here, which fetches Debian's packages")
        self.root = pathlib.Path(folder).resolve() / "apt"
        self.offline, self.say = offline, say
        for name in ("etc/apt", "state/lists/partial", "cache/archives/partial", "log"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        host = host_architecture()
        architectures = ["arm64"] + ([host] if host != "arm64" else [])
        (self.root / "etc/apt/sources.sources").write_text(
            f"Types: deb\nURIs: {MIRROR}\nSuites: {SUITES}\nComponents: main\n"
            f"Architectures: {' '.join(architectures)}\nSigned-By: {KEYRING}\n")
        known = "".join(f'APT::Architectures:: "{a}";\n' for a in architectures)
        self.config = self.root / "apt.conf"
        self.config.write_text(
            # Before anything else is read, so that no file below /etc/apt is.
            f'Dir "{self.root}/";\nDir::Etc "etc/apt/";\nDir::Etc::sourcelist "sources.sources";\n'
            f'Dir::State "state/";\nDir::State::status "{self.root}/status";\nDir::Cache "cache/";\n'
            f'Dir::Log "log/";\nAPT::Architecture "arm64";\n#clear APT::Architectures;\n{known}'
            'Acquire::Languages "none";\nAcquire::Retries "2";\nAcquire::http::Timeout "30";\n'
            'APT::Sandbox::User "root";\n' + _proxies())

    def _apt(self, *command, cwd=None):
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False,
                              env={**os.environ, "APT_CONFIG": str(self.config), "LC_ALL": "C"})

    def update(self):
        """The index anew if it is a day old. Without network an older one will do."""
        stamp = self.root / "updated"
        origin = MIRROR + " " + SUITES
        had = stamp.exists() and stamp.read_text() == origin
        if had and (self.offline or time.time() - stamp.stat().st_mtime < A_DAY):
            return
        if self.offline:
            raise Unavailable(f"no index of {MIRROR} ({SUITES}) is in {self.root}")
        self.say(f"Reading the index of {MIRROR} ({SUITES}) ...")
        run = self._apt("apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update")
        if run.returncode == 0:
            stamp.write_text(origin)
        elif had:
            self.say(f"The index could not be read anew ({reason(run)}); going on with an older one.")
        else:
            raise Unavailable(f"the index of {MIRROR} ({SUITES}): {reason(run)}")

    def names(self, pattern):
        """Names of real packages that match a regular expression of apt-cache, sorted."""
        run = self._apt("apt-cache", "search", "--names-only", pattern)
        if run.returncode != 0:
            raise Unavailable(f"apt-cache search {pattern}: {reason(run)}")
        return sorted({line.split(" ", 1)[0] for line in run.stdout.splitlines()})

    def version(self, package):
        """The version of a package that fetch() would bring; empty if there is none."""
        run = self._apt("apt-cache", "policy", package)
        match = re.search(r"Candidate: (?!\(none\))(\S+)", run.stdout)
        return match[1] if match else ""

    def fetch(self, packages, into):
        """Downloads packages ("name" or "name:arch") into a folder; the .deb files, in that order."""
        if self.offline:
            raise Unavailable(f"{' '.join(packages)}: not fetched, since this is to run offline")
        into.mkdir(parents=True, exist_ok=True)
        run = self._apt("apt-get", "-q", "download", *packages, cwd=into)
        found = []
        for package in packages:
            debs = sorted(into.glob(package.split(":", 1)[0] + "_*.deb"))
            if run.returncode != 0 or len(debs) != 1:
                raise Unavailable(f"{package} from {MIRROR}: {reason(run)}")
            found.append(debs[0])
        return found


def reason(run):
    """apt's complaint in one line."""
    said = [line[3:] for line in (run.stderr + run.stdout).splitlines() if line.startswith("E: ")]
    return said[0] if said else f"apt ended with status {run.returncode}"


def unpack(debs, into):
    """The files of packages into a folder. Raises OSError if that fails, as on a full disk."""
    into.mkdir(parents=True, exist_ok=True)
    for deb in debs:
        run = subprocess.run(["dpkg-deb", "-x", deb, into], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise OSError(f"could not unpack {deb.name} into {into}: {run.stderr.strip()}")
