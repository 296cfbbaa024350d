"""The sidecar's image, run as Istio's pods start it: by the injected container's own arguments and mounts, as its user, on a
root that nobody can write to and that has no /tmp of its own."""

import json
import os
import stat

import httpx
import pytest

from containers import volume
from pods import PROXY_UID, container, injected
from processes import ROOT, free_port
from started import configuration, uids
from test_mesh_manifests import gateway_pod, sample


class InjectedSidecar:
    """The container `sidecar-cache` of an injected pod, on a port of its own, which all pods share here."""

    def __init__(self, started, pod, secret):
        self.started, self.port = started, free_port()
        self._container = container(pod, "sidecar-cache")
        confined = self._container["securityContext"]
        self._user = f"{confined['runAsUser']}:{confined['runAsGroup']}"
        text = (ROOT / "envoy/istio/policy-config.yaml").read_text()
        self.volumes = {"kt-run": volume(started.folder / "run"), "kt-data": volume(started.folder / "data"),
                        "kt-policy-config": configuration(started.folder / "config", text, started.provider)}
        self._mounts = {it["mountPath"]: self.volumes[it["name"]] for it in self._container["volumeMounts"]}
        assert confined["readOnlyRootFilesystem"] and "/tmp" not in self._mounts
        self._env = {it["name"]: it["value"] for it in self._container["env"]} | secret

    def start(self):
        arguments = [it.replace("0.0.0.0:41010", f"127.0.0.1:{self.port}") for it in self._container["args"]]
        process = self.started.start("sidecar-cache", arguments, self._mounts, self._env, self._user)
        self.started.wait_for("the sidecar", self.port, process, restarts=3)
        return process

    def execute(self, *command):
        """As `kubectl exec` in the container."""
        return self.started.execute(*command, mounts=self._mounts, env=self._env, image="sidecar-cache", user=self._user)


@pytest.mark.parametrize("uid", [PROXY_UID, 1000650000], ids=["Istio's own user", "one of the namespace's"])
@pytest.mark.parametrize("pod", [sample(), gateway_pod()], ids=["sidecar", "gateway"])
def test_the_sidecar_of_a_mesh_runs_as_the_proxys_user_where_it_can_write_to_its_volumes_alone(
        started, stores, pod, uid):
    sidecar = InjectedSidecar(started, injected(pod, uid=uid), stores)
    sidecar.execute("/usr/bin/sidecar-cache", "migrate", "--policy-config", "/etc/kt/config/policy-config.yaml")
    process = sidecar.start()
    assert json.loads(sidecar.execute("/usr/bin/kt", "key", "create", "--org", "acme", "--json"))["key"]
    assert "# TYPE" in httpx.get(f"http://127.0.0.1:{sidecar.port}/metrics").text
    socket = (sidecar.volumes["kt-run"] / "sidecar.sock").stat()
    assert stat.S_IMODE(socket.st_mode) == 0o600
    if os.geteuid() == 0:
        # Whoever shares its volumes and is not this user speaks as no gateway.
        assert uids(process) == {uid} == {socket.st_uid}
    assert process.terminate() == 0, process.tail()
