"""The audit log through real Envoys: every request is on record, nothing is answered that is not, and what somebody
changes is found."""

import csv
import json
import sqlite3

import pytest

from answers import assert_hit, assert_miss, assert_refused
from disks import fill, make_room, small_disk
from group import Group, chat
from processes import wait_until

LOGGING = {
    "gateway": {"on_sidecar_loss": "unavailable"},
    "policies": {
        "chain": ["audit-logger", "content-policy", "model-allowlist"],
        "policy": {
            "audit-logger": {"log_all_access": True},
            "content-policy": {"action": "block", "terms": ["Project Hush"]},
            "model-allowlist": {"models": ["gpt-4o"]},
        },
    },
}
# A few times what the files of a sidecar take when it starts.
DISK_BYTES = 8 << 20


@pytest.fixture(scope="module")
def logging():
    """A group in which every access is on record."""
    with Group(LOGGING) as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id


def records(group, org, *more):
    lines = group.kt("audit", "export", "--org", org, *more).stdout.splitlines()
    return [json.loads(line) for line in lines]


def wait_told(group, org, count):
    """So many records, which are written behind answers."""
    def told():
        found = records(group, org)
        return found if len(found) >= count else None
    found = wait_until(told, f"{count} requests of {org} are on record", 10)
    assert len(found) == count, found
    return found


def test_each_request_is_on_record_hits_included_and_none_says_what_was_said(logging, prompt):
    key = logging.key(org="told", team="web", user="ada", agent="coder")
    assert_miss(logging.a.ask(key, prompt))
    # Twice, and on both gateways: no worker has it in its own memory.
    for gateway in (logging.a, logging.a, logging.b):
        assert_hit(gateway.ask(key, prompt))
    assert_hit(logging.b.ask(key, prompt, stream=True))
    found = wait_told(logging, "told", 6)
    assert [record["seq"] for record in found] == list(range(1, 7))
    asked, ended, *hits = found
    assert (asked["kind"], "outcome" in asked) == ("asked", False)
    assert (ended["kind"], ended["outcome"], ended["status"]) == ("ended", "miss", 200)
    assert ended["request_id"] == asked["request_id"]
    assert {(hit["kind"], hit["outcome"], hit["reason"]) for hit in hits} == {("ended", "hit", "shared")}
    assert [hit["gateway"] for hit in hits] == ["gw-a", "gw-a", "gw-b", "gw-b"]
    for record in found:
        who = [record[field] for field in ("org", "team", "user", "agent", "key_id", "model", "provider")]
        assert who == ["told", "web", "ada", "coder", key.key_id, "gpt-4o", "openai"]
        assert prompt not in json.dumps(record) and key.secret not in json.dumps(record)
    rows = list(csv.DictReader(logging.kt("audit", "export", "--org", "told", "--format", "csv").stdout.splitlines()))
    assert [row["hash"] for row in rows] == [record["hash"] for record in found]


def test_a_refused_request_is_on_record(logging, prompt):
    key = logging.key(org="refused")
    refused = logging.a.ask(key, prompt, headers={"cache-control": "only-if-cached"})
    assert_refused(refused, 504, "not_cached")
    [record] = wait_told(logging, "refused", 1)
    assert (record["outcome"], record["status"], record["code"]) == ("refused", 504, "not_cached")
    assert record["request_id"] == refused.headers["x-request-id"]


def test_what_a_gateway_refuses_by_itself_is_on_record_with_the_rule_that_decided(logging, prompt):
    key = logging.key(org="blocked", team="web", user="ada", agent="coder")
    refused = [
        logging.a.ask(key, f"{prompt} What is Project Hush?"),
        logging.b.ask(key, {**chat(prompt), "model": "gpt-4o-mini"}),
        logging.b.ask(key, prompt, headers={"cache-control": "only-if-cached"}),
        logging.a.ask(key, {"model": "gpt-4o", "messages": 7}),
    ]
    assert [answer.status for answer in refused] == [409, 409, 504, 400]
    told = {record["request_id"]: record for record in wait_told(logging, "blocked", 4)}
    found = [told[answer.headers["x-request-id"]] for answer in refused]
    assert [(it["outcome"], it["code"], it.get("policies", []), it["gateway"]) for it in found] == [
        ("blocked", "policy_blocked", ["content-policy:words:block"], "gw-a"),
        ("blocked", "policy_blocked", ["model-allowlist:request:block"], "gw-b"),
        ("refused", "not_cached", [], "gw-b"),
        ("refused", "invalid_field", [], "gw-a"),
    ]
    for record in found:
        assert [record[field] for field in ("team", "user", "agent", "key_id")] == ["web", "ada", "coder", key.key_id]
        assert "Hush" not in json.dumps(record)


