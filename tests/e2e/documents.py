"""The commands of the documentation, as somebody reads them who types them one after the other."""

import re
import subprocess
from dataclasses import dataclass, field
from functools import cache

from processes import ROOT

PAGES = [
    "*.md", "docs/**/*.md", "examples/*/README.md", "charts/*/README.md", "deploy/**/README.md", "envoy/**/README.md",
]
# What a block of code says that it is. A block that is indented says nothing, and has commands.
COMMANDS = {"sh", "bash", "console"}
OTHER = {"", "text", "yaml", "json", "python", "http", "mermaid"}
# First words of commands: a block that begins so and says nothing, or that it is text, is not taken for what something prints.
PROGRAMS = {
    "kt", "sidecar-cache", "curl", "make", "cargo", "docker", "kubectl", "helm", "export", "python3", "redis-cli",
}


@dataclass
class Command:
    """One command, where it stands, and what the page shows right under it."""

    page: str
    line: int
    text: str
    shown: list = field(default_factory=list)

    @property
    def where(self):
        return f"{self.page}:{self.line}: {self.text}"


@dataclass
class Block:
    """A block of code: its first line's number, what it says it is (None: it is indented), and its lines."""

    line: int
    kind: str | None
    lines: list


def pages():
    found = {path.relative_to(ROOT).as_posix() for pattern in PAGES for path in ROOT.glob(pattern)}
    return sorted(found)


def blocks(text):
    """A page's blocks of code, and the empty string for each line of text between them."""
    lines, at, in_list = text.split("\n"), 0, False
    while at < len(lines):
        line = lines[at]
        if line.startswith("```"):
            end = next(number for number in range(at + 1, len(lines)) if lines[number].startswith("```"))
            yield Block(at + 2, line[3:].strip(), lines[at + 1:end])
            at = end + 1
        elif line.startswith("    ") and line.strip() and not in_list:
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            while not lines[end - 1].strip():
                end -= 1
            yield Block(at + 1, None, [line[4:] for line in lines[at:end]])
            at = end
        else:
            if line.strip():
                # What is indented below an item of a list goes on with it.
                in_list = bool(re.match(r" *(?:[-*+]|\d+\.) ", line)) or in_list and line.startswith(" ")
                yield ""
            at += 1


@cache
def is_whole(text):
    """Whether a shell takes this for a whole command: no open quote, loop or line that goes on."""
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=10)
    return checked.returncode == 0 and not checked.stderr and not text.endswith("\\")


def commands_of(page, block):
    """The commands of a block. With prompts, all else in it is what they print."""
    prompts = any(line.startswith("$ ") for line in block.lines)
    found, lines = [], iter(enumerate(block.lines, block.line))
    for number, line in lines:
        if prompts and not line.startswith("$ "):
            if found:
                found[-1].shown.append(line)
            continue
        text = line.removeprefix("$ ") if prompts else line
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        while not is_whole(text):
            _, more = next(lines, (0, None))
            assert more is not None, f"{page}:{number}: a command without its end"
            text += f"\n{more}"
        found.append(Command(page, number, text))
    return found


def commands(page):
    """All commands of a page in their order. A block that says nothing, right under one, is what its last prints."""
    found, last = [], None
    for block in blocks((ROOT / page).read_text()):
        if block == "":
            last = None
            continue
        kind = "sh" if block.kind is None else block.kind
        assert kind in COMMANDS | OTHER, f"{page}:{block.line - 1}: nobody knows what a block of '{kind}' is"
        if kind in COMMANDS:
            last = commands_of(page, block)
            found += last
            continue
        # What a command prints may have a line that begins so; it says nothing of itself. Nobody types a text.
        told = {"": block.lines[:1], "text": block.lines}.get(kind, [])
        for number, line in enumerate(told, block.line):
            assert not is_command(line), f"{page}:{number}: a block of commands says so: ```sh"
        if kind == "" and last and not last[-1].shown:
            last[-1].shown = block.lines
        last = None
    return found


def is_command(line):
    """Whether a line begins as a command does, with a prompt or without."""
    return line.removeprefix("$ ").split(" ")[0].removeprefix("target/release/") in PROGRAMS
