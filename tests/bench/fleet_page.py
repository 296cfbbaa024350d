"""Makes docs/reference/performance-fleet.md from the raw figures of one run of `fleet.py`."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from recovery import MUST_S as BACK_MUST_S
from render import verdict

# Issue 5 and DESIGN: hits per CPU-second beside LiteLLM's, milliseconds of lag, the last reader beside the bare Envoys'.
PER_CPU_MUST, LAG_MUST_MS, LAST_MUST, LAST_AIM = 50, 25, 2, 1.2
WHAT = {
    "bare": "bare Envoy (a call of the provider each time)",
    "kt_l1": "kt, hit in the gateway's memory (L1)",
    "kt_memory": "kt, hit in the sidecar's memory",
    "kt_redis": "kt, hit through Redis",
    "litellm": "LiteLLM's proxy, hit through Redis",
}
WORKS = (("json", "JSON"), ("burst", "SSE"))


def middle(runs: list[dict], figure: str) -> float:
    return statistics.median(run[figure] for run in runs)


def per_cpu(run: dict) -> float:
    """Answers per CPU-second of the whole side. A clock tick is the least that can be seen."""
    used = sum(run["cpu_s"].values())
    return run["served"] / max(used, 0.01)


def summary(paths: dict) -> dict:
    """Medians of the rounds."""
    return {path: {
        "rps": middle(runs["c32"], "rps"),
        "p99_ms": middle(runs["c32"], "p99_us") / 1000,
        "p50_ms": middle(runs["c1"], "p50_us") / 1000,
        "per_cpu": statistics.median(per_cpu(run) for run in runs["c32"]),
    } for path, runs in paths.items()}


def last_ratio(runs: dict) -> float:
    return middle(runs["kt"], "last_us") / middle(runs["bare"], "last_us")


def targets(median: dict, many: dict, back: list[dict]) -> list[str]:
    lines = ["| work | must | aim | reached | |", "|---|---|---|---|---|"]
    ratio = median["kt_redis"]["per_cpu"] / median["litellm"]["per_cpu"]
    lines.append(f"| hit through Redis: hits per CPU-second, beside LiteLLM's | ≥ {PER_CPU_MUST} × | | {ratio:.1f} × "
                 f"| {verdict(ratio, PER_CPU_MUST, None, True)} |")
    lag = middle(many["raw"]["lag"]["kt"], "p99_us") / 1000
    lines.append(f"| lag of {many['followers']} followers at other sidecars, p99 | ≤ {LAG_MUST_MS} ms | | {lag:.1f} ms "
                 f"| {verdict(lag, LAG_MUST_MS, None, False)} |")
    for work, what in WORKS:
        calls = max(run["provider_calls"] for run in many["raw"][work]["kt"])
        ratio = last_ratio(many["raw"][work])
        lines += [f"| {many['readers']} at once, {what}: upstream calls | 1 | | {calls} | {verdict(calls, 1, None, False)} |",
                  f"| {many['readers']} at once, {what}: last reader, beside bare Envoys | ≤ {LAST_MUST} × | ≤ {LAST_AIM} × "
                  f"| {ratio:.2f} × | {verdict(ratio, LAST_MUST, LAST_AIM, False)} |"]
    longest = max(run["seconds"] for run in back)
    lines.append(f"| Redis and Postgres back after both were away: sharing again, the longest of {len(back)} rounds "
                 f"| ≤ {BACK_MUST_S} s | | {longest:.1f} s | {verdict(longest, BACK_MUST_S, None, False)} |")
    return lines


def beside(median: dict) -> list[str]:
    lines = ["| path | requests/s at 32 connections | beside bare | p99 there | p50 at one connection | added p50 "
             "| hits per CPU-second | beside LiteLLM |", "|---|---|---|---|---|---|---|---|"]
    bare, theirs = median["bare"], median["litellm"]
    for path, at in median.items():
        added = f"{at['p50_ms'] - bare['p50_ms']:+.3f} ms ({(at['p50_ms'] - bare['p50_ms']) / bare['p50_ms']:+.2f} ×)"
        lines.append(f"| {WHAT[path]} | {at['rps']:.0f} | {at['rps'] / bare['rps']:.2f} × | {at['p99_ms']:.2f} ms "
                     f"| {at['p50_ms']:.3f} ms | {'' if path == 'bare' else added} | {at['per_cpu']:.0f} "
                     f"| {at['per_cpu'] / theirs['per_cpu']:.1f} × |")
    return lines


def processes(paths: dict, idle: dict) -> list[str]:
    """Where the CPU time of the runs at 32 connections went."""
    lines = ["| path | CPU time per 1,000 answers, all rounds together | of it | while nobody asks, per second |",
             "|---|---|---|---|"]
    for path, runs in paths.items():
        asked = sum(run["served"] for run in runs["c32"])
        each = {part: sum(run["cpu_s"][part] for run in runs["c32"]) / asked * 1e6 for part in runs["c32"][0]["cpu_s"]}
        parts = ", ".join(f"{part} {cost:.1f}" for part, cost in each.items())
        side = sum(idle["cpu_s"][path.split("_")[0]].values()) / idle["seconds"] * 1000
        lines.append(f"| {WHAT[path]} | {sum(each.values()):.1f} ms | {parts} | {side:.1f} ms |")
    return lines


def spread(paths: dict) -> list[str]:
    lines = ["| path | requests/s at 32 connections | answers per CPU-second there | p50 at one connection (µs) |",
             "|---|---|---|---|"]
    for path, runs in paths.items():
        figures = ([f"{run['rps']:.0f}" for run in runs["c32"]], [f"{per_cpu(run):.0f}" for run in runs["c32"]],
                   [f"{run['p50_us']:.0f}" for run in runs["c1"]])
        lines.append(f"| {WHAT[path]} | {' | '.join(', '.join(each) for each in figures)} |")
    return lines


def readers(many: dict) -> list[str]:
    lines = [f"{many['readers']} identical requests over {many['gateways']} gateways with a sidecar each; the provider holds "
             "its answer until", "all wait, then answers: once for kt, once for each reader behind the bare Envoys. "
             "Milliseconds from then on.", "",
             "| work | first reader, bare | kt | last reader, bare | kt | ratio of medians | last reader of each round, bare | kt |",
             "|---|---|---|---|---|---|---|---|"]
    for work, what in WORKS:
        runs = many["raw"][work]
        cells = [f"{middle(runs[side], figure) / 1000:.1f}" for figure in ("first_us", "last_us") for side in ("bare", "kt")]
        rounds = [", ".join(f"{run['last_us'] / 1000:.1f}" for run in runs[side]) for side in ("bare", "kt")]
        lines.append(f"| {what}, {runs['kt'][0]['answer_bytes']} bytes | {' | '.join(cells)} | {last_ratio(runs):.2f} × "
                     f"| {' | '.join(rounds)} |")
    lag = many["raw"]["lag"]["kt"]
    p50, p99, most = (middle(lag, figure) / 1000 for figure in ("p50_us", "p99_us", "max_us"))
    caught = [middle(lag, f"joiners_caught_up_{figure}_us") / 1000 for figure in ("p50", "max")]
    return lines + [
        "", f"Tokens every 20 ms; the leader asks at one gateway, {many['followers']} followers at the three others, half of them from",
        "the start and half on the way. Behind the first reader of a token, whoever that is, each is by "
        f"{p50:.2f} ms (p50),", f"{p99:.2f} ms (p99), {most:.2f} ms at worst; p99 of each round: "
        f"{', '.join(format(run['p99_us'] / 1000, '.2f') for run in lag)} ms. One that joins late has caught up",
        f"after {caught[0]:.1f} ms (median), {caught[1]:.1f} ms at worst. Client and provider share the cores with everything else."]


def recovery(back: list[dict]) -> list[str]:
    return [
        f"Redis is killed and Postgres stopped (SIGSTOP) at the same moment, for {back[0]['away_s']} s; then Redis is started, and once it",
        "listens Postgres goes on. From then on a gateway is asked something new, and another one, with another sidecar, the",
        "same, until that is a hit. Nothing of kt is restarted. Seconds of each round: "
        f"{', '.join(format(run['seconds'], '.2f') for run in back)}.",
        f"While both were away {sum(run['answered_while_away'] for run in back)} of {sum(run['asked_while_away'] for run in back)} "
        "new questions were answered: there is no wallet, and a caller that is known",
        "is believed for a minute."]


def page(report: dict) -> str:
    machine, measured, many = report["machine"], report["hits"], report["readers"]
    paths, idle = measured["paths"], {"cpu_s": measured["idle_cpu_s"], "seconds": report["seconds"]}
    median = summary(paths)
    return "\n".join([
        "# Performance of a fleet",
        "",
        f"Measured, not promised. This page is written by `{report['command']}` from",
        "`docs/reference/performance-fleet.json`, which holds every raw figure; ratios judge, absolutes only show the",
        "machine. One gateway and one sidecar: [performance](performance.md).",
        "",
        f"Run of {report['date']}: Envoy {report['envoy']}, LiteLLM {report['litellm']} on Python {report['litellm_python']}, "
        f"Redis {report['redis']}; "
        f"{machine['cpus']} cores shared by all of it and the client,",
        f"kernel {machine['kernel']}, load of the 15 minutes before {machine['load_before']:.1f}; request {report['request_bytes']} bytes, "
        f"answer {report['answer_bytes']} bytes; {report['rounds']} interleaved",
        f"rounds of {report['seconds']} s; medians.",
        "",
        "## Asked for",
        "",
        *targets(median, many, report["recovery"]),
        "",
        "## Hits",
        "",
        f"{report['questions']} questions in turn, the same for every path, all of them answered before. The gateways of kt are four, with a",
        "sidecar each, over one Redis and one Postgres; one of them is asked at a time, and another one had paid. The sidecar",
        "that is measured through Redis may keep a single entry in its memory, so that none of its answers comes from there;",
        "its own counter says so after every run. L1 is off but where it is measured. Every gateway is one Envoy with one",
        "worker.",
        "",
        "LiteLLM's proxy is one process (`--num_workers 1`, its default), caches in the same Redis server, and calls the same",
        "provider. It is set up as its documentation says for production (`LITELLM_MODE=PRODUCTION`, `LITELLM_LOG=ERROR`). Its",
        "caller is the master key, the cheapest that it knows: no database is asked for it. That of kt is an ordinary key.",
        "",
        "A CPU-second is one of all processes of a side, from /proc: for kt all four gateways (Envoy and `kt`), all four",
        "sidecars, Redis and Postgres; for LiteLLM its proxy and Redis; for the bare Envoy that and the provider, which answers",
        "each of its requests and no hit. The client's is nobody's. Redis also serves what the idle side asks of it meanwhile.",
        "What the client leaves unanswered at the end of a run, one request on each connection, counts as answered: servers",
        "work on it, and a slow one no little part of the time.",
        "",
        *beside(median),
        "",
        *processes(paths, idle),
        "",
        "Every round:",
        "",
        *spread(paths),
        "",
        "## Both stores away",
        "",
        *recovery(report["recovery"]),
        "",
        "## One answer, many readers",
        "",
        *readers(many),
        "",
    ])


def main() -> None:
    source = Path(sys.argv[1])
    source.with_suffix(".md").write_text(page(json.loads(source.read_text())))


if __name__ == "__main__":
    main()
