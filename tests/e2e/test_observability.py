"""Metrics, rules and dashboards: they are well formed, read what exists, and tell a load's true numbers."""

import json
import math
import re
import subprocess
import time

import httpx
import pytest
import yaml
from hyperframe.frame import DataFrame, HeadersFrame

from answers import assert_coalesced, assert_hit, assert_miss, assert_refused
from crowd import Crowd
from fleet import Fleet
from frames import Frames
from group import Group, chat
from policies import POLICIES
from processes import ROOT, filter_module, free_port, wait_until
from prometheus import DASHBOARDS, HOUSE, Prometheus, metrics_of, program, queries
from trapping import trapping
from wallet import UNREACHABLE, Paying, Wallet

FOLLOWERS, REPEATS = 4, 6
UNITS = {"none", "short", "percentunit", "s", "ms", "bytes", "currencyUSD", "ops", "reqps"}
# Only where sidecars share a store, and what never happens to a group that is well.
ELSEWHERE = re.compile(r"kt_(store_\w+|shared_flights_total|gate_mismatch_total|tickets_refused_total)")
RULES = (HOUSE / "rules/alerts.yaml").read_text()
RECORDED = re.findall(r"record: (\S+)", (HOUSE / "rules/recording.yaml").read_text())
ALERTS = re.findall(r"^ +- alert: (\w+)$", RULES, re.MULTILINE)
PAGE = (ROOT / "docs/operations/alerts.md").read_text()


class Told:
    """What a load run did, counted by the client."""

    def __init__(self):
        self.requests = self.hits = self.misses = self.coalesced = self.refused = self.failed = 0
        self.input_tokens = self.output_tokens = self.saved_input_tokens = self.saved_output_tokens = 0

    def saved(self, paid, answers):
        """So many answers needed no call, because this one was paid for."""
        usage = paid.json()["usage"]
        self.saved_input_tokens += answers * usage["prompt_tokens"]
        self.saved_output_tokens += answers * usage["completion_tokens"]

    def paid(self, answer):
        usage = assert_miss(answer).json()["usage"]
        self.requests, self.misses = self.requests + 1, self.misses + 1
        self.input_tokens += usage["prompt_tokens"]
        self.output_tokens += usage["completion_tokens"]
        return answer


class Watched:
    """What a group has more whose Envoys tell Prometheus too: their addresses for it, and one that asks there."""

    def __init__(self, *config, **shape):
        super().__init__(*config, **shape)
        for gateway in self.gateways:
            gateway.metrics_address = f"127.0.0.1:{free_port()}"
            gateway.process.argv += ["--metrics", gateway.metrics_address]
        sidecars = getattr(self, "sidecars", [self.sidecar])
        self.prometheus = Prometheus(self.folder, [f"127.0.0.1:{sidecar.port}" for sidecar in sidecars],
                                     [gateway.metrics_address for gateway in self.gateways])

    def processes(self):
        return [*super().processes(), self.prometheus.process]

    def __enter__(self):
        # First, because it looks for its targets five seconds after its start: the group needs those too.
        self.prometheus.process.start()
        return super().__enter__()


class Observed(Watched, Paying):
    """A group that pays, polices and is on record."""

    def __init__(self):
        super().__init__({
            "policies": {
                "chain": ["pii-detector", "prompt-injection", "audit-logger"],
                "policy": {"pii-detector": {"action": "block"}, "prompt-injection": {"action": "monitor"}},
            },
            "budgets": {"organization": {"daily_limit_usd": 0.5, "alert_threshold": 0.0001}},
        })


class WatchedFleet(Watched, Fleet):
    """Gateways with a sidecar each, which share flights and a ledger."""


