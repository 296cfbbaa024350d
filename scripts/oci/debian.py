"""What an image takes from this machine's Debian: shared libraries and certificates, as their packages have them."""

import functools
import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .failure import Failure


@dataclass(frozen=True, order=True)
class Package:
    """An installed package."""

    name: str
    version: str
    architecture: str

    @property
    def purl(self):
        """Its name for whoever looks for known weaknesses."""
        release = os_release()
        version = self.version.replace(":", "%3A").replace("+", "%2B")
        return (f"pkg:deb/{release['ID']}/{self.name}@{version}?arch={self.architecture}"
                f"&distro={release['ID']}-{release['VERSION_ID']}")

    def stanza(self):
        """What dpkg says of it; scanners look for that under /var/lib/dpkg/status.d."""
        return run("dpkg-query", "--status", f"{self.name}:{self.architecture}")

    def copyright(self):
        return (Path("/usr/share/doc") / self.name / "copyright").resolve()


def os_release():
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        lines = []
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: value.strip('"') for name, value in found.items()}


def need():
    """Fails where this is no Debian, or one of those from before /lib was a link."""
    if not Path("/var/lib/dpkg/info").is_dir():
        raise Failure("images are built of Debian's packages, and this is no Debian: take the Containerfiles in deploy/")
    if not Path("/lib").is_symlink():
        raise Failure("/lib is no link to usr/lib: Debian 12 or newer is needed")


def libraries(programs):
    """The shared libraries of programs: files of this machine, and the links by which they are found."""
    files, links = set(), {}
    for program in programs:
        said = run("ldd", str(program))
        for name in re.findall(r"(/\S+) \(0x", said):
            real = Path(name).resolve()
            files.add(real)
            place = Path(name).parent.resolve() / Path(name).name
            if place != real:
                # The loader's own link is absolute; all others are in the folder of what they name.
                links[str(place)] = os.path.relpath(real, place.parent)
        missing = re.findall(r"(\S+) => not found", said)
        if missing:
            raise Failure(f"{program} needs {', '.join(missing)}, which this machine has not")
    return sorted(files), links


def packages_of(paths):
    """The packages that files belong to, by file; each file is found to be as its package has it."""
    # dpkg knows a file by the name it was unpacked under, which may be from before /lib was a link.
    names = {name: path for path in paths for name in (str(path).removeprefix("/usr"), str(path))}
    said = subprocess.run(["dpkg-query", "--search", *names], capture_output=True, text=True).stdout
    found = {}
    for line in said.splitlines():
        owner, _, name = line.rpartition(": ")
        if name in names:
            package = installed(owner.split(",")[0])
            check(package, names[name], name)
            found[names[name]] = package
    for path in paths:
        if path not in found:
            raise Failure(f"{path} belongs to no Debian package: what is not from there has no place in an image")
    return found


@functools.cache
def installed(name):
    """An installed package by its name."""
    shown = subprocess.run(["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}", name],
                           capture_output=True, text=True)
    if shown.returncode:
        raise Failure(f"the package {name} is missing: apt-get install {name}")
    return Package(*shown.stdout.split())


def check(package, path, name):
    """A file that was changed since its package was installed is not what the bill of materials would say."""
    expected = sums(package).get(name)
    # Not a matter of security here, where root could change the list as well: of mistakes.
    if expected != hashlib.md5(path.read_bytes()).hexdigest():
        raise Failure(f"{path} is not as {package.name} {package.version} has it: "
                      f"apt-get install --reinstall {package.name}")


@functools.cache
def sums(package):
    """The digests that dpkg has of a package's files, by path."""
    lists = [Path(f"/var/lib/dpkg/info/{package.name}{suffix}.md5sums") for suffix in (f":{package.architecture}", "")]
    known = next((file.read_text() for file in lists if file.is_file()), "")
    return {f"/{file}": digest for digest, file in (line.split("  ", 1) for line in known.splitlines())}


def certificates():
    """The authorities of Debian's package, and not those that somebody has added to this machine."""
    folder = Path("/usr/share/ca-certificates/mozilla")
    package = installed("ca-certificates")
    texts = []
    for path in sorted(folder.glob("*.crt")):
        check(package, path, str(path))
        texts.append(path.read_text().rstrip("\n") + "\n")
    if not texts:
        raise Failure("ca-certificates has no certificates: apt-get install --reinstall ca-certificates")
    return package, "".join(texts)


def run(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    except OSError as error:
        raise Failure(f"cannot run {command[0]}: {error}") from error
    if done.returncode:
        raise Failure(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
