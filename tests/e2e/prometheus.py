"""A Prometheus that scrapes a group as `deploy/observability` says, and what its dashboards ask it."""

import json
import re
import shutil
from pathlib import Path

import httpx
import pytest

from processes import PLAIN, ROOT, Process, free_port, wait_until

HOUSE = ROOT / "deploy/observability"
DASHBOARDS = sorted((HOUSE / "grafana/dashboards").glob("*.json"))
# What Grafana puts in the place of its variables. The range begins long before the group does, and a rate is that of the
# load, however long ago on a busy machine.
VARIABLES = {"$__rate_interval": "120s", "$__range": "3600s", "$sidecar": ".*", "$gateway": ".*"}


def program(name):
    """A program of Debian's package; a missing one is a failure that says how to get it."""
    found = shutil.which(name)
    assert found, f"no {name}: run 'scripts/setup test', or apt-get install prometheus"
    return found


class Query:
    """One question of a panel."""

    def __init__(self, dashboard, panel, target):
        self.panel, self.unit = panel["title"], panel["fieldConfig"]["defaults"]["unit"]
        self.name, self.text = f"{dashboard}: {panel['title']} {target['refId']}", target["expr"]

    @property
    def metrics(self):
        return metrics_of(self.text)

    @property
    def asked(self):
        """As Grafana would ask it."""
        text = self.text
        for name, value in VARIABLES.items():
            text = text.replace(name, value)
        assert "$" not in text, f"a variable that nobody knows: {text}"
        return text


def queries():
    """What all panels ask."""
    found = []
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            found += [Query(path.stem, panel, target) for target in panel["targets"]]
    return found


def metrics_of(expression):
    """The metrics that an expression reads: words that are neither functions nor labels nor in quotes."""
    bare = re.sub(r'"[^"]*"|\b(by|on|ignoring) ?\([^)]*\)', "", expression)
    words = re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\w*\s*(?:\(|=(?!=)|!=))", re.sub(r"\{[^}]*\}|\[[^]]*\]", "", bare))
    return {word for word in words if word == "up" or re.match(r"(kt|llm|gen_ai|envoy|provider)[_:]", word)}


class Prometheus:
    """Debian's, on a free port, with the project's scrape configuration but for its targets and its pace."""

    def __init__(self, folder, sidecars, gateways):
        self.port = free_port()
        text = (HOUSE / "prometheus.yaml").read_text()
        for old, new in {
            "scrape_interval: 15s": "scrape_interval: 1s", "scrape_timeout: 10s": "scrape_timeout: 1s",
            "evaluation_interval: 15s": "evaluation_interval: 1s", "- rules/": f"- {HOUSE}/rules/",
            '["127.0.0.1:41010"]': json.dumps(sidecars), '["127.0.0.1:41020"]': json.dumps(gateways),
        }.items():
            assert old in text, f"no {old} in prometheus.yaml"
            text = text.replace(old, new)
        config = Path(folder) / "prometheus.yaml"
        config.write_text(text)
        self.process = Process("prometheus", [
            program("prometheus"), "--config.file", config, "--storage.tsdb.path", Path(folder) / "prometheus",
            "--web.listen-address", f"127.0.0.1:{self.port}",
        ], Path(folder) / "prometheus.log")
        self._targets = {*sidecars, *gateways}
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10, verify=PLAIN)

    def ask(self, expression):
        """The series of an expression as of now; fails where Prometheus refuses it."""
        reply = self._http.get("/api/v1/query", params={"query": expression}).json()
        if reply["status"] != "success":
            pytest.fail(f"{expression}: {reply['error']}")
        assert not reply.get("warnings"), f"{expression}: {reply['warnings']}"
        return reply["data"]["result"]

    def values(self, expression):
        return [float(series["value"][1]) for series in self.ask(expression)]

    def number(self, expression):
        """The one number that an expression comes to."""
        values = self.values(expression)
        assert len(values) == 1, f"{expression}: {values}"
        return values[0]

    def rules(self):
        """Every rule as it stands."""
        groups = self._http.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def scrapes(self):
        """How many scrapes of each target have succeeded."""
        return {series["metric"]["instance"]: float(series["value"][1]) for series in self.ask("sum_over_time(up[1h])")}

    def wait_scraped(self, times):
        """Waits until every target has been scraped so often again."""
        wait_until(lambda: self._http.get("/-/ready").status_code == 200, "Prometheus is ready")
        before = self.scrapes()

        def is_scraped():
            now = self.scrapes()
            return all(now.get(name, 0) >= before.get(name, 0) + times for name in self._targets)
        wait_until(is_scraped, f"every target is scraped {times} times more")
