"""Every command of the documentation is run as it stands there, or is on a list with the reason why not.

A command that is new in a page is run by that alone. If it needs what there is not here, it goes on the list `NOT_RUN`.
"""

import re
from fnmatch import fnmatch

import pytest

import documents
from database import Database
from documents import commands, pages
from processes import wait_until
from reader import Desk, Reader, listens

# Page, the beginning of the command, and why it is not run here. A line that no command needs any more fails.
NOT_RUN = [
    ("README.md", "make test", "is what runs this"),
    ("README.md", "make run GROUP=fleet", "begins examples/fleet/README.md too, where it is run"),
    ("README.md", "examples/fleet/stampede", "as above"),
    ("docs/operations/*.md", "make image", "packs for a minute; tests/packaging does it"),
    ("docs/operations/kubernetes.md", "scripts/image ", "packs for a minute; tests/packaging does it"),
    ("docs/operations/*.md", "skopeo ", "needs a registry or a daemon"),
    ("docs/operations/compose.md", "for name in ", "needs a daemon; tests/packaging reads the layouts"),
    ("docs/operations/kubernetes.md", "oras ", "needs a registry"),
    ("docs/operations/compose.md", "GRAFANA_PASSWORD=", "needs a daemon; tests/packaging holds the file against the specification"),
    ("docs/operations/compose.md", "docker ", "needs a daemon; tests/packaging holds the files against the programs"),
    ("docs/operations/kubernetes.md", "kubectl ", "needs a cluster"),
    ("docs/operations/troubleshooting.md", "kubectl ", "needs a cluster"),
    ("docs/operations/kubernetes.md", "helm ", "needs a cluster; tests/packaging renders the chart"),
    ("charts/kt/README.md", "*", "needs a cluster; tests/packaging renders the chart"),
    ("envoy/envoy-gateway/README.md", "kubectl ", "needs a cluster"),
    ("envoy/envoy-gateway/README.md", "helm ", "needs a cluster"),
    ("envoy/istio/README.md", "kubectl ", "needs a cluster"),
    ("envoy/istio/README.md", "helm ", "needs a cluster"),
    ("docs/reference/wallet.md", "cp wallet.db", "is for a sidecar that is stopped; wallet_clock.rs does what follows"),
    ("docs/reference/wallet.md", "sqlite3 ", "as above"),
    ("docs/reference/fuzzing.md", "KT_CROSSING_PAIRS=", "runs for long; `make soak` does it"),
    ("examples/quickstart/README.md", "OPENAI_API_KEY=", "asks OpenAI, for money"),
    ("examples/*/README.md", "pkill ", "would end those of others, too; test_failover.py kills its own"),
    ("examples/fleet/README.md", "server=$(pgrep ", "would find those of others, too; test_fleet.py freezes its own"),
    ("examples/fleet/README.md", "kill -STOP $server", "as the one before it"),
    ("examples/fleet/README.md", "KT_DATABASE_URL=", "starts again what was not killed here; test_fleet.py does both"),
]

# What pages leave to their reader, and what is put there. `kt_gk_…` is the key that was printed last, `gk_…` its
# name.
INSTEAD = [
    (r"kt_gk_…", lambda reader: reader.key or "unknown"),
    (r"\bgk_…", lambda reader: reader.key_id or "unknown"),
    (r"/tmp/question\.json", lambda reader: "question.json"),
    (r"(_API_KEY)=…", lambda reader: r"\1=made-up"),
    (r"(_OPENAI_KEY)=sk-…", lambda reader: r"\1=made-up"),
    (r"@sha256:…", lambda reader: "@sha256:" + "0" * 64),
    (r"/run/kt/s\.sock", lambda reader: ".kt/run/sidecar.sock"),
    (r"/etc/kt/policy-config\.yaml", lambda reader: "examples/quickstart/policy-config.yaml"),
    (r"/var/lib/kt\b", lambda reader: ".kt/run/data"),
    (r"10\.0\.0\.7:15000", lambda reader: next(reader.desk.folder.glob(".kt/run/gw-a/*admin*.sock")).as_posix()),
]

