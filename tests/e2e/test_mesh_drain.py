"""Pods of a mesh end, and no request is lost: the order of the manifests, played by processes.

The order is read from the injected pod, as a kubelet reads it: preStop hooks at once, then the containers together, then
native sidecars one after the other, the last one first. Istio's agent is played by what it asks its Envoy.
"""

import concurrent.futures
import re
import socket

import httpx
import pytest
import yaml

from answers import assert_hit, assert_miss
from graces import sidecar_s
from group import chat
from mesh import ENVOY_GATEWAY, ISTIO, Mesh, documents
from pods import container, injected, stops
from processes import wait_until
from test_mesh_manifests import gateway_pod, sample

WORDS = 40
LONG_S = 120


@pytest.fixture
def own():
    # A call that nobody waits for any more goes on: it is paid for.
    with Mesh({"workflow_cache": {"complete_on_disconnect": "always"}}) as mesh:
        yield mesh


class Pod:
    """Processes in the place of a pod's containers."""

    def __init__(self, pod, mesh, gateway, ended=lambda: None):
        self._pod, self._mesh, self._gateway, self._end_of_application = pod, mesh, gateway, ended
        self.order = []

    def begin(self):
        """What a kubelet does first: it runs the hooks, and waits for none of the containers."""
        hook = container(self._pod, "istio-proxy").get("lifecycle", {}).get("preStop", {})
        if "exec" in hook:
            assert hook["exec"]["command"][-2:] == ["POST", "drain"]
            self._ask("/drain_listeners?inboundonly&graceful&skip_exit")

    def end(self):
        """Each group after the one before it has ended."""
        for group in stops(self._pod):
            for name in group:
                self.order.append(name)
                {"istio-proxy": self._end_proxy, "sidecar-cache": self._end_sidecar}.get(name, self._end_of_application)()

    def _ask(self, path):
        with self._gateway.admin() as admin:
            admin.post(path).raise_for_status()

    def running(self):
        """The requests that are in the proxy, clients' and the sidecar's; idle connections are none."""
        return sum(count for name, count in self._gateway.envoy_stats().items()
                   if re.fullmatch(r"http\.(?!admin).*\.downstream_rq_active", name))

    def _end_proxy(self):
        if "gateway" in self._pod["metadata"]["annotations"]["inject.istio.io/templates"]:
            # On a gateway the agent drains every listener and waits for terminationDrainDuration, whoever is connected.
            # Here that is as long as what runs takes.
            self._ask("/drain_listeners?graceful")
            wait_until(lambda: self.running() == 0, "the gateway's requests are over", LONG_S)
        else:
            # Beside an application it waits for five seconds; what is not over by now would be over by luck.
            self._ask("/drain_listeners?inboundonly&graceful")
        assert self._gateway.process.terminate(LONG_S) == 0

    def _end_sidecar(self):
        assert self._mesh.sidecar.process.terminate(LONG_S) == 0


def wait_left(mesh):
    """The sidecar knows that a client has left."""
    wait_until(lambda: '"status":"client_left"' in mesh.sidecar.process.log.read_text(), "the client has left", LONG_S)


def test_an_applications_pod_ends_and_every_request_of_it_is_answered(own, crowd, prompt):
    key, gateway = own.key(org="acme"), own.gateways[1]
    body = chat(f"{prompt} [[fake: words={WORDS}, gate=app@event:30]]", stream=True)
    asked = crowd.one(gateway, key, body)
    abandoned = crowd.one(gateway, key, chat(f"{prompt} left [[fake: words={WORDS}, gate=left@event:30]]", stream=True))
    own.provider.wait_at("app")
    own.provider.wait_at("left")
    for live in (asked, abandoned):
        live.wait_events(30)

    def application_ends():
        # While it ends it may still ask: its own proxy is the last to go.
        assert_miss(gateway.ask(key, f"{prompt} at the end"))
        own.provider.release("app")
        assert asked.whole().events()[-1] == "[DONE]"
        abandoned.leave()
        wait_left(own)

    pod = Pod(injected(sample()), own, gateway, application_ends)
    pod.begin()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        ended = pool.submit(pod.end)
        wait_until(lambda: own.sidecar.status()["status"] == "draining", "the sidecar drains", LONG_S)
        # The application is gone, and the call that it has left still comes through the proxy's egress.
        assert gateway.process.is_alive()
        own.provider.release("left")
        ended.result(LONG_S)
    assert pod.order == ["agent", "sidecar-cache", "istio-proxy"]
    outcomes = [own.provider.calls_of(asked)["by_outcome"] for asked in (prompt, f"{prompt} left", f"{prompt} at the end")]
    assert outcomes == [{"ok": 1}] * 3, outcomes
    (stored,) = [line for line in own.sidecar.calls_for(key) if line["readers"] == 0]
    assert (stored["end"], stored["stored"]) == ("served", True)


