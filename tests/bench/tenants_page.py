"""Makes docs/reference/performance-tenants.md from the raw figures of one run of `tenants.py`."""

from __future__ import annotations

from render import verdict

# Issue 6 and DESIGN section 8: the memory of a worker above its own L1 and three times the largest body, both as they come.
L1_MIB, BODY_MIB, REST_MIB = 16, 32, 16
CACHED_MUST_US, REVOKED_MUST_S, LIVE_MUST_S = 5, 1, 5


def targets(report: dict) -> list[str]:
    alone, together = report["alone"], report["together"]
    memory = L1_MIB + REST_MIB + 3 * BODY_MIB
    grown = together["gateway_mib"][1] - together["gateway_mib"][0]
    cached = alone["filter_worker"]["cached_lookup_ns"] / 1000
    each = together["callouts_of_first_requests"] / report["keys"]
    revoked, live = max(together["revoked_s"]), max(together["pack_live_s"])
    return [
        "| work | must | reached | |", "|---|---|---|---|",
        f"| what a gateway has grown by after a request with every key | ≤ {memory} MiB | {grown:.1f} MiB "
        f"| {verdict(grown, memory, None, False)} |",
        f"| a principal that a worker remembers | ≤ {CACHED_MUST_US} µs | {cached:.2f} µs "
        f"| {verdict(cached, CACHED_MUST_US, None, False)} |",
        f"| callouts for a key that it does not know | 1 | {each:.4f} | {verdict(each, 1, None, False)} |",
        f"| a revoked key is refused by all of {together['gateways']} gateways that had its answer in memory, the longest of "
        f"{len(together['revoked_s'])} | ≤ {REVOKED_MUST_S} s | {revoked:.2f} s "
        f"| {verdict(revoked, REVOKED_MUST_S, None, False)} |",
        f"| a changed pack decides at all of them, the longest of {len(together['pack_live_s'])} | ≤ {LIVE_MUST_S} s | {live:.2f} s "
        f"| {verdict(live, LIVE_MUST_S, None, False)} |",
    ]


def growth(part: dict) -> str:
    """By how much a part has made the process grow, which measures it only where nothing was freed before."""
    grown = part["resident_bytes"]
    return "not measurable: it had room from the parts before" if grown is None else f"{grown / (1 << 20):.1f} MiB"


def page(report: dict) -> str:
    machine, alone, together = report["machine"], report["alone"], report["together"]
    packs, keys, worker = alone["sidecar_packs"], alone["key_store"], alone["filter_worker"]
    return "\n".join([
        "# Performance of hosted mode",
        "",
        f"Measured, not promised. This page is written by `{report['command']}` from",
        "`docs/reference/performance-tenants.json`, which holds every raw figure.",
        "",
        f"Run of {report['date']}: {report['tenants']} organizations, each with a pack that says something else (a credential, the default",
        f"chain, two words that it blocks), and {report['keys']} keys by turns of each of them. Envoy {report['envoy']}, one worker;",
        f"{machine['cpus']} cores shared by all of it and the client, kernel {machine['kernel']}, load of the 15 minutes before "
        f"{machine['load_before']:.1f}. Files are in memory",
        "(/dev/shm): a disk is not what is measured.",
        "",
        "## Asked for",
        "",
        *targets(report),
        "",
        "The gateway's memory is what its processes hold (VmRSS): Envoy, its V8 and the filter's VM. The time of a principal is that of the",
        "filter's code on this machine, not as Wasm.",
        "",
        "## Through the gateway",
        "",
        "| | |", "|---|---|",
        f"| start of the sidecar, until it serves | {together['sidecar_start_s']} s |",
        f"| {report['keys']} keys made over its admin API, 8 at once | {together['keys_made_s']} s |",
        f"| a request with each of them, 8 at once, the client in Python | {together['asked_once_s']} s |",
        f"| callouts of these | {together['callouts_of_first_requests']} |",
        f"| callouts of the last {report['again']} of them, asked again | {together['callouts_of_the_last_again']} |",
        f"| gateway, before and after | {together['gateway_mib'][0]} MiB, {together['gateway_mib'][1]} MiB |",
        f"| sidecar, before and after | {together['sidecar_mib'][0]} MiB, {together['sidecar_mib'][1]} MiB |",
        f"| a revoked key is refused after | {', '.join(f'{each:.2f}' for each in together['revoked_s'])} s |",
        f"| a changed pack decides after | {', '.join(f'{each:.2f}' for each in together['pack_live_s'])} s |",
        "",
        "## The parts alone",
        "",
        "| | |", "|---|---|",
        f"| packs: read and checked | {packs['load_ms']} ms |",
        f"| packs: what the process has grown by | {growth(packs)}"
        f"{f', {each} bytes each' if (each := packs['bytes_per_tenant']) is not None else ''} |",
        f"| packs: one is found in | {packs['lookup_ns']} ns |",
        f"| keys: file | {keys['file_bytes'] / (1 << 20):.1f} MiB |",
        f"| keys: one that is asked for the first time | {keys['first_lookup_ns'] / 1000:.1f} µs |",
        f"| keys: one that the sidecar remembers | {keys['remembered_lookup_ns']} ns |",
        f"| keys: what the process has grown by | {growth(keys)} |",
        f"| a worker: to remember a principal, and the rules of its pack where they are not known | {worker['remember_ns'] / 1000:.1f} µs |",
        f"| a worker: packs compiled, for {report['keys']} principals in turn | {worker['snapshots_compiled']} |",
        f"| a worker: one that it remembers | {worker['cached_lookup_ns']} ns |",
        f"| a worker: what the process has grown by | {growth(worker)} |",
        "",
        "The parts run one after the other in one process: what one has freed the next one uses again. Of what a later one holds its",
        "growth says the least that it is, and nothing where there is none; the memory of a gateway is what is measured above.",
        "",
    ])
