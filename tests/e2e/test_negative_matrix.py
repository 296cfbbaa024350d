"""One thing changed at a time: a miss, and `Cache-Status` names what was changed."""

import pytest

from answers import assert_hit, assert_miss, assert_refused
from group import chat

CODEBASES = ["acme/api", "acme/web"]


@pytest.fixture(scope="module")
def base(group):
    """What the others differ from in one thing."""
    return {"org": "matrix", "group": "g1", "codebases": ["acme/api"], "entitlements": ["eu"]}


def test_the_same_gates_under_another_key_are_a_hit(group, base, prompt):
    paid = assert_miss(group.a.ask(group.key(**base, user="ada"), prompt), "request")
    other = group.key(**base, user="bob", team="infra", agent="reviewer")
    assert_hit(group.b.ask(other, prompt), of=paid)


@pytest.mark.parametrize("change, reason", [
    ({"group": "g2"}, "group"),
    ({"group": None}, "group"),
    ({"codebases": ["acme/web"]}, "codebase"),
    ({"codebases": ["acme/api", "acme/web"]}, "codebase"),
    ({"codebases": []}, "codebase"),
    ({"entitlements": ["us"]}, "entitlement"),
    ({"entitlements": ["eu", "us"]}, "entitlement"),
    ({"entitlements": []}, "entitlement"),
], ids=str)
def test_a_key_that_differs_in_one_gate_misses_and_is_told_which(group, base, prompt, change, reason):
    paid = assert_miss(group.a.ask(group.key(**base), prompt))
    fields = {name: value for name, value in {**base, **change}.items() if value is not None}
    other = group.key(**fields)
    missed = assert_miss(group.b.ask(other, prompt), reason)
    assert missed.id != paid.id
    # Each side keeps its own.
    assert_hit(group.b.ask(other, prompt), of=missed)


def test_another_organization_shares_nothing_and_is_told_nothing(group, base, prompt):
    ours, theirs = group.key(**base), group.key(**{**base, "org": "matrix-two"})
    body = chat(prompt)
    paid = assert_miss(group.a.ask(ours, body))
    explained = group.sidecar.explain(theirs, "gw-b", body)
    assert (explained["outcome"], explained["reason"]) == ("miss", "org")
    missed = assert_miss(group.b.ask(theirs, body), "request")
    assert missed.id != paid.id
    keys = [group.sidecar.explain(key, "gw-b", body)["key"] for key in (ours, theirs)]
    assert keys[0] != keys[1]


def test_field_boundaries_cannot_be_moved(group, prompt):
    left = group.key(org="mat:rix", group="x", codebases=["c"])
    right = group.key(org="mat", group="rix:x", codebases=["c"])
    assert_miss(group.a.ask(left, prompt))
    assert_miss(group.a.ask(right, prompt), "request")


def test_a_codebase_hint_narrows_and_is_a_gate(group, base, prompt):
    key = group.key(**{**base, "codebases": CODEBASES})
    both = assert_miss(group.a.ask(key, prompt))
    narrowed = assert_miss(group.b.ask(key, prompt, headers={"x-kt-codebase": "acme/web"}), "codebase")
    assert narrowed.id != both.id
    assert_hit(group.a.ask(key, prompt, headers={"x-kt-codebase": "acme/web"}), of=narrowed)
    # A key that has only this codebase shares it.
    only = group.key(**{**base, "codebases": ["acme/web"]})
    assert_hit(group.a.ask(only, prompt), of=narrowed)


def test_a_codebase_hint_never_widens(group, base, prompt):
    before = group.provider.total()
    for key in (group.key(**base), group.key(org="matrix")):
        answer = group.a.ask(key, prompt, headers={"x-kt-codebase": "acme/secret"})
        assert_refused(answer, 403, "codebase_not_allowed")
    assert group.provider.total() == before


def test_another_model_misses(group, base, prompt):
    key = group.key(**base)
    paid = assert_miss(group.a.ask(key, chat(prompt)))
    other = assert_miss(group.b.ask(key, {**chat(prompt), "model": "gpt-4o-mini"}), "model")
    assert other.id != paid.id


@pytest.mark.parametrize("change", [
    {"temperature": 0},
    {"temperature": 0.0},
    {"seed": 1},
    {"max_tokens": 1000},
    {"n": 1},
    {"a_field_of_tomorrow": True},
    {"a_field_of_tomorrow": None},
    {"response_format": {"type": "text"}},
    {"tools": []},
    {"store": True},
    {"reasoning_effort": "low"},
], ids=str)
def test_any_field_of_the_body_that_may_change_the_answer_misses(group, base, prompt, change):
    key = group.key(**base)
    paid = assert_miss(group.a.ask(key, chat(prompt)))
    other = assert_miss(group.b.ask(key, {**chat(prompt), **change}), "request")
    assert other.id != paid.id


def test_numbers_are_told_apart_by_how_they_are_written(group, base, prompt):
    key = group.key(**base)
    ids = set()
    for number in ["1", "1.0", "1e0", "10E-1"]:
        body = f'{{"model":"gpt-4o","messages":[{{"role":"user","content":"{prompt}"}}],"x":{number}}}'
        ids.add(assert_miss(group.a.post(key, body.encode())).id)
    assert len(ids) == 4


def test_characters_that_look_alike_are_told_apart(group, base, prompt):
    key = group.key(**base)
    for text in ["caf\u00e9", "cafe\u0301", "ca\ufb00e", "caf\u200b\u00e9"]:
        assert_miss(group.a.ask(key, f"{prompt} {text}"), "request")


@pytest.mark.parametrize("change", [
    {"user": "ada"},
    {"metadata": {"run": "7"}},
    {"safety_identifier": "s"},
    {"prompt_cache_key": "k"},
    {"stream": False},
    {"stream": True},
    {"stream": True, "stream_options": {"include_usage": True}},
], ids=str)
def test_a_field_that_cannot_change_the_answer_hits(group, base, prompt, change):
    key = group.key(**base)
    paid = assert_miss(group.a.ask(key, chat(prompt)))
    assert_hit(group.b.ask(key, {**chat(prompt), **change}), of=paid)


def test_order_and_space_between_tokens_do_not_matter(group, base, prompt):
    key = group.key(**base)
    plain = f'{{"model":"gpt-4o","messages":[{{"role":"user","content":"{prompt}"}}],"x":{{"a":1,"b":2}}}}'
    other = f'{{ "x":{{"b":2, "a":1}},\n"messages":[{{"content":"{prompt}","role":"user"}}],"model":"gpt-4o" }}'
    paid = assert_miss(group.a.post(key, plain.encode()))
    assert_hit(group.b.post(key, other.encode()), of=paid)


def test_a_header_that_changes_the_answer_misses(group, base, prompt):
    key = group.key(**base)
    assert_miss(group.a.ask(key, prompt))
    beta = {"openai-beta": "assistants=v2"}
    changed = assert_miss(group.b.ask(key, prompt, headers=beta), "request")
    assert_hit(group.a.ask(key, prompt, headers=beta), of=changed)


def test_headers_that_cannot_change_the_answer_hit(group, base, prompt):
    key = group.key(**base)
    paid = assert_miss(group.a.ask(key, prompt))
    headers = {"user-agent": "another", "cookie": "a=b", "accept": "*/*", "x-whatever": "1",
               "date": "Thu, 01 Jan 1970 00:00:00 GMT"}
    assert_hit(group.b.ask(key, prompt, headers=headers), of=paid)