def test_a_gateways_pod_ends_and_every_request_in_it_is_answered(own, crowd, prompt):
    key, gateway = own.key(org="acme"), own.gateways[0]
    body = chat(f"{prompt} [[fake: words={WORDS}, gate=client@event:30]]", stream=True)
    asked = crowd.one(gateway, key, body)
    abandoned = crowd.one(gateway, key, chat(f"{prompt} left [[fake: words={WORDS}, gate=left@event:30]]", stream=True))
    for live, gate in ((asked, "client"), (abandoned, "left")):
        own.provider.wait_at(gate)
        live.wait_events(30)
    with httpx.Client(base_url=gateway.url, timeout=LONG_S) as late, socket.create_connection(
            ("127.0.0.1", gateway.port)) as idle:
        late.get("/health").raise_for_status()
        pod = Pod(injected(gateway_pod()), own, gateway)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            ended = pool.submit(pod.end)
            wait_until(lambda: "istio-proxy" in pod.order, "the proxy is told to end")
            # Who still has a connection is served, told to take another one, and egress takes the sidecar's call.
            def told():
                answer = gateway.ask(key, f"{prompt} late", client=late)
                assert answer.status == 200 and answer.broke is None, answer
                return answer.headers.get("connection") == "close"
            wait_until(told, "a late client is told to leave")
            abandoned.leave()
            wait_left(own)
            own.provider.release("left")
            assert not ended.done() and gateway.process.is_alive()
            # Who is idle never leaves, and holds nothing up.
            idle.setblocking(False)
            with pytest.raises(BlockingIOError):
                idle.recv(1)
            own.provider.release("client")
            assert asked.whole().events()[-1] == "[DONE]"
            ended.result(LONG_S)
    assert pod.order == ["istio-proxy", "sidecar-cache"]
    outcomes = [own.provider.calls_of(asked)["by_outcome"] for asked in (prompt, f"{prompt} left", f"{prompt} late")]
    assert outcomes == [{"ok": 1}] * 3, outcomes


def test_the_gateway_has_the_time_that_its_order_takes():
    pod = gateway_pod()
    agent = yaml.safe_load(pod["metadata"]["annotations"]["proxy.istio.io/config"])
    grace = pod["spec"]["terminationGracePeriodSeconds"]
    # As long as the pod lives its listeners take connections, egress among them.
    assert int(re.fullmatch(r"(\d+)s", agent["drainDuration"])[1]) >= grace
    hook = container(injected(pod), "istio-proxy")["lifecycle"]["preStop"]["sleep"]["seconds"]
    # The proxy has an end that no client puts off, and the sidecar ends behind it.
    assert "EXIT_ON_ZERO_ACTIVE_CONNECTIONS" not in agent["proxyMetadata"]
    assert hook + int(re.fullmatch(r"(\d+)s", agent["terminationDrainDuration"])[1]) + sidecar_s() <= grace
    # Beside an application: what that takes, the sidecar, and the proxy behind it.
    assert documents(ISTIO / "sample-pod.yaml")[0]["spec"]["terminationGracePeriodSeconds"] >= 30 + sidecar_s() + 5


def test_the_pods_of_envoy_gateway_have_the_time_that_their_order_takes():
    (proxy,) = [it for it in documents(ENVOY_GATEWAY / "gateway.yaml") if it["kind"] == "EnvoyProxy"]
    pod = proxy["spec"]["provider"]["kubernetes"]["envoyDeployment"]["patch"]["value"]["spec"]["template"]["spec"]
    drain = int(re.fullmatch(r"(\d+)s", proxy["spec"]["shutdown"]["drainTimeout"])[1])
    assert pod["terminationGracePeriodSeconds"] >= drain + sidecar_s() + 5