def test_requests_without_a_good_key_are_on_record_together_and_in_nobodys_chain(logging):
    def of_nobody():
        return sum(record["times"] for record in records(logging, "") if record["code"] == "missing_api_key")
    before = of_nobody()
    for _ in range(20):
        assert logging.a.request("POST", "/v1/chat/completions", json=chat("Who am I?")).status_code == 401
    wait_until(lambda: of_nobody() == before + 20, "all of them are counted")
    assert len(records(logging, "")) < 20


def test_what_somebody_changes_behind_everybodys_back_is_found_and_named(logging, prompt):
    key = logging.key(org="changed")
    for nth in range(3):
        assert_miss(logging.a.ask(key, f"{prompt} {nth}"))
    wait_told(logging, "changed", 6)
    heads = logging.folder / "heads.txt"
    heads.write_text(logging.kt("audit", "head").stdout)
    told = logging.kt("audit", "verify", "--org", "changed", "--heads", heads).stdout
    assert told == "changed: 6 records hold, 1 to 6; 1 are as they were written down\n"
    database = sqlite3.connect(logging.folder / "data" / "audit.db")
    with pytest.raises(sqlite3.IntegrityError, match="never changes"):
        database.execute("UPDATE records SET bytes = x'00' WHERE org = 'changed' AND seq = 4")
    # Whoever may open the file may also remove what guards it.
    database.execute("DROP TRIGGER records_do_not_change")
    [(before,)] = database.execute("SELECT bytes FROM records WHERE org = 'changed' AND seq = 4").fetchall()
    after = before.replace(b"gw-a", b"gw-b")
    assert before != after
    database.execute("UPDATE records SET bytes = ? WHERE org = 'changed' AND seq = 4", (after,))
    database.commit()
    broken = logging.kt("audit", "verify", check=False)
    assert broken.returncode == 1
    assert "changed: record 4: hash: its hash does not follow" in broken.stderr
    database.execute("UPDATE records SET bytes = ? WHERE org = 'changed' AND seq = 4", (before,))
    database.commit()
    logging.kt("audit", "verify")


def test_on_a_full_disk_nothing_is_answered_that_would_not_be_on_record(prompt):
    with small_disk(DISK_BYTES) as disk:
        group = Group(LOGGING)
        (group.folder / "data").symlink_to(disk)
        with group:
            key = group.key(org="acme")
            assert_miss(group.a.ask(key, prompt))
            assert_hit(group.b.ask(key, prompt))
            fill(disk)
            calls = group.provider.total()
            # What its files have room for is still written.
            wait_until(lambda: group.a.ask(key, prompt).status == 503, "no more fits on the disk", 30)
            for body in (chat(prompt), chat(f"{prompt} another"), chat(prompt, stream=True)):
                refused = group.b.ask(key, body)
                assert_refused(refused, 503, "audit_unavailable")
                assert int(refused.headers["retry-after"]) >= 1
            assert group.provider.total() == calls
            health = group.sidecar.health().json()
            assert (health["status"], health["stores_away"]) == ("degraded", ["audit_log"])
            make_room(disk)
            wait_until(lambda: group.a.ask(key, prompt).status == 200, "there is room again", 30)
            wait_until(lambda: group.sidecar.health().json()["status"] == "ok", "nothing is lost")
            group.kt("audit", "verify")
            refusals = [record for record in records(group, "acme") if record.get("code") == "audit_unavailable"]
            assert len(refusals) >= 4