# What stays in the foreground, for which a reader takes another terminal; when it is ready; and whether it takes the
# place of the group that `make run` has started. A live view is left once it shows something: what it goes on to show
# would stand between the lines of the commands after it.
LIVE_VIEW = r"(^|/)kt top *(#|$)"
STAYS = [
    (r"(^|/)fake-provider ", lambda desk, said: listens(desk.port(41900)), True),
    (r"(^|/)sidecar-cache ", lambda desk, said: (desk.folder / ".kt/run/sidecar.sock.admin").exists(), True),
    (r"(^|/)kt gateway run ", lambda desk, said: "ready address=" in said, True),
    (LIVE_VIEW, lambda desk, said: said.strip(), False),
    (r"classifier\.py --port ", lambda desk, said: listens(desk.port(9100)), False),
    (r"^redis-server ", lambda desk, said: listens(desk.port(41079)), False),
]

# A group for what the reference says of money and records: `make run EXAMPLE=accounts`.
ACCOUNTS = """
gateway: {agent_gateway_group_id: agents-demo, on_sidecar_loss: unavailable}
providers:
  targets:
    - {id: openai, provider: openai, base_url: "http://127.0.0.1:41900"}
wallet: {}
budgets: {organization: {monthly_limit_usd: 100}}
policies: {chain: [audit-logger]}
"""
THREE_RECORDS = """
KEY=$(kt key create --org acme | grep -o 'kt_gk_[A-Za-z0-9]*')
for question in one two three; do
    curl -s http://127.0.0.1:41002/v1/chat/completions -H "Authorization: Bearer $KEY" \
        -H "Content-Type: application/json" \
        -d '{"model":"gpt-4o","messages":[{"role":"user","content":"'$question'"}]}'
done
"""
# How long something is may be told in another unit the next time.
UNITS = ["ms", "s", "min", "h", "d"]

# What a page takes for given: the group that runs, and what was typed before.
GIVEN = {
    # What Compose would have started.
    "docs/operations/compose.md": ("quickstart", ""),
    "docs/operations/troubleshooting.md": ("quickstart", ""),
    "docs/reference/database.md": (None, "cp examples/fleet/policy-config.yaml ."),
    "docs/reference/audit.md": ("accounts", THREE_RECORDS),
    "docs/reference/savings.md": ("accounts", ""),
    "docs/reference/wallet.md": ("accounts", ""),
    "envoy/istio/README.md": (None, "cp envoy/istio/policy-config.yaml ."),
    "examples/external-classifier/README.md": ("external-classifier", ""),
}
# The pages that begin with a Postgres, at `KT_DATABASE_URL`.
OVER_POSTGRES = ("docs/reference/database.md", "docs/reference/wallet.md")
# What a page tells its reader to do by hand before the command that begins so, or takes for given.
BY_HAND = {
    ("docs/operations/troubleshooting.md", "kt doctor --sidecar none --envoy-config"): [
        "kt config render --policy-config examples/quickstart/policy-config.yaml > envoy.json",
    ],
    ("docs/reference/wallet.md", "psql "): ["cp examples/fleet/policy-config.yaml .", "kt db migrate"],
    # The page's own configuration names no address: the provider's is the default.
    ("examples/anthropic/README.md", "curl -i "): [
        "{ fake-provider --listen 127.0.0.1:41900 > fake-provider.log\n} &",
        "curl -sf --retry 60 --retry-connrefused --retry-delay 1 http://127.0.0.1:41900/health",
    ],
    ("examples/quickstart/README.md", "kt config history"): [
        "printf 'policies:\\n  chain: [model-allowlist]\\n  policy:\\n    model-allowlist: {models: [gpt-4o]}\\n'"
        " >> examples/quickstart/policy-config.yaml",
        "kt config apply examples/quickstart/policy-config.yaml",
    ],
}
# The pages in an order in which few groups have to be started; all others come first. The README shows what the second
# hit of its question is answered from, so its group is one that nobody has asked before.
LAST = [
    "docs/reference/audit.md", "docs/reference/wallet.md", "docs/reference/savings.md", "README.md",
    "docs/quickstart.md", "docs/operations/troubleshooting.md", "docs/operations/compose.md", "examples/quickstart/README.md",
    "examples/fleet/README.md", "examples/wallet/README.md",
]
PAGES = sorted((page for page in pages() if commands(page)), key=lambda page: LAST.index(page) if page in LAST else -1)


