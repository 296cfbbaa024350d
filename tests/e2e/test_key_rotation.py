"""A key is replaced without downtime: both are valid for a while, then the old one is refused everywhere."""

import json
import threading
import uuid

import pytest

from answers import assert_hit, assert_miss, assert_refused
from group import REVOKED_S, Key, chat
from processes import wait_until

# As it is given, and in seconds.
OVERLAP_S = {"0": 0.0, "1s": 1.0}


def rotate(group, key, overlap, *more):
    made = group.kt("key", "rotate", key.key_id, "--overlap", overlap, "--json", *more)
    return Key(**json.loads(made.stdout))


def line_of(group, key):
    listed = group.kt("key", "list").stdout.splitlines()
    [line] = [line for line in listed if line.split()[0] == key.key_id]
    return line


def refused_everywhere(group, key, prompt, within_s=REVOKED_S):
    def is_refused():
        return all(gateway.ask(key, prompt).status == 401 for gateway in group.gateways)
    wait_until(is_refused, "all refuse the old key", within_s)
    for gateway in group.gateways:
        assert_refused(gateway.ask(key, prompt), 401, "revoked_api_key")


def test_no_request_fails_while_a_key_is_rotated_under_load(group, prompt):
    key = group.key(org="acme", user="ada")
    keys, statuses, is_over = [key], [], threading.Event()

    def ask(gateway):
        with gateway.client() as client:
            while not is_over.is_set():
                used = keys[-1]
                answer = gateway.ask(used, f"{prompt} {uuid.uuid4()}", client=client)
                statuses.append((answer.status, used.key_id))
    askers = [threading.Thread(target=ask, args=(gateway,)) for gateway in group.gateways for _ in range(2)]
    for asker in askers:
        asker.start()
    for _ in range(3):
        before = len(statuses)
        wait_until(lambda: len(statuses) >= before + 20, "the keys are used")
        keys.append(rotate(group, keys[-1], "1h"))
    before = len(statuses)
    wait_until(lambda: len(statuses) >= before + 20, "the last key is used")
    is_over.set()
    for asker in askers:
        asker.join()
    assert {status for status, _ in statuses} == {200}
    assert {key_id for _, key_id in statuses} == {key.key_id for key in keys}
    # The first is valid still, beside the three that came after it.
    assert [group.a.ask(key, prompt).status for key in keys] == [200] * 4
    assert f"then {keys[1].key_id}" in line_of(group, key) and "valid" in line_of(group, keys[-1])


@pytest.mark.parametrize("overlap", OVERLAP_S)
def test_after_its_overlap_the_old_key_is_refused_everywhere_and_answered_from_no_memory(group, prompt, overlap):
    key = group.key(org="acme")
    # Often enough that every worker has it in its own memory.
    paid = assert_miss(group.a.ask(key, prompt))
    for gateway in group.gateways:
        for _ in range(8):
            assert_hit(gateway.ask(key, prompt), of=paid)
    new = rotate(group, key, overlap)
    refused_everywhere(group, key, prompt, OVERLAP_S[overlap] + REVOKED_S)
    before = group.provider.total()
    for gateway in group.gateways:
        assert_hit(gateway.ask(new, prompt), of=paid)
    assert group.provider.total() == before
    failed = group.kt("key", "rotate", key.key_id, check=False)
    assert failed.returncode != 0 and "has ended" in failed.stderr, failed.stderr


def test_an_end_outlives_a_restart_of_the_sidecar(edited, prompt):
    key = edited.key(org="acme")
    assert_miss(edited.a.ask(key, prompt))
    new = rotate(edited, key, "1s")
    edited.sidecar.process.kill()
    edited.sidecar.restart()
    wait_until(lambda: edited.a.ask(new, prompt).status == 200, "the new key is served again")
    refused_everywhere(edited, key, prompt)


def test_a_rotated_key_keeps_its_private_entries(configurable, prompt):
    configurable.configure({"workflow_cache": {"default_tier": "private_edge_cache"}})
    key, stranger = configurable.key(org="acme"), configurable.key(org="acme")
    paid = assert_miss(configurable.a.ask(key, prompt))
    new = rotate(configurable, key, "1h")
    assert_hit(configurable.b.ask(new, prompt), of=paid)
    assert_hit(configurable.b.ask(key, prompt), of=paid)
    assert assert_miss(configurable.b.ask(stranger, prompt), "gateway-key").id != paid.id


def test_a_rotation_is_made_once_and_told_again_under_its_name(group):
    key, name = group.key(org="acme"), uuid.uuid4().hex
    first = rotate(group, key, "1h", "--idempotency-key", name)
    again = rotate(group, key, "1h", "--idempotency-key", name)
    assert (again.key_id, again.secret) == (first.key_id, first.secret)
    failed = group.kt("key", "rotate", key.key_id, check=False)
    assert failed.returncode != 0 and first.key_id in failed.stderr, failed.stderr
    # Whoever lost the new key revokes it, and asks again.
    group.kt("key", "revoke", first.key_id)
    second = rotate(group, key, "1h")
    body = chat(f"who is {uuid.uuid4()}?")
    assert [group.a.ask(key, body).status for key in (key, second)] == [200, 200]
