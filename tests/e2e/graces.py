"""How long the programs may take to end, as their own sources say: whatever ends them has to wait for that."""

import re

from processes import ROOT


def seconds(file, name):
    """A constant of a program's, in whole seconds."""
    text = (ROOT / file).read_text()
    return int(re.search(rf"const {name}: Duration = Duration::from_secs\((\d+)\);", text)[1])


def sidecar_s():
    """A sidecar's: every step behind the signal to stop has a bound of its own."""
    run = "sidecar-cache/src/run.rs"
    text = (ROOT / run).read_text()
    end = text.partition('tracing::info!("draining");')[2].partition("\n}\n")[0]
    assert end and not re.findall(r"^    sidecar\.\w+\(\)\.await", end, re.MULTILINE), "a step without a bound"
    bounds = re.findall(r"(?:timeout|sleep)\((\w+_MAX)\b", text)
    assert set(bounds) == set(re.findall(r"const (\w+_MAX): Duration", text)), "a bound of which nobody knows here"
    return sum(seconds(run, name) for name in bounds)


def envoy_s():
    """An Envoy's, once nothing runs through it any more."""
    return seconds("cli/src/commands/gateway_run.rs", "ENVOY_GRACE")


def spawned_s():
    """That of a sidecar which a gateway has started: longer and it is killed."""
    return seconds("cli/src/commands/gateway_run.rs", "SIDECAR_GRACE")