def why_not(command):
    """The line of `NOT_RUN` that a command is on."""
    lines = (line for line in NOT_RUN if fnmatch(command.page, line[0]) and fnmatch(command.text, f"{line[1]}*"))
    return next(lines, None)


def loosely(shown):
    """Patterns of what a page shows: numbers, ids and times are any, `…` is whatever there is, as long as it may be."""
    changes = re.compile(r"(YYYY-MM-DD|YYYY-MM|hh:mm:ssZ|kt_gk_\w+|gk_\w+|[0-9a-f]*…"
                         r"|\b(?=[a-f]*\d)[0-9a-f]{6,}\b|\d+(?:\.\d+)?)")
    patterns = {"YYYY-MM-DD": r"\d{4}-\d\d-\d\d", "YYYY-MM": r"\d{4}-\d\d", "hh:mm:ssZ": r"\d\d:\d\d:\d\dZ"}

    def pattern(part):
        if part.endswith("…"):
            return ".*?"
        if re.fullmatch(r"(kt_)?gk_\w+", part):
            return r"(?:kt_)?gk_\w+"
        return patterns.get(part) or (r"\d+(?:\.\d+)?" if re.fullmatch(r"\d{1,5}|\d+\.\d+", part) else r"\w+")

    def word(text, steady):
        if text in UNITS:
            return f"(?:{'|'.join(UNITS)})"
        parts = [text] if steady else changes.split(text)
        return "".join(pattern(part) if at % 2 else re.escape(part) for at, part in enumerate(parts))

    for lines in re.split(r"^…$", "\n".join(shown), flags=re.MULTILINE):
        # A status is no number that may be another one.
        words = [word(text, line.startswith("HTTP/")) for line in lines.split("\n") for text in line.split()]
        if words:
            yield r"\s+".join(words)


def assert_shows(said, command):
    """What was printed has what the page shows, in its order."""
    rest = said.replace("\r", "")
    for pattern in loosely(command.shown):
        found = re.search(pattern, rest, re.DOTALL)
        assert found, f"{command.where}\nshows what is not there:\n" + "\n".join(command.shown) + f"\n--- but:\n{said}"
        rest = rest[found.end():]


def typed(command, reader):
    """A command as this reader types it."""
    text = reader.desk.ports(command.text)
    for pattern, instead in INSTEAD:
        text = re.sub(pattern, lambda found: found.expand(instead(reader)), text)
    assert "…" not in text, f"{command.where}\nleaves to its reader what this test knows nothing of: INSTEAD"
    return text


def carry_out(command, reader):
    """Runs a command; what it printed."""
    if made := re.match(r"make run\b([^#]*)", command.text):
        settings = dict(word.split("=") for word in made[1].split())
        said = reader.desk.run(**{name.lower(): value for name, value in settings.items()})
        reader.makes_a_key()
        return said
    for (page, begins), texts in BY_HAND.items():
        for text in texts if page == command.page and command.text.startswith(begins) else ():
            status, said = reader.type(reader.desk.ports(text))
            assert status == 0, f"{text}\n{said}"
    text, begins = typed(command, reader), len(reader.output())
    stays = next((stays for stays in STAYS if re.search(stays[0], text.split("\n")[0])), None)
    if stays is None:
        status, said = reader.type(text)
        assert status == 0, f"{command.where}\nended with {status}:\n{said}"
        return said
    if stays[2] and reader.desk.group:
        reader.desk.stop()
    before = {member.pid for member in reader.shell.family()}
    reader.type(text if re.search(r"&\s*(#.*)?$", text) else f"{{ {text}\n}} &")
    wait_until(lambda: stays[1](reader.desk, reader.output()[begins:]), f"{command.where}\nis ready", 60)
    if stays[0] == LIVE_VIEW:
        reader.leave(before)
    return reader.output()[begins:]


