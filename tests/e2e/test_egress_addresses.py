"""A provider with two addresses of which one refuses: a large request reaches the other one."""

import json

import httpx

from group import CHAT, chat
from processes import Process, envoy, free_port, wait_until

MANAGER = ("filter_chains", 0, "filters", 0, "typed_config")


def test_a_large_body_goes_to_the_next_address_where_the_first_refuses(group, prompt):
    folder = group.folder / "two"
    folder.mkdir()
    config = json.loads((group.a.run_dir / "envoy.json").read_text())
    config["admin"]["address"]["pipe"]["path"] = str(folder / "admin.sock")
    ingress, egress = config["static_resources"]["listeners"][:2]
    ingress["address"]["socket_address"]["port_value"] = free_port()
    egress["address"]["pipe"]["path"] = str(folder / "egress.sock")
    provider = next(it for it in config["static_resources"]["clusters"] if it["name"] == "provider_openai")
    [addresses] = [it["lb_endpoints"] for it in provider["load_assignment"]["endpoints"]]
    # Nobody listens there. Envoy goes round, so of two requests one comes to it first.
    addresses.append({"endpoint": {"address": {
        "socket_address": {"address": "127.0.0.1", "port_value": free_port()},
    }}})
    (folder / "envoy.json").write_text(json.dumps(config))
    process = Process("two", [
        envoy(), "--config-path", folder / "envoy.json", "--concurrency", "1", "--disable-hot-restart",
    ], folder / "envoy.log")
    process.start()
    try:
        transport = httpx.HTTPTransport(uds=str(folder / "egress.sock"))
        with httpx.Client(transport=transport, base_url="http://egress", timeout=60) as client:
            def ask(size):
                body = chat(f"{prompt} {size} " + "x" * size)
                return client.post(CHAT, json=body, headers={"x-kt-target": "openai"}).status_code
            wait_until(lambda: ask(1) == 200, "egress listens")
            # Far beyond the 256 KiB of the listener, and within what the filter takes.
            statuses = [ask(1_000_000) for _ in range(4)]
            assert statuses == [200] * 4, statuses
    finally:
        process.kill()
