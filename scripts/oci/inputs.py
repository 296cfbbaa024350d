"""What images are made of: the programs, the filter's module and Envoy, where the build and the set-up have left them."""

import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import debian
from .failure import Failure

# By the machine's name: what the image specification calls it, and what Rust does.
MACHINES = {"x86_64": ("amd64", "x86_64-unknown-linux-gnu"), "aarch64": ("arm64", "aarch64-unknown-linux-gnu")}


@dataclass(frozen=True)
class Inputs:
    """Everything that is found once, before anything is written."""

    root: Path
    programs: Path
    filter_module: Path
    envoy: Path
    # Seconds since 1970 that everything in the images says.
    epoch: int

    @classmethod
    def find(cls, root, environment=os.environ):
        def path(name, default):
            return Path(environment.get(name) or default).resolve()
        epoch = environment.get("SOURCE_DATE_EPOCH") or "0"
        if not epoch.isdigit():
            raise Failure(f"SOURCE_DATE_EPOCH is '{epoch}' and no number of seconds")
        wheel = next(root.glob(".kt/venv/lib/python*/site-packages/envoy/_bin/envoy"), None)
        envoy = environment.get("KT_ENVOY") or wheel or shutil.which("envoy")
        if not envoy:
            raise Failure("there is no Envoy: `make setup` puts one into .kt/venv; or set KT_ENVOY")
        found = cls(
            root=root,
            programs=path("KT_BIN_DIR", root / "target/release"),
            filter_module=path("KT_FILTER", root / "target/wasm32-unknown-unknown/wasm/kt_filter.wasm"),
            envoy=Path(envoy).resolve(),
            epoch=int(epoch),
        )
        for needed, how in [
            (found.program("kt"), "make build"), (found.program("sidecar-cache"), "make build"),
            (found.program("fake-provider"), "make build"), (found.filter_module, "make wasm"),
            (found.envoy, "make setup"),
        ]:
            if not needed.is_file():
                raise Failure(f"there is no {needed}: `{how}` first")
        return found

    def program(self, name):
        return self.programs / name

    @property
    def architecture(self):
        return self._machine()[0]

    @property
    def rust_target(self):
        return self._machine()[1]

    def _machine(self):
        machine = platform.machine()
        if machine not in MACHINES:
            raise Failure(f"images are made for {' and '.join(MACHINES)}, and this is a {machine}")
        return MACHINES[machine]

    @property
    def version(self):
        """The workspace's version."""
        manifest = (self.root / "Cargo.toml").read_text()
        section = manifest.split("[workspace.package]", 1)[-1].split("\n[", 1)[0]
        return re.search(r'^version = "(.*)"$', section, re.MULTILINE)[1]

    @property
    def envoy_version(self):
        said = debian.run(str(self.envoy), "--version")
        match = re.search(r"version: \w+/([^/]+)/", said)
        if not match:
            raise Failure(f"{self.envoy} does not say which version of Envoy it is: {said.strip()}")
        return match[1]
