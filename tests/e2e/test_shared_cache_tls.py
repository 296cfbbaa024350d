"""Two sidecars over one Redis that speaks TLS and nothing else: what the one has paid for the other serves, and who cannot
verify it goes without and says what to do."""

import os
import tempfile
from pathlib import Path

import pytest

from answers import assert_hit, assert_miss
from identities import Authority
from processes import wait_until
from test_shared_cache import BACK_S, Shared, one_pays_and_the_other_serves

VARIABLE = "SSL_CERT_FILE"


class Encrypted(Shared):
    """The same two, by `rediss://`."""

    def __init__(self):
        self._certificates = tempfile.TemporaryDirectory()
        folder = Path(self._certificates.name)
        self.authority, self.stranger = Authority(folder, "authority"), Authority(folder, "stranger")
        self._issued = self.authority.issue("redis", "DNS:localhost")
        # As the database: what is started later inherits it.
        self._before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = str(self.authority.certificate)
        super().__init__()

    def redis_url(self):
        return f"rediss://localhost:{self.redis_port}"

    def redis_listens(self):
        certificate, key = self._issued
        return ["--port", 0, "--tls-port", self.redis_port, "--tls-cert-file", certificate, "--tls-key-file", key,
                "--tls-ca-cert-file", self.authority.certificate, "--tls-auth-clients", "no"]

    def __exit__(self, *_):
        super().__exit__()
        os.environ.pop(VARIABLE)
        if self._before is not None:
            os.environ[VARIABLE] = self._before
        self._certificates.cleanup()


@pytest.fixture(scope="module")
def encrypted():
    with Encrypted() as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id


def test_what_one_sidecar_has_paid_for_the_other_serves_over_tls(encrypted, prompt):
    one_pays_and_the_other_serves(encrypted, prompt)
    told = encrypted.kt("doctor", "--json", check=False).stdout
    assert f"redis at localhost:{encrypted.redis_port} by TLS answers the sidecar" in told, told


@pytest.mark.fault(8)
def test_a_redis_that_is_killed_is_used_again_over_tls(encrypted, prompt):
    at_a, at_b = encrypted.keys()
    encrypted.redis.kill()
    for number in range(20):
        assert_miss(encrypted.b.ask(at_b, f"{prompt} {number}"), "store-unavailable")
    encrypted.redis.start()
    for sidecar in (encrypted.sidecar, encrypted.other):
        wait_until(lambda: sidecar.health().json()["status"] == "ok", "it is back, without a restart", BACK_S)
    again = assert_miss(encrypted.b.ask(at_b, f"{prompt} again"), "request")
    assert_hit(encrypted.a.ask(at_a, f"{prompt} again"), of=again)


def test_a_sidecar_that_cannot_verify_its_redis_goes_without_it_and_says_what_to_do(encrypted, prompt):
    at_a, at_b = encrypted.keys()
    paid = assert_miss(encrypted.a.ask(at_a, prompt))
    encrypted.other.process.kill()
    encrypted.other.restart({VARIABLE: str(encrypted.stranger.certificate)})
    wait_until(lambda: "stores_away" in encrypted.other.health().json(), "it says so")
    at = {"KT_SIDECAR": str(encrypted.other.socket)}
    for command in ("gateway", "status"), ("doctor", "--json"):
        told = encrypted.kt(*command, check=False, env=at)
        told = told.stdout + told.stderr
        assert "by no authority that is trusted here: name that authority's file with SSL_CERT_FILE" in told, told
    wait_until(lambda: encrypted.b.ask(at_b, f"{prompt} first").status == 200, "its gateway has it again")
    assert_miss(encrypted.b.ask(at_b, prompt), "store-unavailable")

    encrypted.other.process.kill()
    encrypted.other.restart()
    wait_until(lambda: "stores_away" not in encrypted.other.health().json(), "Redis is there")
    wait_until(lambda: encrypted.b.ask(at_b, f"{prompt} second").status == 200, "its gateway has it again")
    assert_hit(encrypted.b.ask(at_b, prompt), of=paid)
