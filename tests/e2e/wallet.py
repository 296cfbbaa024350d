"""The wallet of an organization, asked over the admin API."""

import datetime
import json
import uuid

from group import Group, merged
from processes import free_port, wait_until

CLAUDE = "claude-sonnet-4-5"
# Served where nobody listens.
UNREACHABLE = "gpt-4.1"
# What `gpt-4o` costs by the published list, in micro-dollars for a million tokens.
INPUT, OUTPUT = 2_500_000, 10_000_000
# The most transfers that one export tells.
PAGE = 1_000


def cost(input_tokens, output_tokens, rates=(INPUT, OUTPUT)):
    """What a call costs: exact, and rounded up once."""
    return -(-(input_tokens * rates[0] + output_tokens * rates[1]) // 1_000_000)


class Paying(Group):
    """A group with a wallet, whose provider is OpenAI and Anthropic, and a target that cannot be reached."""

    def __init__(self, config=None, **how):
        super().__init__(merged({
            "gateway": {"on_sidecar_loss": "unavailable"}, "wallet": {},
            "workflow_cache": {"max_entry_bytes": 100_000, "complete_on_disconnect": "never"},
        }, config or {}), **how)

    def targets(self):
        openai = self.target()
        nowhere = f"http://127.0.0.1:{free_port()}"
        return [
            openai, {**openai, "id": "anthropic", "provider": "anthropic", "models": [CLAUDE]},
            {**openai, "id": "nowhere", "base_url": nowhere, "models": [UNREACHABLE]},
        ]

    def wallet(self, micro_usd=0):
        """The wallet of an organization of its own, with money in it."""
        wallet = Wallet(self, f"org-{uuid.uuid4().hex[:12]}")
        return wallet.fund(micro_usd) if micro_usd else wallet


class Wallet:
    """One organization's wallet at a group's sidecar."""

    def __init__(self, group, org):
        self.group, self.org, self.path = group, org, f"/v1/wallet/{org}"

    def post(self, path, key=None, **fields):
        """A movement of money; the reply, whatever it is."""
        with self.group.sidecar.admin() as admin:
            headers = {"idempotency-key": key or uuid.uuid4().hex}
            return admin.post(self.path + path, json=fields, headers=headers)

    def fund(self, micro_usd):
        key = uuid.uuid4().hex

        def asked():
            # Where a store is late on a busy machine it may be done: the key sees that it is not done twice.
            reply = self.post("/fund", key=key, amount_micro_usd=micro_usd)
            return reply.status_code != 503 and reply
        wait_until(asked, "the wallet is funded").raise_for_status()
        return self

    def key(self, **fields):
        """A key whose calls it pays."""
        return self.group.key(org=self.org, **fields)

    def drain(self):
        """Takes out all that nobody has set aside."""
        if available := self.available:
            self.post("/adjust", amount_micro_usd=available, direction="debit").raise_for_status()

    def balance(self):
        return self._get().json()

    @property
    def available(self):
        return self.balance()["available_micro_usd"]

    @property
    def pending(self):
        return self.balance()["pending_micro_usd"]

    def transfers(self):
        """Every transfer, oldest first."""
        rows, page = [], None
        while page is None or len(page) == PAGE:
            after = rows[-1]["number"] if rows else 0
            page = [json.loads(line) for line in self._get("/export", after=after, count=PAGE).text.splitlines()]
            rows += page
        return rows

    def rows(self):
        """How many transfers there are of each kind, but for what was funded."""
        kinds = [row["kind"] for row in self.transfers() if row["kind"] != "fund"]
        return {kind: kinds.count(kind) for kind in kinds}

    def charges(self):
        """What calls were charged, each as its amount and whether it is estimated."""
        return [(row["amount_micro_usd"], row.get("note") == "estimated")
                for row in self.transfers() if row["kind"] in ("post", "overage", "late_post")]

    def hits(self):
        """How many hits are noted by now, from yesterday to tomorrow: a test may turn the clock."""
        today = datetime.datetime.now(datetime.UTC).date()
        since, until = today - datetime.timedelta(days=2), today + datetime.timedelta(days=2)
        query = {"org": self.org, "since": since.isoformat(), "until": until.isoformat()}
        with self.group.sidecar.admin() as admin:
            return admin.get("/v1/savings", params=query).raise_for_status().json()["total"]["hits"]

    def audit(self):
        """What an audit of the whole ledger says."""
        with self.group.sidecar.admin() as admin:
            return admin.post("/v1/wallet/audit").raise_for_status().json()

    def _get(self, path="", **query):
        with self.group.sidecar.admin() as admin:
            return admin.get(self.path + path, params=query).raise_for_status()
