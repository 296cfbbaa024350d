"""The sidecar's container, in whatever puts it into a pod: the chart, Istio's injector, Envoy Gateway. What a kubelet does to
it is measured against what the program says it may take, in its own sources."""

import re

import pytest

from chart import Rendered, containers, example
from mesh import ENVOY_GATEWAY, ISTIO, documents
from pods import container, injected
from processes import ROOT

SOURCES = ROOT / "sidecar-cache/src"
SECOND_MS = 1_000


def of_the_chart():
    [workload] = Rendered(example("hosted")).workloads()
    return containers(workload["spec"]["template"]["spec"])["sidecar-cache"]


def of_istio():
    [pod] = documents(ISTIO / "sample-pod.yaml")
    return container(injected(pod), "sidecar-cache")


def of_envoy_gateway():
    [proxy] = [it for it in documents(ENVOY_GATEWAY / "gateway.yaml") if it["kind"] == "EnvoyProxy"]
    pod = proxy["spec"]["provider"]["kubernetes"]["envoyDeployment"]["patch"]["value"]["spec"]["template"]
    return container(pod, "sidecar-cache")


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
    # /health is there only behind it. Another sidecar may have the turn, and lose it with its pod.
    audit = duration_ms("store/postgres/database.rs", "LONG_MAX")
    turn = duration_ms("store/postgres/ledger/turns.rs", "TURN_MS")
    rest_ms = 60 * SECOND_MS
    probe = sidecar()["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] * SECOND_MS >= audit + turn + rest_ms


def test_a_kubelet_waits_longer_where_the_values_say_so():
    values = {**example("hosted"), "sidecar": {"startupSeconds": 3600}}
    [workload] = Rendered(values).workloads()
    probe = containers(workload["spec"]["template"]["spec"])["sidecar-cache"]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 3600