class Trapping(Watched, Group):
    """A group of one gateway, in whose filter every request with trailers is a trap. All else is as it was built."""

    def __init__(self):
        super().__init__(gateways=(("gw-a", "primary"),))
        module = self.folder / "trapping.wasm"
        module.write_bytes(trapping(filter_module().read_bytes(), "proxy_on_request_trailers"))
        self.a.process.argv += ["--filter", str(module)]

    def trap(self, key, prompt):
        """Ends the worker's VM; and waits until another one answers."""
        with Frames(self.a) as frames:
            stream, head = frames.head(key)
            body = DataFrame(stream, json.dumps(chat(prompt)).encode())
            frames.send(head, body, frames.trailers(stream, ("x-checksum", "none")))
            frames.read_until(lambda frame: isinstance(frame, HeadersFrame))
        wait_until(lambda: self.a.ask(key, prompt).status == 200, "a new VM answers")


def load(group, crowd, key, told, name):
    """A miss, hits on both gateways and in a worker's memory, followers of a flight, and what fails and is refused."""
    for number in range(3):
        prompt = f"{name} {number}"
        paid = told.paid(group.a.ask(key, prompt))
        with group.b.client() as client:
            for _ in range(REPEATS):
                assert_hit(group.b.ask(key, prompt, client=client), of=paid)
        told.requests, told.hits = told.requests + REPEATS, told.hits + REPEATS
        told.saved(paid, REPEATS)
    gate = f"gate-{name}"
    body = chat(f"{name} [[fake: gate={gate}]]")
    lead = crowd.one(group.a, key, body)
    group.provider.wait_at(gate)
    follow = crowd.ask(group.gateways, key, body, count=FOLLOWERS)
    group.sidecar.wait_followers(FOLLOWERS)
    group.provider.release(gate)
    paid = told.paid(lead.whole())
    for live in follow:
        assert_coalesced(live.whole(), of=paid)
    told.requests, told.coalesced = told.requests + FOLLOWERS, told.coalesced + FOLLOWERS
    told.saved(paid, FOLLOWERS)
    told.paid(group.a.ask(key, f"{name} once", headers={"idempotency-key": name}))
    told.paid(group.a.ask(key, f"{name} {POLICIES['prompt-injection'][0]}"))
    told.error = assert_refused(group.a.ask(key, "x", model=UNREACHABLE), 502)["code"]
    told.requests, told.failed = told.requests + 1, told.failed + 1
    assert group.a.ask(key, "mail jane.roe@example.com").status == 409
    assert group.b.ask(None, "who am I?").status == 401
    told.requests, told.refused = told.requests + 2, told.refused + 2


@pytest.fixture(scope="module")
def observed():
    """The group after its load, the Prometheus that has seen it, and what was done."""
    told = Told()
    with Observed() as group, Crowd() as crowd:
        prometheus = group.prometheus
        prometheus.wait_scraped(1)
        group.told, group.payer = told, group.wallet(5_000_000)
        key = group.payer.key(team="web", user="ada", agent="coder")
        # Twice, with scrapes between: a rate is that of something that was there before.
        for name in ("first", "second"):
            load(group, crowd, key, told, name)
            prometheus.wait_scraped(2)
        yield group, prometheus


def asked(dashboard, title, letter="A"):
    found = [query for query in queries() if query.name == f"{dashboard}: {title} {letter}"]
    assert len(found) == 1, f"no such panel: {dashboard}: {title}"
    return found[0].asked


def panel(prometheus, dashboard, title, letter="A"):
    """The number that a panel of one number shows."""
    return prometheus.number(asked(dashboard, title, letter))


def of_envoys(group, gateway_metric=None):
    """What every gateway's Envoy tells Prometheus, or the sum of one sample of it."""
    texts = [httpx.get(f"http://{gateway.metrics_address}/metrics", timeout=10).text for gateway in group.gateways]
    if gateway_metric is None:
        return texts
    return sum(float(line.rpartition(" ")[2]) for text in texts for line in text.splitlines()
               if line.startswith(f"{gateway_metric} "))


