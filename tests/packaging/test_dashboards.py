"""The dashboards by Grafana's own model of them (PyPI: grafana-foundation-sdk), since no Grafana is here that would read them.

The model is generated from Grafana's schemas. Reading drops what it does not know and checks no types, so what has been read
is written again and compared, and every value is held against the type that the model declares for it.
"""

import copy
import enum
import json
import types
import typing

import pytest
from grafana_foundation_sdk.cog import encoder, plugins, runtime
from grafana_foundation_sdk.models import dashboard, units

from prometheus import DASHBOARDS

NAMES = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
PLAIN = (str, int, float, bool, type(None))
UNITS = {value for name, value in vars(units).items() if name[0].isupper() and isinstance(value, str)}


@pytest.fixture(scope="module", autouse=True)
def kinds():
    """What panels and queries of each kind have."""
    plugins.register_default_plugins()


def lost(before, after, where=""):
    """What is in one and not, or not the same, in the other."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [at for name, value in before.items() for at in (
            lost(value, after[name], f"{where}.{name}") if name in after else [f"{where}.{name}"])]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [at for number, pair in enumerate(zip(before, after)) for at in lost(*pair, f"{where}[{number}]")]
    return [] if before == after else [where]


def told(read):
    """What the model writes of what it has read."""
    return json.loads(json.dumps(read, cls=encoder.JSONEncoder))


def wrong(value, declared, where=""):
    """Where a value is not of its declared type."""
    of, parts = typing.get_origin(declared), typing.get_args(declared)
    if declared in (typing.Any, object):
        # What depends on the kind of a panel or a query is declared as anything, and read as what it is.
        return wrong(value, type(value), where) if hasattr(value, "to_json") else []
    if of in (typing.Union, types.UnionType):
        found = [wrong(value, part, where) for part in parts]
        return [] if [] in found else max(found, key=len)
    if of is typing.Literal:
        return [] if value in parts else [f"{where} = {value!r}"]
    if of is list:
        return [at for number, it in enumerate(value) for at in wrong(it, parts[0], f"{where}[{number}]")] \
            if isinstance(value, list) else [where]
    if of is dict:
        return [at for name, it in value.items() for at in wrong(it, parts[1], f"{where}.{name}")] \
            if isinstance(value, dict) else [where]
    if issubclass(declared, enum.Enum):
        known = [member.value for member in declared]
        return [] if isinstance(value, declared) or value in known else [f"{where} = {value!r}"]
    if declared in PLAIN:
        is_number = declared is float and type(value) is int
        return [] if type(value) is declared or is_number else [f"{where} = {value!r}"]
    if isinstance(value, dict):
        # Some lists are left unread.
        read = declared.from_json(value)
        return lost(value, told(read), where) + wrong(read, declared, where)
    if not isinstance(value, declared):
        return [where]
    hints = typing.get_type_hints(type(value))
    return [at for name, it in vars(value).items() for at in wrong(it, hints[name], f"{where}.{name}")]


def faults(document):
    """What Grafana's model has against a dashboard."""
    read = dashboard.Dashboard.from_json(copy.deepcopy(document))
    unknown = [word for panel in document["panels"] for word, known in (
        (panel["fieldConfig"]["defaults"]["unit"], UNITS), (panel["type"], runtime.Runtime().panelcfg_variants)) if word not in known]
    return [*lost(document, told(read)), *wrong(read, dashboard.Dashboard), *unknown]


@NAMES
def test_a_dashboard_has_nothing_that_grafana_does_not_know_and_everything_of_its_type(path):
    assert faults(json.loads(path.read_text())) == []


def edited(at, value):
    """A dashboard with another value at a place."""
    document = json.loads(DASHBOARDS[0].read_text())
    *to, last = at
    part = document
    for step in to:
        part = part[step]
    part[last] = value
    return document


@pytest.mark.parametrize("at, value", [
    (("panells",), []),
    (("time", "until"), "now"),
    (("refresh",), 30),
    (("graphTooltip",), 7),
    (("panels", 0, "gridpos"), {}),
    (("panels", 0, "gridPos", "w"), "4"),
    (("panels", 0, "type"), "stats"),
    (("panels", 0, "fieldConfig", "defaults", "unit"), "dollars"),
    (("panels", 0, "fieldConfig", "defaults", "threshold"), {}),
    (("panels", 0, "options", "colorMode"), "values"),
    (("panels", 0, "options", "reduceOption"), {}),
    (("panels", 6, "fieldConfig", "defaults", "custom", "drawStyle"), "lines"),
    (("panels", 0, "targets", 0, "query"), "up"),
    (("panels", 0, "targets", 0, "format"), "chart"),
    (("panels", 0, "targets", 0, "instant"), "true"),
    (("templating", "list", 0, "type"), "data source"),
    (("templating", "list", 0, "hidden"), 1),
], ids=lambda it: ".".join(map(str, it)) if isinstance(it, tuple) else repr(it))
def test_what_grafana_does_not_know_is_found(at, value):
    assert faults(edited(at, value))
