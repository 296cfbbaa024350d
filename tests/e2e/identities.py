"""Who somebody is without a gateway key: authorities, certificates and tokens that are made up for a test, by openssl."""

import base64
import contextlib
import hmac
import json
import re
import ssl
import subprocess
import time

import httpx

from group import DEADLINE_S, Group
from processes import wait_until

TRUST = "spiffe://kt.test"
ISSUER = "https://id.kt.test"
AUDIENCE = "kt-e2e"
# The second that is promised for a change of rules, and what a busy machine may add. That it takes no longer by itself is
# shown where time is an argument: `sidecar-cache/tests/sidecar/feed.rs`, `filter/core/src/tests/feed.rs`.
SOON = 1.0 + 9.0


@contextlib.contextmanager
def identified(rules):
    """A group with these rules, which is unharmed in the end."""
    with Identified(rules) as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id
        assert group.sidecar.metric("kt_gate_mismatch") == 0


def openssl(*arguments, stdin=None):
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=True).stdout


class Authority:
    """A certificate authority of a test."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.certificate, self._key = folder / f"{name}.crt", folder / f"{name}.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.certificate)

    def issue(self, name, *sans, common_name=None, days=2, by=None, more=""):
        """A certificate for these alternative names, and its key: two paths. `by` is who signs in the authority's place."""
        certificate, key = self.folder / f"{self.name}-{name}.crt", self.folder / f"{self.name}-{name}.key"
        request, extensions = certificate.with_suffix(".csr"), certificate.with_suffix(".ext")
        extensions.write_text("basicConstraints=CA:FALSE\n" + more + alternatives(sans))
        signed, signs = by or (self.certificate, self._key)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", "/CN=" + (common_name or name).replace("/", "\\/"), "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", signed, "-CAkey", signs, "-CAcreateserial",
                "-days", days, "-extfile", extensions, "-out", certificate)
        return certificate, key


def alternatives(sans):
    """The extension with these alternative names, whatever stands in them."""
    def line(at, san):
        kind, _, value = san.partition(":")
        return f"{kind}.{at} = " + re.sub(r"([\\\\#$\"'`])", r"\\\1", value)
    return "\n".join(["subjectAltName=@names", "[names]", *(line(at, san) for at, san in enumerate(sans)), ""]) if sans else ""


class Signer:
    """An issuer of tokens: an RSA key, and the file of its public half."""

    def __init__(self, folder, name):
        self._key, self.jwks = folder / f"{name}.pem", folder / f"{name}.json"
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self._key)
        modulus = openssl("rsa", "-in", self._key, "-noout", "-modulus").decode().strip().partition("=")[2]
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one", "e": "AQAB", "n": encoded(bytes.fromhex(modulus))}
        self.jwks.write_text(json.dumps({"keys": [key]}))

    def token(self, **claims):
        """A token with these claims; `None` takes one of the usual ones away."""
        claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 600, "sub": "ada", **claims}
        return self.signed({"alg": "RS256", "kid": "one", "typ": "JWT"}, claims)

    def signed(self, header, claims, secret=None):
        """A token with this header, signed with the issuer's key, or with a secret that both sides would have to know."""
        claims = {name: value for name, value in claims.items() if value is not None}
        text = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
        if secret is None:
            signature = openssl("dgst", "-sha256", "-sign", self._key, stdin=text.encode())
        else:
            signature = hmac.digest(secret, text.encode(), "sha256")
        return f"{text}.{encoded(signature)}"

    def public(self):
        """The public half, as PEM."""
        return openssl("pkey", "-in", self._key, "-pubout")


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Identified(Group):
    """A group whose gateways speak TLS, ask for certificates, and verify tokens."""

    def __init__(self, rules, **how):
        super().__init__(**how)
        self.ours, self.theirs = Authority(self.folder, "ours"), Authority(self.folder, "theirs")
        self.signer, self.forger = Signer(self.folder, "signer"), Signer(self.folder, "forger")
        self.server = self.ours.issue("gateway", "IP:127.0.0.1")
        self.config["identities"] = rules
        self.write_config(self.config)
        certificate, key = self.server
        for gateway in self.gateways:
            gateway.url = gateway.url.replace("http:", "https:")
            gateway.process.argv += map(str, [
                "--tls-cert", certificate, "--tls-key", key, "--client-ca", self.ours.certificate,
            ])
            gateway._http = self.client(gateway)

    def client(self, gateway, presents=None, http2=False):
        """A client that presents this certificate, or none."""
        context = ssl.create_default_context(cafile=self.ours.certificate)
        if presents:
            context.load_cert_chain(*presents)
        return httpx.Client(base_url=gateway.url, timeout=DEADLINE_S, verify=context, http2=http2)

    def snapshots(self, gateway):
        """The configuration's version as some workers of a gateway have it."""
        def one():
            with self.client(gateway) as client:
                return client.get("/health").json()["snapshot"]
        return [one() for _ in range(8)]

    def restore(self):
        """Puts the configuration back, and waits until every gateway has it."""
        taken = self.sidecar.configurations_taken()
        if json.loads(self.config_path.read_text()) == self.config:
            return
        self.write_config(self.config)
        wait_until(lambda: self.sidecar.configurations_taken() > taken, "the sidecar has the configuration again")
        after = self.sidecar.status()["snapshot"]
        for gateway in self.gateways:
            wait_until(lambda: set(self.snapshots(gateway)) == {after}, f"{gateway.id} has it again")

    def workload(self, name, *more, authority=None):
        """The certificate of a workload, by its SPIFFE ID's path."""
        file = name.strip("/").replace("/", "-")
        return (authority or self.ours).issue(file, f"URI:{TRUST}{name}", *more)

    def ask(self, gateway, prompt, presents=None, token=None, headers=None, **how):
        """A chat question by whoever presents this."""
        headers = {**({"authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        with self.client(gateway, presents) as client:
            return gateway.ask(None, prompt, headers=headers, client=client, **how)


def spiffe(path, **whom):
    return {"spiffe": f"{TRUST}{path}", **whom}


def jwt(claims=None, **whom):
    wanted = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": "signer.json"}
    return {"jwt": {**wanted, **({"claims": claims} if claims else {})}, **whom}
