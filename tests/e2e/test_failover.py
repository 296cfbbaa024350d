"""The seeds' failover promise: kill a gateway, and nothing that it paid for is lost."""

import concurrent.futures
import signal
import socket
import threading

import httpx
import pytest

from answers import assert_hit, assert_miss
from group import Group, chat
from processes import wait_until


@pytest.fixture(scope="module")
def killed():
    """A group whose gateways are killed."""
    with Group() as group:
        yield group


@pytest.fixture
def own(killed):
    """The group, whole again after the test: a gateway that has ended is started once more."""
    yield killed
    killed.provider.release()
    for gateway in killed.gateways:
        if not gateway.process.is_alive():
            gateway.restart()
    wait_until(lambda: set(states(killed).values()) == {"live"}, "the sidecar knows that both live")


def states(group):
    """What the sidecar says of each gateway."""
    return {gateway["gateway"]["id"]: gateway["state"] for gateway in group.sidecar.status()["gateways"]}


def test_what_a_killed_gateway_paid_for_the_other_serves(own, prompt):
    key = own.key(org="acme")
    prompts = [f"{prompt} {number}" for number in range(10)]
    paid = {asked: assert_miss(own.a.ask(key, asked)) for asked in prompts}
    keys = {asked: own.sidecar.explain(key, "gw-a", chat(asked))["key"] for asked in prompts}
    envoys = own.a.envoys()
    assert envoys, "gw-a has an Envoy"
    total = own.provider.total()
    failed, served, stop = [], [], threading.Event()

    def keep_asking(gateway):
        with gateway.client() as client:
            while not stop.is_set():
                for asked in prompts:
                    try:
                        answer = gateway.ask(key, asked, client=client)
                    except httpx.TransportError:
                        failed.append(gateway.id)
                        return
                    if answer.broke:
                        # Killed between the head and the end of an answer.
                        failed.append(gateway.id)
                        return
                    served.append((gateway.id, asked, answer))

    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = [pool.submit(keep_asking, gateway) for gateway in own.gateways]
        try:
            wait_until(lambda: len(served) > 100, "requests run at both gateways")
            own.a.process.kill()
            wait_until(lambda: failed, "the client of the killed gateway notices")
            so_far = len(served)
            wait_until(lambda: len(served) > so_far + 100, "the other gateway goes on")
        finally:
            stop.set()
        for done in running:
            done.result()
    assert set(failed) == {"gw-a"}
    for _, asked, answer in served:
        assert_hit(answer, of=paid[asked])
    assert own.provider.total() == total
    assert not any(envoy.is_running() for envoy in envoys)
    for asked in prompts:
        explained = own.sidecar.explain(key, "gw-b", chat(asked))
        assert (explained["key"], explained["outcome"]) == (keys[asked], "hit")


def test_a_killed_gateway_is_shown_as_lost(own):
    assert states(own) == {"gw-a": "live", "gw-b": "live"}
    own.a.process.kill()
    wait_until(lambda: states(own) == {"gw-a": "lost", "gw-b": "live"}, "the status says which gateway is lost")
    shown = own.kt("gateway", "status").stdout
    assert [line.split()[3] for line in shown.splitlines() if line.startswith("gw-")] == ["lost", "live"], shown


def test_a_call_of_a_killed_gateway_stores_nothing_broken(own, prompt):
    key = own.key(org="acme")
    body = chat(f"{prompt} [[fake: hold=body]]")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        leader = pool.submit(own.a.ask, key, body)
        own.provider.wait_held()
        own.a.process.kill()
        with pytest.raises(httpx.TransportError):
            answer = leader.result()
            raise answer.broke or AssertionError(f"a whole answer: {answer}")
        own.provider.release()
        own.provider.wait_idle()
    own.provider.script("words=3", 1)
    paid = assert_miss(own.b.ask(key, body))
    assert_hit(own.b.ask(key, body), of=paid)


def test_a_crashed_envoy_is_started_again(own, prompt):
    key = own.key(org="acme")
    paid = assert_miss(own.a.ask(key, prompt))
    before = own.a.envoys()
    for envoy in before:
        envoy.signal(signal.SIGKILL)
    wait_until(lambda: not any(envoy.is_running() for envoy in before), "gw-a's Envoy is gone")
    wait_until(lambda: own.a.envoys() and own.a.is_ready(), "gw-a has a new Envoy", 60)
    assert_hit(own.a.ask(key, prompt), of=paid)


def test_a_gateway_that_is_asked_to_end_leaves_nothing_running(own):
    family = own.b.process.family()
    assert len(family) > 1
    assert own.b.process.terminate() == 0
    wait_until(lambda: not any(member.is_running() for member in family), "nothing of gw-b runs")


@pytest.mark.fault(52)
def test_a_gateway_that_is_asked_to_end_finishes_what_it_has(own, prompt):
    key = own.key(org="acme")
    body = chat(f"{prompt} [[fake: hold=body]]", stream=True)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(own.a.ask, key, body)
        own.provider.wait_held()
        ended = pool.submit(own.a.process.terminate)
        wait_until(lambda: not accepts(own.a), "gw-a takes nothing new")
        own.provider.release()
        answer = asked.result()
        assert ended.result() == 0
    assert answer.status == 200 and answer.broke is None and answer.events()[-1] == "[DONE]", answer


def accepts(gateway):
    try:
        with socket.create_connection(("127.0.0.1", gateway.port), 5):
            return True
    except ConnectionRefusedError:
        return False


def test_an_envoy_does_not_outlive_its_supervisor(own):
    envoys = own.b.envoys()
    own.b.process.signal(signal.SIGKILL)
    wait_until(lambda: not any(envoy.is_running() for envoy in envoys), "gw-b's Envoy is gone")
