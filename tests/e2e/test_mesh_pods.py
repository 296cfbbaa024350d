"""Pods of a mesh, each with the sidecar that the injection template gives it, share answers, calls and money over stores."""

import httpx
import pytest

from answers import LOST, assert_coalesced, assert_miss
from fleet import in_store, whole_again
from group import chat
from injected import InjectedMesh
from policies import POLICIES
from processes import wait_until


@pytest.fixture(scope="module")
def shared():
    with InjectedMesh() as mesh:
        mesh.recovery = mesh.key(org="recovery")
        yield mesh
        for gateway in mesh.gateways:
            assert gateway.vms_lost() == 0, gateway.id


@pytest.fixture
def pods(shared):
    """The mesh, whole again after the test."""
    yield shared
    whole_again(shared)


@pytest.fixture(scope="module")
def key(shared):
    return shared.key(org="acme", team="web", user="ada", agent="coder")


def kept(key, prompt, payer, other):
    """Some answers by their questions that one pod has paid for, which are in the store: another one has read them."""
    questions = [f"{prompt} {payer.id} {number}" for number in range(3)]
    return {question: in_store(key, question, payer, other) for question in questions}


def serves(gateway, key, answers):
    """Whether a gateway has any of these from the store. A read that is late for its budget, as it may be on a busy machine, costs
    a call."""
    return any(gateway.ask(key, question).id == paid.id for question, paid in answers.items())


def test_what_one_pod_has_paid_for_every_other_pods_gateway_serves(pods, key, prompt):
    for at, payer in enumerate(pods.gateways):
        answers = kept(key, prompt, payer, pods.gateways[at - 1])
        for gateway in pods.gateways:
            assert serves(gateway, key, answers), gateway.id
    # The pods are another organization's too, and its answers are others.
    neighbor = pods.sidecars[1].create_key(org="globex")
    assert not any(serves(gateway, neighbor, answers) for gateway in pods.gateways)


def test_a_call_of_one_pod_is_followed_in_another(pods, crowd, key, prompt):
    gate = prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}@event:4]]", stream=True)
    lead = crowd.one(pods.gateways[1], key, body)
    pods.provider.wait_at(gate)
    # Of the two applications' gateways nobody can tell which is which by their ids.
    followers = [crowd.one(pods.gateways[at], key, body) for at in (0, 2)]
    for live in [lead, *followers]:
        live.wait_events(4)
    pods.provider.release(gate)
    paid = assert_miss(lead.whole())
    for live in followers:
        assert assert_coalesced(live.whole(), of=paid).body == paid.body
    assert pods.provider.calls_of(prompt) == {"total": 1, "open": 0, "by_outcome": {"ok": 1}}


def test_what_a_policy_forbids_leaves_no_pod(pods, key):
    calls = pods.provider.total()
    for gateway in pods.gateways:
        refused = gateway.ask(key, POLICIES["prompt-injection"][0])
        assert (refused.status, refused.error["code"]) == (409, "policy_blocked"), refused
    assert pods.provider.total() == calls


def test_a_pod_that_is_gone_leaves_its_answers_and_the_others_make_the_calls(pods, key, prompt):
    gone, *others = pods.gateways[1], pods.gateways[0], pods.gateways[2]
    answers = kept(key, prompt, gone, others[0])
    for part in (gone.process, pods.sidecars[1].process):
        part.kill()
    with pytest.raises(httpx.TransportError):
        gone.ask(key, prompt)
    for gateway in others:
        assert serves(gateway, key, answers), gateway.id
        assert_miss(gateway.ask(key, f"{prompt} at {gateway.id}"))


def test_a_pod_without_its_sidecar_calls_the_provider_and_the_other_pods_do_not_notice(pods, key, prompt):
    bereft, *others = pods.gateways[2], *pods.gateways[:2]
    answers = kept(key, prompt, bereft, others[0])
    pods.sidecars[2].process.kill()
    answer = bereft.ask(key, f"{prompt} alone")
    assert answer.status == 200 and answer.outcome in LOST, answer
    for gateway in others:
        assert serves(gateway, key, answers), gateway.id
    pods.sidecars[2].restart(pods.environment(pods.sidecars[2]))
    wait_until(lambda: serves(bereft, key, answers), "the pod has its sidecar back, and what is in the store")
