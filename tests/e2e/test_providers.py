"""Targets of every provider behind one gateway: whose path is whose, and what each provider gets to see."""

import json

import anthropic
import openai
import pytest

from answers import assert_hit, assert_miss
from group import DEADLINE_S, UPSTREAM_KEY, Group
from raw import exchange

VERSION = {"anthropic-version": "2023-06-01"}
DEPLOYMENT = "/openai/deployments/mine/chat/completions?api-version=2024-10-21"


class Everyone(Group):
    """One fake provider that is three targets."""

    def targets(self):
        models = {"openai": ["gpt-4o"], "azure": ["mine"], "anthropic": ["claude-test"]}
        return [{**self.target(), "id": provider, "provider": provider, "models": served}
                for provider, served in models.items()]


@pytest.fixture(scope="module")
def everyone():
    with Everyone(gateways=(("gw-a", "primary"),)) as group:
        yield group
        assert group.a.vms_lost() == 0


@pytest.fixture(scope="module")
def caller(everyone):
    return everyone.key(org="acme")


def said(model, prompt, **more):
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


def message(prompt, **more):
    return said("claude-test", prompt, max_tokens=99, **more)


def sdk(gateway, key):
    return anthropic.Anthropic(api_key=key.secret, base_url=gateway.url, max_retries=0, timeout=DEADLINE_S)


@pytest.mark.parametrize("path, body, header, value", [
    ("/v1/chat/completions", lambda prompt: said("gpt-4o", prompt), "authorization", f"Bearer {UPSTREAM_KEY}"),
    ("/v1/messages", message, "x-api-key", UPSTREAM_KEY),
    (DEPLOYMENT, lambda prompt: said("mine", prompt), "api-key", UPSTREAM_KEY),
    ("/openai/v1/chat/completions", lambda prompt: said("mine", prompt), "api-key", UPSTREAM_KEY),
], ids=["openai", "anthropic", "azure", "azure v1"])
def test_each_provider_gets_its_own_credential_and_none_of_the_clients(
        everyone, caller, prompt, path, body, header, value):
    content = json.dumps(body(prompt)).encode()
    # The one key, in every place where a client's library may put it.
    credentials = {"authorization": f"Bearer {caller.secret}", "x-api-key": caller.secret, "api-key": caller.secret}
    beta = {"anthropic-beta": "a-beta-of-nobody"}
    assert_miss(everyone.a.post(None, content, path, headers={**credentials, **VERSION, **beta}))
    seen = everyone.provider.request_of(content)
    assert seen["path"] == path
    found = [(name, sent) for name, sent in seen["headers"] if name in credentials]
    assert found == [(header, value)]
    assert caller.secret not in json.dumps(seen)
    ours = {name: sent for name, sent in seen["headers"] if name.startswith("anthropic-")}
    assert ours == ({**VERSION, **beta} if path == "/v1/messages" else {})


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
def test_a_key_may_come_in_any_of_three_headers(everyone, caller, header):
    value = f"Bearer {caller.secret}" if header == "authorization" else caller.secret
    content = json.dumps(message("which header")).encode()
    answer = everyone.a.post(None, content, "/v1/messages", headers={header: value, **VERSION})
    assert answer.status == 200, answer


def test_one_entry_serves_both_modes_to_anthropics_sdk(everyone, caller, prompt):
    client = sdk(everyone.a, caller)
    live = client.messages.with_raw_response.create(**message(prompt))
    assert live.headers["x-cache-status"] == "miss"
    paid = live.parse()
    with client.messages.stream(**message(prompt)) as stream:
        assert stream.response.headers["x-cache-status"] == "hit"
        told = stream.get_final_message()
    # Its helper sets what the API leaves out.
    assert told.to_dict(exclude_none=True) == paid.to_dict(exclude_none=True)
    again = client.messages.with_raw_response.create(**message(prompt))
    assert again.headers["x-cache-status"] == "hit" and again.parse() == paid


