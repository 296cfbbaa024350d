"""What a Prometheus has of an Envoy after the rules of a PodMonitor, and what dashboards and alerts would find in it."""

import json
import re

import yaml

from prometheus import HOUSE, VARIABLES, metrics_of, queries

# What a target has and not a series.
OF_TARGETS = {"instance", "job", "group"}


def exactly(required, **properties):
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


TEXT, TEXTS = {"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "items": {"type": "string"}}
DURATION = {"type": "string", "pattern": r"^[0-9]+(ms|s|m|h)$"}
# What is used of the Prometheus operator's resource, by its API reference. A field beside these is an error.
POD_MONITOR = exactly(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "monitoring.coreos.com/v1"}, kind={"const": "PodMonitor"},
    metadata=exactly(["name", "namespace"], name=TEXT, namespace=TEXT),
    spec=exactly(
        ["selector", "podMetricsEndpoints"],
        namespaceSelector=exactly(["any"], any={"type": "boolean"}),
        selector=exactly(
            [], matchLabels={"type": "object", "additionalProperties": TEXT},
            matchExpressions={"type": "array", "items": exactly(["key", "operator"], key=TEXT, operator={"const": "Exists"})}),
        sampleLimit={"type": "integer", "minimum": 1}, labelLimit={"type": "integer", "minimum": 1},
        podMetricsEndpoints={"type": "array", "minItems": 1, "items": exactly(
            ["port", "path"], port=TEXT, path=TEXT, interval=DURATION, scrapeTimeout=DURATION,
            relabelings={"type": "array", "items": exactly(
                ["targetLabel"], targetLabel=TEXT, replacement=TEXT, sourceLabels=TEXTS)},
            metricRelabelings={"type": "array", "items": exactly(
                ["sourceLabels", "regex"], sourceLabels=TEXTS, regex=TEXT, targetLabel=TEXT, replacement=TEXT,
                action={"enum": ["drop", "keep", "replace"]})},
        )},
    ),
)


def read():
    """Every selector in the panels and the rules by what reads it: a metric, matchers, labels it is summed by."""
    texts = [(query.name, query.text) for query in queries()]
    for path in sorted((HOUSE / "rules").glob("*.yaml")):
        rules = [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
        texts += [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules]
    for name, text in texts:
        by = {label.strip() for labels in re.findall(r"\bby ?\(([^)]*)\)", text) for label in labels.split(",")} - OF_TARGETS
        for metric in sorted(it for it in metrics_of(text) if it.startswith(("envoy_", "kt_filter_"))):
            for matchers in re.findall(rf"\b{metric}\b(?:{{([^}}]*)}})?", text):
                yield name, metric, re.findall(r'(\w+)(=~|!=|!~|=)"([^"]*)"', matchers), by


class Scraped:
    """The series of one scrape."""

    def __init__(self, text, relabelings=()):
        self.series = list(filter(None, (relabeled(series(line), relabelings) for line in text.splitlines()
                                         if line and not line.startswith("#"))))

    def has(self, metric, matchers, by):
        """Whether there is such a series. Which values the filter's labels have is what has happened so far, so only that
        it has the labels counts; Envoy's are there from its start."""
        for labels in self.series:
            if labels["__name__"] == metric and by <= labels.keys() and all(
                    name in OF_TARGETS or (name in labels if metric.startswith("kt_") else matches(labels, name, how, value))
                    for name, how, value in matchers):
                return True
        return False


def matches(labels, name, how, value):
    value, has = VARIABLES.get(value, value), labels.get(name, "")
    return {"=": has == value, "!=": has != value, "=~": bool(re.fullmatch(value, has)),
            "!~": not re.fullmatch(value, has)}[how]


def series(line):
    """A line of the text format, as labels."""
    name, labels = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ", line).groups()
    found = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*")', labels or "")
    return {"__name__": name, **{label: json.loads(value) for label, value in found}}


def relabeled(labels, rules):
    """A series after these rules, or nothing where one drops it."""
    for rule in rules:
        of = ";".join(labels.get(name, "") for name in rule["sourceLabels"])
        found = re.fullmatch(rule["regex"], of)
        match rule.get("action", "replace"):
            case "drop" | "keep" as action:
                if bool(found) == (action == "drop"):
                    return None
            case "replace":
                if found:
                    labels = {**labels, rule["targetLabel"]: found.expand(re.sub(r"\$\{?(\d)\}?", r"\\1", rule["replacement"]))}
            case other:
                raise AssertionError(f"nobody knows what a rule's action {other} does")
    return labels
