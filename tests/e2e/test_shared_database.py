"""Two groups on one database, a sidecar and a gateway each: what is done at one is so at the other, and what each
remembers holds for a while when the database does not answer."""

import contextlib
import json
import shutil
import uuid

import pytest

from answers import assert_hit, assert_miss, assert_refused
from database import Database
from group import Group, Key, chat
from processes import wait_until

REPLAYED = ("hit", "replayed")
# What the sidecars promise, and what a busy machine may add to it.
SOON = 1.0 + 9.0


@contextlib.contextmanager
def two_groups(database):
    """Two groups that share the database, and the provider whose address is in their keys."""
    one = Group(database.config(), gateways=(("gw-a", "primary"),))
    same = {"providers": {"targets": one.targets()}}
    other = Group({**database.config(), **same}, gateways=(("gw-b", "primary"),))
    with one, other:
        yield one, other
        for group in (one, other):
            assert group.a.vms_lost() == 0


@pytest.fixture(scope="module")
def shared():
    """Two groups for all who leave the database as it is."""
    with Database() as database, two_groups(database) as pair:
        yield pair


@pytest.fixture
def pair(shared):
    """The two groups, with their sidecars awake again after the test."""
    yield shared
    for group in shared:
        group.provider.release()
        group.sidecar.process.thaw()
        wait_until(lambda: group.sidecar.status()["status"] == "ok", "the sidecar is well")


@pytest.fixture
def hurt_pair():
    """A database that may be hurt, and the two groups on it."""
    with Database() as database, two_groups(database) as pair:
        yield database, *pair


def test_a_key_of_one_works_at_the_other_until_it_is_revoked_there(pair, prompt):
    one, other = pair
    secret = one.kt("key", "create", "--org", "acme").stdout.strip()
    [listed] = json.loads(other.kt("key", "list", "--json").stdout)["keys"]
    key = Key(listed["principal"]["key_id"], secret)
    assert_miss(other.a.ask(key, prompt))
    assert_miss(one.a.ask(key, prompt))
    assert_hit(other.a.ask(key, prompt))
    other.kt("key", "revoke", key.key_id)
    for group in (other, one):
        refused = wait_until(lambda: (answer := group.a.ask(key, prompt)).status == 401 and answer,
                             "the key is refused", SOON)
        assert_refused(refused, 401, "revoked_api_key")


@pytest.mark.parametrize("selector", [["--all"], ["--model", "gpt-4o"]], ids=["all", "model"])
def test_a_purge_at_one_is_one_at_the_other(pair, prompt, selector):
    one, other = pair
    key = one.key()
    paid = assert_miss(other.a.ask(key, prompt))
    with other.a.client() as client:
        # In the worker's own memory, too.
        wait_until(lambda: other.a.ask(key, prompt, client=client).detail == "l1", "the worker has it in memory")
        one.kt("cache", "purge", "--org", "acme", *selector)
        newer = wait_until(lambda: (answer := other.a.ask(key, prompt, client=client)).id != paid.id and answer,
                           "the purge has come to the other", SOON)
    assert_miss(newer)
    assert_hit(other.a.ask(key, prompt), of=newer)
    if selector == ["--all"]:
        assert other.sidecar.status()["entries"] == 1


def test_a_keyed_request_is_made_once_whichever_sidecar_it_comes_to(pair, crowd, prompt):
    one, other = pair
    key = one.key()
    named = {"idempotency-key": f"order-{uuid.uuid4()}"}
    gate = f"keyed-{uuid.uuid4()}"
    body = chat(f"{prompt} [[fake: words=24, gate={gate}@event:3]]", stream=True)
    lead = crowd.one(one.a, key, body, headers=named)
    one.provider.wait_at(gate)
    refused = other.a.ask(key, body, headers=named)
    assert_refused(refused, 409, "idempotency_in_flight")
    assert refused.headers["retry-after"] == "1"
    assert_refused(other.a.ask(key, f"{prompt}, really", headers=named), 422, "idempotency_key_reused")
    one.provider.release(gate)
    first = lead.whole()
    for group in (other, one):
        again = group.a.ask(key, body, headers=named)
        assert (again.outcome, again.body) == (REPLAYED, first.body), again
        assert again.headers["idempotent-replayed"] == "true"
    assert one.provider.calls_of(prompt)["total"] == 1
    # A purge at one forgets it at both.
    other.kt("cache", "purge", "--org", "acme", "--all")
    assert wait_until(lambda: (answer := other.a.ask(key, body, headers=named)).outcome != REPLAYED and answer,
                      "the reply is forgotten").status == 200


