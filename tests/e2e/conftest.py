"""Fixtures: the groups that tests share, and the logs of a failure."""

import signal

import pytest

from crowd import Crowd
from group import FOUR, Group, unique
from processes import binary_dir, envoy, filter_module
from wallet import Paying

pytest_plugins = ["played", "traces"]

# A shell that runs the suite in the background lets it ignore Ctrl-C, and every program that it starts would inherit
# that; the quickstart has to hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart(session):
    """Says what is missing, once, with the command that gets it. Nothing here is ever skipped for it."""
    if not session.config.option.collectonly:
        binary_dir(), filter_module(), envoy()


# Files that take a minute or more, most of it waiting. Whoever starts them first does not wait for them at the end.
LONG = ("test_fleet", "test_config_versions", "test_shared_database", "test_flight_waiting", "test_flight_endings",
        "test_nothing_broken", "test_naughty", "test_mesh", "test_documented_commands", "test_policies",
        "test_recordings_bytes", "test_rendered_config", "test_external", "test_wallet_endings")


def pytest_collection_modifyitems(items):
    """What wants the machine for itself, then what takes long, then all else."""
    items.sort(key=lambda item: (item.get_closest_marker("alone") is None, not item.path.name.startswith(LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Puts the ends of the logs below a failure."""
    report = yield
    if report.failed:
        for group in Group.running:
            report.sections.append((f"logs of {group.folder}", "\n".join(group.logs())))
    return report


@pytest.fixture(scope="session")
def group():
    """The group that most tests share: they use prompts and keys of their own and never harm it."""
    with Group() as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id
        for alarm in ("kt_corrupt", "kt_gate_mismatch", "kt_tickets_refused", "kt_reload_errors"):
            assert group.sidecar.metric(alarm) == 0, alarm


@pytest.fixture(scope="session")
def key(group):
    """A key that any test may use which does not look at who asks."""
    return group.key(org="acme", team="web", user="ada", agent="coder")


@pytest.fixture
def prompt():
    """A prompt that nobody has asked before."""
    return f"What is {unique()}?"


@pytest.fixture(scope="module")
def edited():
    """A group of its own for a file whose tests change its configuration or stop its processes."""
    with Group() as group:
        yield group


@pytest.fixture
def configurable(edited):
    """The changeable group, with its own configuration again after the test."""
    yield edited
    edited.configure({})


@pytest.fixture
def crowd():
    """Clients that can be watched while they wait. After the test all have left."""
    with Crowd() as crowd:
        yield crowd


@pytest.fixture(scope="session")
def four():
    """Four gateways on one sidecar, for the tests of flights: they use prompts of their own and never harm it."""
    with Group(gateways=FOUR) as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id
        for alarm in ("kt_corrupt", "kt_gate_mismatch", "kt_tickets_refused", "kt_reload_errors"):
            assert group.sidecar.metric(alarm) == 0, alarm
        assert group.sidecar.gauge("kt_flight_followers") == 0


@pytest.fixture(scope="session")
def paying():
    """A group with a wallet: each test has an organization of its own, and nobody changes the configuration."""
    with Paying() as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id
