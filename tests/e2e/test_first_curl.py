"""Seed 001's first curl, twice: what one gateway paid for, the other serves."""

import subprocess
import uuid

from answers import assert_hit, assert_miss, until_remembered
from group import MODELS, chat

QUESTION = "What does the AuthService module do?"


def curl(gateway, key, question):
    """The seed's own command; its headers as a map, its body as text."""
    body = f'{{"model":"gpt-4o","messages":[{{"role":"user","content":"{question}"}}]}}'
    done = subprocess.run(
        ["curl", "-sS", "-i", "-X", "POST", f"{gateway.url}/v1/chat/completions",
         "-H", f"Authorization: Bearer {key.secret}", "-H", "Content-Type: application/json", "-d", body],
        capture_output=True, text=True, timeout=60, check=True)
    head, _, body = done.stdout.partition("\n\n")
    lines = [line.partition(": ") for line in head.splitlines()[1:]]
    return {name.lower(): value for name, _, value in lines}, body


def test_the_seeds_curl_is_a_miss_at_one_gateway_and_a_hit_at_the_other(group, key):
    before = group.provider.total()
    question = f"{QUESTION} {uuid.uuid4()}"
    first, paid = curl(group.a, key, question)
    second, served = curl(group.b, key, question)
    assert (first["x-cache-status"], second["x-cache-status"]) == ("miss", "hit")
    assert first["x-fabric-attached"] == "false"
    assert served == paid
    assert group.provider.total() == before + 1


def test_the_gateways_own_memory_answers_once_it_was_asked_twice(group, key, prompt):
    with group.b.client() as client:
        paid = assert_miss(group.a.ask(key, prompt))
        assert len(until_remembered(lambda: group.b.ask(key, prompt, client=client), paid)) >= 3


def test_the_key_of_a_request_is_the_same_at_every_gateway(group, key, prompt):
    body = chat(prompt)
    explained = [group.sidecar.explain(key, gateway.id, body) for gateway in group.gateways]
    assert explained[0]["key"] == explained[1]["key"]
    assert explained[0]["gates"] == explained[1]["gates"]
    assert "gw-" not in str(explained[0]["gates"])
    assert [reply["outcome"] for reply in explained] == ["miss", "miss"]
    group.a.ask(key, body)
    assert group.sidecar.explain(key, "gw-b", body)["outcome"] == "hit"


def test_a_hit_says_how_old_it_is_and_who_answered(group, key, prompt):
    group.a.ask(key, prompt)
    hit = assert_hit(group.b.ask(key, prompt))
    assert int(hit.headers["age"]) >= 0
    assert "ttl=" in hit.headers["cache-status"]
    assert hit.headers["cache-status"].startswith("kt; hit;")
    assert hit.headers["x-kt-served-by"].startswith("openai/")


def test_every_request_has_an_id_of_its_own(group, key, prompt):
    answers = [group.a.ask(key, prompt), group.b.ask(key, prompt), group.b.ask(key, prompt)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == 3
    assert all(len(request_id) == 32 for request_id in ids)


def test_health_is_json_with_a_status(group):
    for gateway, role in zip(group.gateways, ["primary", "fallback"]):
        health = gateway.health()
        assert health.status_code == 200
        assert health.headers["content-type"].startswith("application/json")
        body = health.json()
        assert body["status"] == "ok"
        assert (body["gateway"], body["role"], body["group"]) == (gateway.id, role, "e2e-group")
        assert (body["cache"], body["fabric"]) == ("enabled", "detached")


def test_the_model_list_has_what_the_key_may_use(group, key):
    models = group.a.sdk(key).models.list()
    assert sorted(model.id for model in models) == sorted(MODELS)


def test_an_answer_is_live_before_it_is_whole(group, key, prompt):
    body = chat(f"{prompt} [[fake: hold=body]]", stream=True)
    headers = {"authorization": f"Bearer {key.secret}"}
    with group.a.client() as client, client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as live:
        pieces = live.iter_raw()
        first = next(pieces)
        assert first.startswith(b"data: ")
        group.provider.wait_held()
        group.provider.release()
        rest = b"".join(pieces)
    assert rest.endswith(b"data: [DONE]\n\n")