def test_the_dashboards_tell_what_the_clients_the_provider_and_the_ledger_count(observed):
    group, prometheus = observed
    told = group.told

    def shown(title, dashboard="overview"):
        return panel(prometheus, dashboard, title)
    # Hits in a worker's memory reach the sidecar with the next poll, and Prometheus with the next scrape.
    wait_until(lambda: shown("Hits") == told.hits, f"the dashboard tells {told.hits} hits")
    # A scrape that a busy machine does not answer within its second leaves a hole until the next one.
    def agrees():
        assert shown("Requests") == told.requests
        assert shown("Coalesced") == shown("Followed", "flights") == told.coalesced
        assert shown("Provider calls") == group.provider.total() == told.misses
        assert (shown("Input tokens", "money"), shown("Output tokens", "money")) == (told.input_tokens, told.output_tokens)
        saved_tokens = (shown("Saved input tokens", "money"), shown("Saved output tokens", "money"))
        assert saved_tokens == (told.saved_input_tokens, told.saved_output_tokens)
        charged = sum(amount for amount, is_estimated in group.payer.charges())
        assert charged > 0 and round(shown("Cost") * 1e6, 3) == round(shown("Cost", "money") * 1e6, 3) == charged
        saved = json.loads(group.kt("savings", "--org", group.payer.org, "--json").stdout)["total"]["saved_micro_usd"]
        assert round(shown("Saved") * 1e6, 3) == saved > 0
        lookups = told.misses + told.coalesced + told.failed
        assert shown("Misses", "cache") == lookups
        assert panel(prometheus, "overview", "Hit ratio", "B") == pytest.approx(told.hits / (told.hits + lookups))
        assert 0 < shown("Hit ratio") < 1
        # Each flight has one who leads; of the one that failed nobody else waited to take over.
        assert (shown("Led", "flights"), shown("Taken over", "flights")) == (told.misses + told.failed, 0)
        assert shown("Hits in workers' memory", "cache") > 0
        assert (shown("Refused", "policy"), shown("Blocked by policies", "policy")) == (told.refused, told.refused / 2)
        assert shown("Requests without a record", "policy") == shown("VMs lost", "health") == 0
        assert (shown("Sidecars that answer", "health"), shown("Gateways that answer", "health")) == (1, 2)
        [errors] = prometheus.ask(asked("overview", "Errors"))
        assert errors["metric"]["error_type"] == told.error and float(errors["value"][1]) > 0
        assert prometheus.number(f'llm_errors_total{{error_type="{told.error}"}}') == told.failed
        # Both sides have counted what clients were told.
        assert prometheus.number("llm_cache_hits_total") == of_envoys(group, 'kt_filter_requests_total{outcome="hit"}') == told.hits
        assert of_envoys(group, 'kt_filter_requests_total{outcome="coalesced"}') == told.coalesced
        assert of_envoys(group, 'kt_filter_requests_total{outcome="refused"}') == told.refused
        return True
    wait_until(agrees, "the dashboards tell what happened")


