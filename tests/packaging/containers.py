"""Runs an image's root filesystem as a container runtime would: its own root, read-only, its user, its mounts.

No daemon: `unshare` gives the mounts a namespace of their own, and the program its root, its folder and its user. Without
being root, `unshare` maps this user, and the program runs as nobody else. The network is this machine's.
"""

import functools
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from oci import unpack
from processes import Process


@functools.cache
def need():
    """What a run needs; a failure that says so where it is missing or forbidden."""
    for program in ("unshare", "mount"):
        if shutil.which(program, path="/usr/bin:/bin") is None:
            pytest.fail(f"{program} is missing (images are run in a root of their own): apt-get install util-linux")
    tried = subprocess.run([*namespace(), "mount", "--bind", "/usr", "/usr"], capture_output=True, text=True, timeout=30)
    if tried.returncode != 0:
        pytest.fail("images are run in a root of their own, and mounting is not allowed here: run the tests as root, or "
                    "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, "
                    "kernel.apparmor_restrict_unprivileged_userns=0); in a container: --cap-add SYS_ADMIN "
                    f"--security-opt apparmor=unconfined. {tried.stderr.strip()}")


def namespace():
    """How to start what mounts: as root a namespace of its own; else one in which this user may."""
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]


class Root:
    """An image that is unpacked, and can be run several times."""

    def __init__(self, image, folder):
        self.config = image.config["config"]
        self.folder = folder
        unpack(image, folder)

    def run(self, name, arguments, mounts, log, env=None, user=None):
        """A container that has been started, with `arguments` behind the image's entrypoint. `mounts` are folders and files of
        this machine by their paths inside; `user` is who runs it in the place of the image's own, as `USER:GROUP`."""
        return self._start(name, [*self.config["Entrypoint"], *arguments], mounts, log, env, user)

    def execute(self, command, mounts, log, env=None, user=None):
        """What a command in a container of its own said, and its exit status."""
        process = self._start(command[0], command, mounts, log, env, user)
        status = process.wait(30)
        return status, log.read_text()

    def _start(self, name, command, mounts, log, env, user):
        need()
        root = str(self.folder)
        own_user = os.geteuid() == 0
        user, group = map(int, (user or self.config["User"]).split(":"))
        # A runtime makes these, and what is mounted, before it closes the root.
        for path, of in {"/proc": "/proc", "/dev": "/dev", **mounts}.items():
            at = Path(f"{root}{path}")
            if Path(of).is_dir():
                at.mkdir(parents=True, exist_ok=True)
            else:
                at.parent.mkdir(parents=True, exist_ok=True)
                at.touch()
        log.touch()
        if own_user:
            # As runc does with a container's output: Envoy opens /dev/stdout anew.
            os.chown(log, user, group)
        script = [
            f"mount --bind {shlex.quote(root)} {shlex.quote(root)}",
            *(f"mount --rbind {path} {shlex.quote(root + path)}" for path in ("/proc", "/dev")),
            *(f"mount --bind {shlex.quote(str(of))} {shlex.quote(root + path)}" for path, of in mounts.items()),
            f"mount -o remount,bind,ro {shlex.quote(root)}",
            "exec env -i " + " ".join(shlex.quote(it) for it in self._env(env)) + " /usr/bin/unshare "
            + shlex.join([f"--root={root}", f"--wd={self.config['WorkingDir']}", *(
                [f"--setgid={group}", f"--setuid={user}"] if own_user else []), "--", *command]),
        ]
        return Process(name, [*namespace(), "sh", "-ec", "\n".join(script)], log).start()

    def _env(self, more):
        return [*self.config["Env"], *(f"{name}={value}" for name, value in (more or {}).items())]


def volume(folder):
    """An empty volume as the kubelet makes one: everybody's."""
    folder.mkdir()
    folder.chmod(0o777)
    return folder