def test_a_streamed_entry_is_told_whole(everyone, caller, prompt):
    client = sdk(everyone.a, caller)
    with client.messages.stream(**message(prompt)) as stream:
        live = stream.get_final_message()
    answer = client.messages.with_raw_response.create(**message(prompt))
    assert answer.headers["x-cache-status"] == "hit"
    assert answer.parse().to_dict(exclude_none=True) == live.to_dict(exclude_none=True)


def test_the_query_of_beta_clients_is_forwarded_and_keyed(everyone, caller, prompt):
    content = json.dumps(message(prompt)).encode()
    for path, forwarded in [("/v1/messages?x=1", "/v1/messages"), ("/v1/messages?beta=true&x=1", "/v1/messages?beta=true")]:
        assert_miss(everyone.a.post(caller, content, path, headers=VERSION))
        assert everyone.provider.requests()[-1]["path"] == forwarded
        assert_hit(everyone.a.post(caller, content, path, headers=VERSION))
    assert sdk(everyone.a, caller).beta.messages.create(**message(f"{prompt} again")).content


def test_azures_client_is_served_with_the_deployment_as_its_model(everyone, caller, prompt):
    client = openai.AzureOpenAI(api_key=caller.secret, azure_endpoint=everyone.a.url, api_version="2024-10-21",
                                max_retries=0, timeout=DEADLINE_S)
    first = client.chat.completions.with_raw_response.create(**said("mine", prompt))
    assert first.headers["x-cache-status"] == "miss"
    again = client.chat.completions.with_raw_response.create(**said("mine", prompt))
    assert again.headers["x-cache-status"] == "hit"
    assert again.parse() == first.parse()
    content = json.dumps({"messages": [{"role": "user", "content": prompt}]}).encode()
    without_model = everyone.a.post(caller, content, DEPLOYMENT)
    assert_hit(without_model)
    later = DEPLOYMENT.replace("2024-10-21", "2025-04-01-preview")
    assert_miss(everyone.a.post(caller, content, later))


def test_refusals_raise_the_right_errors_of_anthropics_sdk(everyone, caller):
    client = sdk(everyone.a, caller)
    for model, code in [("gpt-4o", "model_on_other_path"), ("no-such-model", "model_not_found")]:
        with pytest.raises(anthropic.NotFoundError) as caught:
            client.messages.create(**{**message("x"), "model": model})
        assert caught.value.body["error"]["type"] == "not_found_error"
        assert caught.value.body["error"]["code"] == code
    assert "not served on this path" in str(client_error(client, "gpt-4o"))
    stranger = anthropic.Anthropic(api_key="of-somebody-else", base_url=everyone.a.url, max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as caught:
        stranger.messages.create(**message("x"))
    assert caught.value.body["error"]["code"] == "invalid_api_key"
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**message("x"), container="container_1")
    assert caught.value.body["error"]["param"] == "container"


def client_error(client, model):
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(**{**message("x"), "model": model})
    return caught.value


def test_a_stream_that_breaks_raises_the_error_of_anthropics_sdk(everyone, caller, prompt):
    with pytest.raises((anthropic.APIStatusError, anthropic.APIConnectionError)):
        with sdk(everyone.a, caller).messages.stream(**message(f"{prompt} [[fake: cut_after=5]]")) as stream:
            stream.get_final_message()


def test_both_sdks_list_the_models(everyone, caller):
    expected = {"gpt-4o", "mine", "claude-test"}
    assert {model.id for model in sdk(everyone.a, caller).models.list(limit=2)} == expected
    assert {model.id for model in everyone.a.sdk(caller).models.list()} == expected


@pytest.mark.parametrize("path, kind", [("/v1/messages", "error"), ("/v1/chat/completions", None)])
def test_envoys_own_refusals_have_the_clients_shape(everyone, path, kind):
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\nhost: b\r\ncontent-length: 0\r\n\r\n"
    answer = exchange(everyone.a, head.encode())
    body = json.loads(answer.body)
    assert answer.status == 400 and body["error"]["code"] == "gateway_error", answer
    assert body.get("type") == kind, body