def test_the_dashboards_of_a_fleet_count_a_flight_that_sidecars_share_and_a_frozen_wallet_once():
    gateways = (("gw-a", "primary"), ("gw-b", "worker"), ("gw-c", "worker"))
    with WatchedFleet(gateways=gateways) as fleet, Crowd() as crowd:
        prometheus = fleet.prometheus
        wallet = Wallet(fleet, "acme").fund(5_000_000)
        key = wallet.key()
        prometheus.wait_scraped(1)
        for name in ("once", "again"):
            lead = crowd.one(fleet.gateways[0], key, chat(f"{name} [[fake: gate={name}]]"))
            fleet.provider.wait_at(name)
            followed = fleet.followed()
            others = crowd.ask(fleet.gateways[1:], key, chat(f"{name} [[fake: gate={name}]]"), count=4)
            wait_until(lambda: fleet.followed() == followed + 2, "both other sidecars follow")  # noqa: B023
            wait_until(lambda: sum(sidecar.gauge("kt_flight_followers") for sidecar in fleet.sidecars) == 2, "all wait")
            fleet.provider.release(name)
            paid = assert_miss(lead.whole())
            for live in others:
                assert_coalesced(live.whole(), of=paid)
        wallet.post("/freeze", reason="looked into").raise_for_status()

        def agrees():
            assert panel(prometheus, "flights", "Led") == fleet.provider.total() == 2
            assert panel(prometheus, "flights", "Followed") == panel(prometheus, "overview", "Coalesced") == 8
            assert panel(prometheus, "money", "Breaches, frozen wallets") == 1
            assert prometheus.number("sum(kt_wallet_frozen)") == 3
            # Days begin alike everywhere, or an alert would say so.
            assert prometheus.number("sum(kt_wallet_time_zones_info)") == 3
            assert prometheus.number("count(count by (time_zone, own) (kt_wallet_time_zones_info))") == 1
            return True
        wait_until(agrees, "the dashboards tell what happened")


def test_live_gateways_snapshots_are_some_moments_old_by_both_accounts(observed):
    group, _ = observed
    gateways = {gateway.id for gateway in group.gateways}
    by_sidecar, aged = re.compile(r'^kt_gateway_snapshot_age_seconds\{gateway="([^"]+)"\} (\S+)$', re.MULTILINE), set()

    def is_told_of_both():
        ages = {gateway: float(age) for gateway, age in by_sidecar.findall(group.sidecar.metrics())}
        # Between two polls it grows: who is always 0 s old is not looked at.
        aged.update(gateway for gateway, age in ages.items() if age > 0)
        assert ages.keys() <= gateways and aged <= gateways
        return ages.keys() == aged == gateways and all(0 <= age < 10 for age in ages.values())
    wait_until(is_told_of_both, "the sidecar tells the age of both gateways' snapshots")

    def are_confirmed():
        texts, now = of_envoys(group), time.time()
        told = re.findall(r"^kt_filter_snapshot_confirmed_timestamp_seconds(?:\{\})? (\S+)$", "\n".join(texts), re.MULTILINE)
        assert len(told) == len(texts), told
        return all(-1 <= now - float(moment) < 10 for moment in told)
    wait_until(are_confirmed, "both gateways' snapshots were confirmed seconds ago")


@pytest.mark.fault(50)
def test_every_vm_that_a_trap_has_ended_is_on_the_dashboard_and_alarms_somebody(prompt):
    with Trapping() as group:
        prometheus, key = group.prometheus, group.key()
        assert group.a.ask(key, prompt).status == 200
        prometheus.wait_scraped(1)

        def told():
            firing = {rule["name"] for rule in prometheus.rules() if rule.get("state") == "firing"}
            since_start = prometheus.number(asked("health", "VMs", "B"))
            return panel(prometheus, "health", "VMs lost"), since_start, "KtFilterVmLost" in firing
        wait_until(lambda: told() == (0, 0, False), "the dashboard tells of none")
        for _ in range(3):
            group.trap(key, prompt)
        wait_until(lambda: told() == (3, 3, True), "the dashboard tells of three VMs, and an alert fires")


def test_every_panel_has_data_of_a_group_under_load(observed):
    _, prometheus = observed
    empty = []
    for query in queries():
        values = prometheus.values(query.asked)
        is_elsewhere = all(ELSEWHERE.fullmatch(metric) for metric in query.metrics)
        if not is_elsewhere and not any(math.isfinite(value) for value in values):
            empty.append(f"{query.name}: {query.asked} is {values}")
    assert not empty, "\n".join(empty)