@pytest.mark.parametrize("hurt", ["freeze", "kill"])
def test_without_the_database_hits_are_served_for_a_while_and_then_closed_until_it_answers(hurt_pair, prompt, hurt):
    database, one, other = hurt_pair
    key, stranger = one.key(), other.key()
    paid = assert_miss(one.a.ask(key, prompt))
    assert_hit(one.a.ask(key, prompt), of=paid)
    getattr(database, hurt)()
    assert_hit(one.a.ask(key, prompt), of=paid)
    closed = wait_until(lambda: (answer := one.a.ask(key, prompt)).detail == "generations-unknown" and answer,
                        "the cache is closed")
    assert_miss(closed, "generations-unknown")
    assert closed.id != paid.id
    assert one.sidecar.gauge("kt_database_look_age_seconds") > 5
    assert one.sidecar.status()["status"] == "degraded"
    assert "the cache is closed until it does" in one.kt("gateway", "status").stderr
    # Nobody knows who a stranger is, and nothing is decided about keys.
    refused = one.a.ask(stranger, prompt)
    assert_refused(refused, 503, "sidecar_unavailable")
    assert "retry-after" in refused.headers
    assert one.kt("cache", "purge", "--org", "acme", "--all", check=False).returncode != 0
    keyed = one.a.ask(key, prompt, headers={"idempotency-key": f"order-{uuid.uuid4()}"})
    assert_refused(keyed, 503, "idempotency_unavailable")
    assert "retry-after" in keyed.headers
    # It comes back, and nobody restarts anything.
    database.thaw() if hurt == "freeze" else database.start()
    again = wait_until(lambda: (answer := one.a.ask(key, prompt)).cache_status == "hit" and answer,
                       "the cache is open again", SOON + 5)
    # A call that was under way when it came back may have been kept in place of the first one.
    assert_hit(again)
    wait_until(lambda: one.sidecar.status()["status"] == "ok", "the sidecar is well")


def test_what_was_purged_and_revoked_while_one_could_not_look_comes_first_when_it_can(pair, prompt):
    one, other = pair
    key, revoked = one.key(), one.key()
    paid = assert_miss(one.a.ask(key, prompt))
    assert_miss(one.a.ask(revoked, f"{prompt} too"))
    # Its sidecar stands still, and the other one goes on.
    one.sidecar.process.freeze()
    other.kt("cache", "purge", "--org", "acme", "--model", "gpt-4o")
    other.sidecar.revoke(revoked)
    one.sidecar.process.thaw()
    newer = wait_until(lambda: (answer := one.a.ask(key, prompt)).id != paid.id and answer.cache_status == "miss"
                       and answer, "the purge is known", SOON)
    assert newer.status == 200
    wait_until(lambda: one.a.ask(revoked, prompt).status == 401, "the revocation is known", SOON)


def test_a_sidecar_without_its_tables_says_which_command_makes_them():
    with Database(is_migrated=False) as database:
        group = Group(database.config(), gateways=())
        try:
            group.sidecar.process.start()
            wait_until(lambda: not group.sidecar.process.is_alive(), "the sidecar has given up")
            assert "has no tables of kt yet: run `kt db migrate`" in group.sidecar.process.log.read_text()
            group.kt("db", "migrate", "--policy-config", group.config_path)
            group.sidecar.restart()
        finally:
            group.sidecar.process.kill()
            shutil.rmtree(group.folder)
