"""The sidecar's container, in whatever puts it into a pod: the chart, Istio's injector, Envoy Gateway. What a kubelet does to
it is measured against what the program says it may take, in its own sources."""

import re

import pytest

from chart import Rendered, containers, example, merged
from mesh import ENVOY_GATEWAY, ISTIO, documents
from pods import container, injected
from processes import ROOT

SOURCES = ROOT / "sidecar-cache/src"
SECOND_MS = 1_000
MIB = 1 << 20


def of_the_chart():
    [workload] = Rendered(example("hosted")).workloads()
    return containers(workload["spec"]["template"]["spec"])["sidecar-cache"]


def of_envoy_gateway_s():
    """What Envoy Gateway's own Deployment is patched with."""
    [proxy] = [it for it in documents(ENVOY_GATEWAY / "gateway.yaml") if it["kind"] == "EnvoyProxy"]
    return proxy["spec"]["provider"]["kubernetes"]["envoyDeployment"]["patch"]["value"]["spec"]


def of_istio(**annotations):
    [pod] = documents(ISTIO / "sample-pod.yaml")
    pod["metadata"]["annotations"] |= annotations
    return container(injected(pod, has_own_probes=True), "sidecar-cache")


def of_envoy_gateway():
    return container(of_envoy_gateway_s()["template"], "sidecar-cache")


EVERYWHERE = pytest.mark.parametrize("sidecar", [of_the_chart, of_istio, of_envoy_gateway])


def duration_ms(file, name):
    """A constant of the program's."""
    text = (SOURCES / file).read_text()
    seconds = re.search(rf"const {name}: Duration = Duration::from_secs\((\d[\d_]*)\);", text)
    if seconds:
        return int(seconds[1]) * SECOND_MS
    return int(re.search(rf"const {name}: u64 = (\d[\d_]*);", text)[1])


@EVERYWHERE
def test_a_kubelet_waits_as_long_as_the_first_audit_may_take(sidecar):
    # /health says 503 until then. Another sidecar may have the turn, and lose it with its pod just before it is through: what it
    # has counted is lost, and the rest of its turn is waited for.
    audit = duration_ms("store/postgres/database.rs", "LONG_MAX")
    turn = duration_ms("store/postgres/ledger/turns.rs", "TURN_MS")
    rest_ms = 60 * SECOND_MS
    probe = sidecar()["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] * SECOND_MS >= 2 * audit + turn + rest_ms


def test_a_kubelet_waits_longer_where_the_values_say_so():
    values = {**example("hosted"), "sidecar": {"startupSeconds": 3600}}
    [workload] = Rendered(values).workloads()
    probe = containers(workload["spec"]["template"]["spec"])["sidecar-cache"]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 3600


def bytes_of(quantity):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) * {"Mi": MIB, "Gi": 1 << 30}[unit]


@EVERYWHERE
def test_the_limit_on_memory_bears_what_a_configuration_that_says_nothing_lets_the_sidecar_have(sidecar):
    text = (ROOT / "contract/src/config/cache.rs").read_text()
    bounds = {name: re.search(rf"const {name}: Bounds<u64> =\s+Bounds {{.*default: (\d+) << 20 }};", text)[1]
              for name in ("MEMORY_BYTES", "BODIES_BYTES", "FLIGHT_BYTES")}
    # And some 50 MiB, as docs/operations/sizing.md has it.
    needed = (sum(map(int, bounds.values())) + 50) * MIB
    assert bytes_of(sidecar()["resources"]["limits"]["memory"]) >= needed


def test_a_pod_of_a_mesh_says_another_limit_where_its_configuration_does():
    usual, more = of_istio(), of_istio(**{"kt/memory-limit": "4Gi"})
    assert more["resources"]["limits"] == {"memory": "4Gi"} and more["resources"]["requests"] == usual["resources"]["requests"]


@EVERYWHERE
def test_one_that_answers_nothing_is_started_again_and_one_that_drains_is_not(sidecar):
    # A kernel takes connections for a process that stands still; /health says 503 while it drains, and /metrics does not.
    probe = sidecar()["livenessProbe"]
    assert probe["httpGet"]["path"] == "/metrics" and probe["httpGet"]["port"] == sidecar()["startupProbe"]["httpGet"]["port"]
    # A busy one is not taken for one that hangs.
    assert probe["timeoutSeconds"] >= 5 and probe["periodSeconds"] * probe["failureThreshold"] >= 60


def deployments_of_the_chart(**values):
    return [it["spec"] for it in Rendered(merged(example("hybrid"), values)).of("Deployment")]


def deployments_of_istio():
    for it in documents(ISTIO / "gateway.yaml"):
        if it["kind"] == "Deployment":
            yield {**it["spec"], "template": injected(it["spec"]["template"])}


DEPLOYMENTS = {
    "chart": (2, deployments_of_the_chart),
    "chart, which waits longer": (2, lambda: deployments_of_the_chart(sidecar={"startupSeconds": 7200})),
    "istio": (1, deployments_of_istio),
    "envoy-gateway": (1, lambda: [of_envoy_gateway_s()]),
}


@pytest.mark.parametrize("where", DEPLOYMENTS)
def test_a_rollout_is_not_given_up_while_a_sidecar_may_still_start(where):
    count, deployments = DEPLOYMENTS[where]
    found = list(deployments())
    assert len(found) == count
    for spec in found:
        pod = spec["template"]["spec"]
        probes = [it["startupProbe"] for it in (*pod.get("initContainers", []), *pod["containers"]) if "startupProbe" in it]
        start_s = sum(probe["periodSeconds"] * probe["failureThreshold"] for probe in probes)
        # Kubernetes' own word is ten minutes. A node, an image and Envoy want some as well.
        assert spec.get("progressDeadlineSeconds", 600) >= start_s + 180