def test_every_rule_is_evaluated_and_a_group_that_is_well_alarms_nobody(observed):
    _, prometheus = observed
    rules = wait_until(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()) and prometheus.rules(),
                       "every rule has been evaluated")
    assert sorted(rule["name"] for rule in rules if rule["type"] == "alerting") == sorted(ALERTS)
    # Its budget is as good as spent from the first call on: that is what it has the threshold for.
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert firing <= {"KtBudgetThreshold"}
    for rule in rules:
        if rule["type"] == "recording":
            wait_until(lambda: prometheus.values(rule["name"]), f"{rule['name']} is recorded")


def test_promtool_has_nothing_to_say_about_the_metrics(observed):
    group, _ = observed
    checked = promtool("check", "metrics", stdin=group.sidecar.metrics())
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    envoys = httpx.get(f"http://{group.a.metrics_address}/metrics", timeout=10).text
    checked = promtool("check", "metrics", stdin=envoys)
    # Envoy writes no help for any metric; beside that the filter's are as they should be.
    ours = [line for line in (checked.stdout + checked.stderr).splitlines() if line.startswith("kt_")]
    assert ours and {line.split(" ", 1)[1] for line in ours} == {"no help text"}
    assert 'kt_filter_policy_total{action="redact"}' in envoys


def test_metrics_come_in_the_format_that_was_asked_for(observed):
    group, _ = observed
    url = f"http://127.0.0.1:{group.sidecar.port}/metrics"
    openmetrics = httpx.get(url, headers={"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics.text.endswith("# EOF\n") and "# TYPE llm_requests counter\n" in openmetrics.text
    classic = httpx.get(url)
    assert classic.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# EOF" not in classic.text and "# TYPE llm_requests_total counter\n" in classic.text


def test_who_asks_and_what_for_makes_no_series(observed):
    group, _ = observed

    def series():
        lines = group.sidecar.metrics().splitlines()
        # Of Envoy's, the filter's: its own tell of connections and status codes as these come.
        lines += [line for text in of_envoys(group) for line in text.splitlines() if line.startswith("kt_")]
        return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}

    def ask(number):
        org = group.wallet(1_000_000)
        key = org.key(team=f"team-{number}", user=f"user-{number}", agent=f"agent-{number}",
                      codebases=[f"acme/{number}"])
        headers = {"x-request-id": f"request-{number}", "x-kt-codebase": f"acme/{number}"}
        for gateway in group.gateways:
            assert gateway.ask(key, f"bounded {number}", headers=headers).status == 200
        assert group.a.ask(key, f"bounded {number}", model=f"model-{number}").status == 404
        assert group.a.ask(key, f"mail number.{number}@example.com").status == 409
    ask(0)
    before = series()
    for number in range(1, 13):
        ask(number)
    assert series() == before
    assert len(before) < 1_000
    # Nor does any other name or label of Envoy's say who it was, or what for.
    assert not re.search(r"(team|user|agent|model|request)-\d|acme/\d|number\.\d", "".join(of_envoys(group)))


def test_every_rule_and_every_panel_reads_metrics_that_are_documented():
    page = (ROOT / "docs/reference/metrics.md").read_text()
    documented = {name.partition(".")[0] for name in re.findall(r"^\| `([\w.]+)`", page, re.MULTILINE)}
    rules = re.sub(r"^#.*|^ +(summary|runbook|record|#).*", "",
                   RULES + (HOUSE / "rules/recording.yaml").read_text(), flags=re.MULTILINE)
    read = metrics_of(rules).union(*(query.metrics for query in queries()))
    assert "kt_gateways" in read and "llm_cost_usd_total" in read
    for name in read.difference(RECORDED, {"up"}):
        bare = re.sub(r"_bucket$", "", name)
        assert bare in documented or bare.startswith("envoy_"), name


def test_every_metric_that_a_page_says_to_alert_on_has_an_alert():
    read = metrics_of(re.sub(r"^#.*|^ +(summary|runbook|record|#).*", "", RULES, flags=re.MULTILINE))
    rows = re.findall(r"^\| `([\w.]+)`.*\b[Aa]lert\b", (ROOT / "docs/reference/metrics.md").read_text(), re.MULTILINE)
    assert len(rows) > 10 and "kt_shared_flights_total" in rows and set(rows) <= read, set(rows) - read
    watched = (ROOT / "docs/operations/fleet.md").read_text().partition("| watch | alert on |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(kt_\w+)", watched))
    assert "kt_wallet_frozen" in named and named <= read, named - read


