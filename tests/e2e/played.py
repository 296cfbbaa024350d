"""The group whose providers play exchanges, the SDKs that ask it, and the line about a missing recorded set."""

import re

import pytest

from exchanges import EXCHANGES, FOLDERS, RECORDED
from group import UPSTREAM_KEY, Group
from sdks import AsyncPythonSdks, NodeSdks, PythonSdks


class PlayedGroup(Group):
    """One fake provider that is OpenAI, Azure and Anthropic at once, each a target with its own models."""

    def __init__(self):
        super().__init__(recordings=FOLDERS)

    def targets(self):
        served = {}
        for exchange in EXCHANGES.values():
            served.setdefault(exchange.provider, set()).add(exchange.model)
        return [
            {"id": provider, "provider": provider, "base_url": self.provider.base_url, "models": sorted(models),
             "secret_key_ref": {"env": "E2E_UPSTREAM_KEY"}}
            for provider, models in served.items()
        ]

    def not_stored(self):
        """How many answers were not stored, by reason."""
        samples = re.findall(r'^kt_not_stored_total\{reason="([^"]+)"\} (\d+)', self.sidecar.metrics(), re.MULTILINE)
        return {reason: int(count) for reason, count in samples}


@pytest.fixture(scope="session")
def played():
    with PlayedGroup() as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id
        for alarm in ("kt_corrupt", "kt_gate_mismatch", "kt_reload_errors"):
            assert group.sidecar.metric(alarm) == 0, alarm


@pytest.fixture(scope="session")
def reader(played):
    """A key for the played group."""
    return played.key(org="acme", team="web", user="ada", agent="reader")


@pytest.fixture(scope="session")
def python():
    sdks = PythonSdks()
    yield sdks
    sdks.close()


@pytest.fixture(scope="session")
def python_async():
    sdks = AsyncPythonSdks()
    yield sdks
    sdks.close()


@pytest.fixture(scope="session")
def node():
    sdks = NodeSdks()
    yield sdks
    sdks.close()


@pytest.fixture
def through(reader):
    """What an SDK sees of an exchange through a gateway."""
    def ask(gateway, sdks, exchange, body, call=None):
        return sdks.ask(exchange.ask(gateway.url, reader.secret, body, call))
    return ask


@pytest.fixture
def directly(played):
    """What an SDK sees of an exchange when it asks the provider itself."""
    def ask(sdks, exchange, body, call=None):
        return sdks.ask(exchange.ask(played.provider.base_url, UPSTREAM_KEY, body, call))
    return ask


def pytest_configure(config):
    # What was recorded from a model stays when its provider retires it.
    config.addinivalue_line("filterwarnings", "ignore:The model '.*' is deprecated:DeprecationWarning")


def pytest_terminal_summary(terminalreporter):
    if not RECORDED.is_dir():
        terminalreporter.line(f"recorded exchanges: there is no {RECORDED}, so they were not run")
