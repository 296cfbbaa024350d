"""A gateway that joins no group's sidecar spawns its own and shares nothing."""

import pytest

from answers import assert_hit, assert_miss
from group import Group, Key
from processes import wait_until


class Local(Group):
    """One gateway, with `--sidecar spawn`."""

    def __init__(self):
        super().__init__(gateways=[("gw-local", "edge")])
        # Nobody else's sidecar is there to be joined.
        self.spawn(self.a)

    def spawn(self, gateway):
        argv = gateway.process.argv
        argv[argv.index("--sidecar") + 1] = "spawn"

    def processes(self):
        return [self.provider.process, self.a.process]

    def start_sidecar(self):
        """The gateway does."""


@pytest.fixture(scope="module")
def local():
    with Local() as group:
        group.sidecar.socket = wait_until(
            lambda: next(iter(sorted(group.a.run_dir.rglob("*sidecar*.sock"))), None), "the sidecar's socket is there")
        yield group


def test_entries_are_private_to_each_key_whatever_the_file_says(local, prompt):
    assert local.sidecar.status()["tier"] == "private_edge_cache"
    ada, bob = local.key(org="acme", user="ada"), local.key(org="acme", user="bob")
    paid = assert_miss(local.a.ask(ada, prompt))
    assert_hit(local.a.ask(ada, prompt), of=paid)
    assert_miss(local.a.ask(bob, prompt), "gateway-key")


def test_the_command_line_makes_its_keys(local, prompt):
    made = local.kt("key", "create", "--org", "acme", "--user", "ada", "--sidecar", local.sidecar.socket)
    secret = next(word for word in made.stdout.split() if word.startswith("kt_gk_"))
    assert_miss(local.a.ask(Key("unknown", secret), prompt))


def test_the_socket_of_its_sidecar_is_told(local):
    wait_until(lambda: f"KT_SIDECAR={local.sidecar.socket}\n" in local.a.process.log.read_text(errors="replace"),
               "kt says how to ask its sidecar")


def test_the_sidecar_ends_with_its_gateway():
    with Local() as group:
        family = group.a.process.family()
        assert len(family) >= 3, "kt, its sidecar and its Envoy"
        assert group.a.process.terminate() == 0
        wait_until(lambda: not any(member.is_running() for member in family), "nothing of it runs")
