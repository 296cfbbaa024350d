"""The sidecar that pays: gone, not alone with its file, and as the first of all configurations wants it."""

import re
import stat
import uuid

import pytest

from answers import assert_hit, assert_miss, assert_refused
from database import Database
from group import Group, chat
from processes import ROOT, Process, binary_dir, wait_until
from wallet import Paying, Wallet, cost

SEED = ROOT / "tests/fixtures/config/seed-001.yaml"


@pytest.fixture(scope="module")
def own():
    with Paying() as group:
        yield group


def test_without_its_sidecar_no_call_is_made_that_nobody_would_pay(own, prompt):
    wallet = own.wallet(1_000_000)
    key = wallet.key()
    assert_miss(own.a.ask(key, prompt))
    before = own.provider.total()
    own.sidecar.process.kill()
    for number in range(20):
        gateway = own.gateways[number % 2]
        refused = gateway.ask(key, f"{prompt} {number}", stream=number % 3 == 0)
        assert_refused(refused, 503, "sidecar_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers.get("x-should-retry") != "false"
    assert own.provider.total() == before
    own.sidecar.restart()
    for gateway in own.gateways:
        wait_until(lambda: gateway.ask(key, f"{prompt} {uuid.uuid4()}").status == 200, f"{gateway.id} pays again")
    assert len(wallet.charges()) == own.provider.total() - before + 1


def test_a_second_sidecar_on_the_same_file_is_refused_and_says_why(own, tmp_path):
    path = own.sidecar.folder / "data/wallet.db"
    config = tmp_path / "policy-config.yaml"
    config.write_text(own.config_path.read_text().replace('"wallet": {}', f'"wallet": {{"path": "{path}"}}'))
    second = Process("second", [
        binary_dir() / "sidecar-cache", "--policy-config", config, "--socket", tmp_path / "s.sock",
        "--data-dir", tmp_path / "data", "--listen", "none",
    ], tmp_path / "second.log").start()
    try:
        wait_until(lambda: not second.is_alive(), "the second sidecar has ended")
        assert "another sidecar has the wallet in" in second.log.read_text(), second.tail()
        assert str(path) in second.log.read_text() and "ended with 1" in second.tail(), second.tail()
    finally:
        second.kill()
    # The first one is none the worse.
    assert own.wallet(5).available == 5


def test_the_files_of_the_wallet_are_for_their_owner_alone(own):
    own.wallet(5)
    files = list((own.sidecar.folder / "data").glob("wallet.db*"))
    assert len(files) >= 4, files
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


class Seeded(Group):
    """A group with the whole example that this project began with; only its provider is a fake."""

    def write_config(self, config):
        at = ("    - id: openai\n      provider: openai\n"
              f"      base_url: {self.provider.base_url}\n"
              "      secret_key_ref:\n        env: E2E_UPSTREAM_KEY\n")
        text, count = re.subn(r"    - id: openai\n      provider: openai\n", at, SEED.read_text())
        assert count == 1
        self.config_path.write_text(text)


def test_the_first_example_of_all_runs_as_it_is_and_pays(prompt):
    with Seeded() as group:
        wallet = Wallet(group, "acme").fund(1_000_000)
        key = wallet.key()
        paid = assert_miss(group.a.ask(key, chat(prompt)))
        assert wallet.charges() == [(cost(len(prompt.split()), 12), False)]
        wallet.drain()
        assert_hit(group.b.ask(key, chat(prompt)), of=paid)
        refused = group.b.ask(key, f"{prompt} And then?")
        assert_refused(refused, 402, "insufficient_quota")
        assert refused.headers["x-should-retry"] == "false"
        wallet.fund(1_000_000)
        assert_miss(group.b.ask(key, f"{prompt} And then?"))


def test_one_that_waits_for_another_one_s_audit_says_that_it_starts_and_nothing_is_served_by_it():
    with Database() as database, Paying(database.config()) as group:
        group.sidecar.process.terminate()
        # Another one's turn, which lasts for as long as it is renewed.
        taken = ("UPDATE audit_turn SET holder = decode(repeat('00', 16), 'hex'), next_at = 0,"
                 " until = floor(extract(epoch FROM clock_timestamp()) * 1000) + {}")
        database.run(taken.format(25_000))
        group.sidecar.process.start()

        def starts():
            health = group.sidecar.health()
            return health.status_code == 503 and health.json() == {"status": "starting"}
        wait_until(starts, "the sidecar says that it starts")
        assert "# TYPE kt_wallet_audit_failing" in group.sidecar.metrics() and not group.sidecar.socket.exists()
        database.run(taken.format(0))
        wait_until(group.sidecar.is_ready, "the sidecar serves")
        assert group.sidecar.socket.exists() and group.sidecar.health().json()["status"] == "ok"