def test_no_rule_and_no_panel_takes_a_scrape_that_failed_for_a_series_that_began():
    rules = re.sub(r"\s+", " ", re.sub(r"^#.*", "", RULES, flags=re.MULTILINE))
    panels = " ".join(query.text for query in queries())
    for name, text in {"alerts.yaml": rules, "dashboards": panels}.items():
        # A sidecar that is starting is no beginning of a series.
        beginnings = re.findall(r"\bunless (?!on ?\([^)]*\) \(?kt_starting\b)(\S+)", text)
        assert len(beginnings) > 3, name
        assert not (others := [it for it in beginnings if not it.startswith("last_over_time(")]), f"{name}: {others}"
    told = "for those of which Prometheus has kept nothing of the hour before it"
    for path in DASHBOARDS:
        for it in json.loads(path.read_text())["panels"]:
            is_whole = any("offset $__range" in target["expr"] for target in it["targets"])
            assert (told in it["description"]) == is_whole, f"{path.name}: {it['title']}"


def test_a_dashboard_is_what_grafana_reads():
    uids = set()
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        uids.add(dashboard["uid"])
        variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
        assert variables["datasource"]["type"] == "datasource" and dashboard["schemaVersion"] >= 36, path
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels), path
        taken = set()
        for panel in panels:
            where, grid = f"{path.name}: {panel['title']}", panel["gridPos"]
            assert panel["type"] in ("stat", "timeseries", "table") and panel["description"], where
            assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, where
            assert 0 <= grid["x"] and grid["x"] + grid["w"] <= 24, where
            cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
            assert not cells & taken, f"{where} lies on another panel"
            taken |= cells
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), where
            for target in [panel, *panel["targets"]]:
                assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, where
            for target in panel["targets"]:
                used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval", "__range"}
                assert used <= set(variables), where
    assert uids == {f"kt-{path.stem}" for path in DASHBOARDS} and len(uids) == 6


def test_promtool_takes_the_configuration_and_the_rules_and_every_rule_has_its_tests():
    checked = promtool("check", "config", HOUSE / "prometheus.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tests = sorted((HOUSE / "rules/tests").glob("*.yaml"))
    tested = promtool("test", "rules", *tests)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    cases = [case for path in tests for case in yaml.safe_load(path.read_text())["tests"]]
    of_alerts = [f"{alert} {does}" for alert in ALERTS for does in ("fires", "does not fire")]
    assert sorted(case["name"] for case in cases) == sorted(of_alerts + RECORDED)
    for case in cases:
        if case["name"] in RECORDED:
            told = [it["exp_samples"] for it in case["promql_expr_test"] if case["name"] in it["expr"]]
            assert any(sample["value"] > 0 for samples in told for sample in samples), case["name"]


def test_every_alert_has_its_section_and_every_section_its_alert():
    sections = dict(re.findall(r"^### (\w+)\n\n(.*)$", PAGE, re.MULTILINE))
    assert list(sections) == ALERTS
    for rule in RULES.split("- alert: ")[1:]:
        alert, severity = rule.partition("\n")[0], re.search(r"severity: (\w+)", rule)[1]
        assert sections[alert].startswith(f"`{severity}`"), f"{alert} is {severity}, and not: {sections[alert]}"
        assert f"runbook: docs/operations/alerts.md#{alert.lower()}\n" in rule, alert


def promtool(*arguments, stdin=None):
    return subprocess.run([program("promtool"), *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=120)
