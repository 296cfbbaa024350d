"""The Containerfiles in deploy/: no daemon builds them here, so they are held against `make image` and the tree."""

import json
import re
import shlex

import pytest

from processes import ROOT

NAMES = ["sidecar-cache", "gateway", "fake-provider"]


def instructions(name):
    """The instructions of a Containerfile, each with its arguments as one text."""
    text = (ROOT / f"deploy/Containerfile.{name}").read_text()
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in lines.splitlines() if line]


def stages(name):
    """The instructions by stage."""
    found = []
    for instruction in instructions(name):
        if instruction[0] == "FROM":
            found.append([])
        found[-1].append(instruction)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_containerfile_makes_the_image_that_make_image_makes(layouts, name):
    ours = layouts[name].tagged().config["config"]
    last = stages(name)[-1]
    says = {word: argument for word, argument in last if word in ("USER", "WORKDIR", "STOPSIGNAL")}
    assert says == {"USER": ours["User"], "WORKDIR": ours["WorkingDir"], "STOPSIGNAL": ours["StopSignal"]}
    for word, field in (("ENTRYPOINT", "Entrypoint"), ("CMD", "Cmd")):
        [argument] = [argument for it, argument in last if it == word]
        assert json.loads(argument) == ours[field]
    env = {part for word, argument in last if word == "ENV" for part in shlex.split(argument)}
    assert env == {part for part in ours["Env"] if not part.startswith("PATH=")}
    assert {argument for word, argument in last if word == "EXPOSE"} == set(ours["ExposedPorts"])


@pytest.mark.parametrize("name", NAMES)
def test_what_a_containerfile_copies_is_there(name):
    named = [re.search(r" AS (\S+)$", argument) for word, argument in instructions(name) if word == "FROM"]
    names = {match[1] for match in named if match}
    for word, argument in instructions(name):
        if word == "COPY":
            stage = re.match(r"--from=(\S+)", argument)
            assert not stage or stage[1] in names, argument
            if not stage:
                assert (ROOT / argument.split()[0]).exists(), argument


def test_a_containerfile_builds_with_the_toolchain_and_the_envoy_of_the_project():
    channel = re.search(r'channel = "([\d.]+)"', (ROOT / "rust-toolchain.toml").read_text())[1]
    envoy = re.search(r"^ENVOY_VERSION=(\S+)$", (ROOT / "scripts/setup").read_text(), re.MULTILINE)[1]
    bases = [argument for name in NAMES for word, argument in instructions(name) if word == "FROM"]
    assert [base for base in bases if base.startswith("docker.io/library/rust:")] == \
        [f"docker.io/library/rust:{channel.removesuffix('.0')}-bookworm AS build"] * len(NAMES)
    assert f"docker.io/envoyproxy/envoy:v{envoy} AS envoy" in bases