@pytest.fixture(scope="module")
def desk():
    desk = Desk()
    (desk.folder / "examples/accounts").mkdir()
    (desk.folder / "examples/accounts/policy-config.yaml").write_text(desk.ports(ACCOUNTS))
    # As the README says for what it shows of the audit log.
    wallet = desk.folder / "examples/wallet/policy-config.yaml"
    wallet.write_text(wallet.read_text() + "\npolicies: {chain: [audit-logger]}\n")
    for provider in ("anthropic", "openai"):
        desk.change("examples/anthropic/policy-config.yaml", f"      provider: {provider}\n", desk.ports(
            f"      provider: {provider}\n      base_url: http://127.0.0.1:41900\n"))
    yield desk
    desk.close()


@pytest.fixture(scope="module")
def database():
    with Database(is_migrated=False) as database:
        yield database


@pytest.fixture
def reader(desk):
    reader = Reader(desk)
    yield reader
    reader.close()


def shown(page):
    """A page as a case. The fleet's asks a thousand times at once, for which four sidecars want the machine."""
    return pytest.param(page, marks=[pytest.mark.alone] if page == "examples/fleet/README.md" else [])


@pytest.mark.parametrize("page", [shown(page) for page in PAGES])
def test_the_commands_of_a_page_do_what_it_says(page, desk, reader, request):
    example, before = GIVEN.get(page, (None, ""))
    if example:
        desk.run(example)
        reader.makes_a_key()
        reader.type(f"export KEY={reader.key}")
    if page in OVER_POSTGRES:
        reader.type(f"export KT_DATABASE_URL={request.getfixturevalue('database').url}")
    if before:
        status, said = reader.type(desk.ports(before))
        assert status == 0, said
    for command in commands(page):
        if not why_not(command):
            assert_shows(carry_out(command, reader), command)


def test_every_line_of_the_list_of_what_is_not_run_is_needed():
    needed = [why_not(command) for page in PAGES for command in commands(page)]
    # A page may be one that this tree does not have yet.
    there = [line for line in NOT_RUN if any(fnmatch(page, line[0]) for page in pages())]
    assert [line for line in there if line not in needed] == []


@pytest.mark.parametrize("block", [
    "```\nkt doctor\n```", "```text\nkt doctor\n```", "```text\nsome words\n$ curl -i http://127.0.0.1:41002/health\n```",
], ids=["of nothing", "of text", "further down in a text"])
def test_a_command_cannot_hide_in_a_block_that_is_not_of_commands(block, tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text(f"# A page\n\n{block}\n")
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    with pytest.raises(AssertionError, match="a block of commands says so"):
        commands("page.md")


@pytest.mark.parametrize("shown, said, fits", [
    (["x-cache-status: hit", "cache-status: kt; ttl=81867"], "x-cache-status: hit\r\ncache-status: kt; ttl=9\r\n", True),
    (["x-cache-status: hit"], "x-cache-status: miss", False),
    (["HTTP/1.1 200 OK"], "HTTP/1.1 409 Conflict", False),
    (["snapshot=1b0f6a4c92d7e358a4140c5d78d666a0, entries=1 (876 bytes)"], "snapshot=0a, entries=12 (9 bytes)", True),
    (["3 4f0c…  acme"], "1 e99182a7d2  acme", True),
    (["live for 2 min"], "live for 0.1 s", True),
    (["a", "…", "z"], "a\nb\nz", True),
    (["a", "…", "z"], "z\na", False),
    (["kt_gk_… (its public name: gk_…)"], "kt_gk_AZ09 (its public name: gk_1)", True),
    (["3 add up (YYYY-MM-DD hh:mm:ssZ, in 0.0 s)"], "7 add up (2026-11-29 01:02:03Z, in 1.5 s)", True),
])
def test_what_a_page_shows_is_compared_but_for_what_changes(shown, said, fits):
    rest = said.replace("\r", "")
    for pattern in loosely(shown):
        found = re.search(pattern, rest, re.DOTALL)
        rest = rest[found.end():] if found else None
        if rest is None:
            break
    assert (rest is not None) == fits
