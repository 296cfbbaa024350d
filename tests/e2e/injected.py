"""Pods that the injection template has made, each an Envoy with a sidecar of its own, over one Redis and one Postgres.

The configuration is the one that is committed beside the manifests, asking a provider of the test's. What a container sees
where, its pod says: a path of a volume that the pod does not mount there leads to nothing.
"""

import tempfile
from pathlib import Path

from database import Database
from fleet import Fleet
from group import ADMIT_TIMEOUT_MS, UPSTREAM_KEY, Provider, Sidecar, merged
from mesh import ISTIO, MeshGateway, TlsFront, documents, generate, istio_bootstrap, istio_listener, moved, write_credentials
from pods import container, injected
from processes import Process, binary_dir, free_port
from servers import Redis
from test_mesh_manifests import gateway_pod, sample


class PodSidecar(Sidecar):
    """The container `sidecar-cache`, as its pod says."""

    def __init__(self, arguments, places, folder):
        self.folder, self.port = folder, free_port()
        argv = moved(arguments, {**places, "0.0.0.0:41010": f"127.0.0.1:{self.port}"})
        self.socket = Path(next(it for it in argv if it.startswith("--socket=")).removeprefix("--socket="))
        self.process = Process("sidecar-cache", [binary_dir() / "sidecar-cache", *argv], folder / "sidecar-cache.log")


class Pod:
    """An injected pod: its processes, and where its volumes are on this machine."""

    def __init__(self, name, pod, mesh):
        self._pod, folder = injected(pod), mesh.folder / name
        self._volumes = {"kt-run": folder / "run", "kt-data": folder / "data", "kt-policy-config": mesh.folder,
                         "kt-credentials": mesh.folder / "credentials"}
        for volume in ("kt-run", "kt-data"):
            self._volumes[volume].mkdir(parents=True)
        self.sidecar = PodSidecar(container(self._pod, "sidecar-cache")["args"], self._places("sidecar-cache"), folder)
        self.gateway = self._gateway(folder, mesh)

    def _places(self, name):
        """Where what a container mounts is here."""
        return {it["mountPath"]: self._volumes[it["name"]] for it in container(self._pod, name)["volumeMounts"]
                if it["name"] in self._volumes}

    def _gateway(self, folder, mesh):
        """The pod's Envoy, by the EnvoyFilter that chooses pods of its label; with a port that no other pod has here."""
        port, manifests, kind = free_port(), folder / "manifests", self._pod["metadata"]["labels"]["kt/proxy"]
        generate(mesh.config_path, manifests, "--port", str(port))
        (override,) = documents(manifests / "istio/bootstrap.yaml")
        places = {**self._places("istio-proxy"), "/etc/ssl/certs/ca-certificates.crt": mesh.tls.certificate}
        context, listeners = ("GATEWAY", [istio_listener(port)]) if kind == "gateway" else ("SIDECAR_OUTBOUND", [])
        config = istio_bootstrap(
            f"kt-{kind}", folder, manifests / f"istio/envoyfilter-{kind}.yaml", context, places, listeners)
        return MeshGateway(folder.name, folder, port, config, override["data"]["custom_bootstrap.json"])


class InjectedMesh(Fleet):
    """A standalone gateway and two applications, which have one EnvoyFilter and so one gateway's id."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="kt-e2e-"))
        self.config_path = self.folder / "policy-config.yaml"
        self.provider = Provider(self.folder)
        self.tls = TlsFront(self.folder, self.provider.port)
        self.redis, self.database, self.database_proxy = Redis(self.folder), Database(), None
        (config,) = documents(ISTIO / "policy-config.yaml")
        for target in config["providers"]["targets"]:
            target["base_url"] = f"https://localhost:{self.tls.port}"
        self.config = merged(config, {"gateway": {"admit_timeout_ms": ADMIT_TIMEOUT_MS}})
        self.write_config(self.config)
        write_credentials(self.folder / "credentials", UPSTREAM_KEY)
        self.pods = [Pod(name, pod, self) for name, pod in (
            ("kt-gateway-0", gateway_pod()), ("agent-0", sample()), ("agent-1", sample()))]
        self.sidecars = [pod.sidecar for pod in self.pods]
        self.gateways = [pod.gateway for pod in self.pods]
        self.sidecar = self.sidecars[0]

    def environment(self, sidecar):
        """What is in the Secret of stores, by its names in the example."""
        (secret,) = [it for it in documents(ISTIO / "secrets-example.yaml") if it["metadata"]["name"] == "kt-stores"]
        stores = super().environment(sidecar)
        return {name: stores[name] for name in secret["stringData"]}

    def mend(self):
        super().mend()
        for gateway in self.gateways:
            if not gateway.process.is_alive():
                gateway.restart()

    def __exit__(self, *why):
        super().__exit__(*why)
        self.tls.close()
