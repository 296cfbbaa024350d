"""What the programs say of themselves: which flags there are, and whether a configuration is right."""

import functools
import re
import subprocess

from processes import binary_dir


@functools.cache
def help_of(program, *subcommands):
    done = subprocess.run([binary_dir() / program, *subcommands, "--help"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{program} {' '.join(subcommands)}: {done.stderr}"
    return done.stdout


def check_command(program, arguments):
    """That a program has the subcommands and the flags of a command line."""
    words = [word for word in arguments[:2] if not word.startswith("-")] if program == "kt" else []
    known = set(re.findall(r"(--[a-z-]+)", help_of(program, *words)))
    used = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
    assert used <= known, f"{program} {' '.join(words)} has no {', '.join(sorted(used - known))}"


def check_config(text, folder, env=()):
    """What `kt config check` says of a configuration; fails where it finds anything wrong."""
    file = folder / "policy-config.yaml"
    file.write_text(text)
    done = subprocess.run([binary_dir() / "kt", "config", "check", file], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
