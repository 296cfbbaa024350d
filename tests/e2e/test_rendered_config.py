"""What `kt` renders is a configuration that Envoy takes, for every example that we ship; and what it logs."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from group import environment
from processes import ROOT, binary_dir, envoy, free_port, wait_until
from raw import exchange, request

EXAMPLES = sorted(ROOT.glob("examples/*/policy-config*.yaml"))


def credential_files(config):
    """The files that the configuration names as sources of secrets."""
    if isinstance(config, dict):
        if source := config.get("path_config_source"):
            yield Path(source["path"])
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from credential_files(value)


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize("metrics", [False, True], ids=["plain", "metrics"])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_envoy_takes_what_kt_renders_for_an_example(example, metrics, tmp_path):
    referenced = re.findall(r"^\s*env:\s*(\w+)", example.read_text(), re.MULTILINE)
    env = {**os.environ, **environment(), **{name: "sk-a-credential-of-nobody" for name in referenced}}
    argv = [binary_dir() / "kt", "config", "render", "--policy-config", example, "--run-dir", tmp_path]
    if metrics:
        argv += ["--metrics", f"127.0.0.1:{free_port()}"]
    rendered = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert rendered.returncode == 0, rendered.stderr
    assert "sk-a-credential-of-nobody" not in rendered.stdout
    # `gateway run` writes the credentials' files when it starts; Envoy only looks whether they are there.
    for path in credential_files(json.loads(rendered.stdout)):
        assert path.is_relative_to(tmp_path)
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    config = tmp_path / "envoy.json"
    config.write_text(rendered.stdout)
    checked = subprocess.run([envoy(), "--mode", "validate", "--config-path", config],
                             capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stderr[-4000:]
    assert f"configuration '{config}' OK" in checked.stdout + checked.stderr


def test_envoy_refuses_what_is_broken(tmp_path):
    """The check above can fail."""
    config = tmp_path / "envoy.json"
    config.write_text('{"static_resources": {"listeners": [{"name": "x", "no_such_field": 1}]}}')
    checked = subprocess.run([envoy(), "--mode", "validate", "--config-path", config],
                             capture_output=True, text=True, timeout=120)
    assert checked.returncode != 0 and "no_such_field" in checked.stderr


def logged(gateway, field, value):
    """The ingress log's lines with this value."""
    lines = [line for line in gateway.process.log.read_text(errors="replace").splitlines() if line.startswith("{")]
    return [line for line in map(json.loads, lines) if line.get("log") == "ingress" and line.get(field) == value]


def test_health_checks_are_not_logged_and_nothing_hides_behind_them(group):
    gateway = group.b
    for _ in range(3):
        assert gateway.health().status_code == 200
    gateway.request("POST", "/health")
    gateway.request("GET", "/health/hidden")
    # Refused by Envoy itself: one whose Host is there twice, and one that never was a request.
    assert exchange(gateway, request(method=b"GET", path=b"/health", headers=[b"host: another"])).status == 400
    exchange(gateway, b"\x00no such protocol\r\n\r\n")
    wait_until(lambda: logged(gateway, "path", "/health/hidden"), "the log has what is no health check")
    wait_until(lambda: logged(gateway, "details", "http1.codec_error"), "the log has what was no request")
    lines = logged(gateway, "path", "/health")
    assert sorted((line["method"], line["status"] // 100) for line in lines) == [("GET", 4), ("POST", 4)], lines
