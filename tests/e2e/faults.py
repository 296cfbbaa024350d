"""The faults that kt must survive, each with the tests that inject it: a test says so by `@pytest.mark.fault(row)`.

`python tests/e2e/faults.py` writes docs/reference/faults.md; `test_faults_page.py` fails where that is out of step.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reference/faults.md"

# What is injected, and what must happen then.
FAULTS = {
    1: ("the sidecar is killed while requests look answers up", "a miss without it, or a refusal within the budgets"),
    2: ("it is killed with money set aside and before the call", "time gives the money back, and nothing is spent"),
    3: ("it is killed behind the call and before its settle", "what it has written down is charged; else the money waits in suspense; a hold has one end"),
    4: ("it is killed between a commit and its reply", "asking again finds what was done; nothing is done twice"),
    5: ("the leader of a flight is killed with its followers waiting", "one call more, and everybody is answered"),
    6: ("a leader's sidecar is frozen and thawed behind its lease", "one takeover; what it brings late is not kept"),
    7: ("a follower stops reading", "it holds back nobody, and memory has its bound"),
    8: ("Redis is killed", "no acknowledged fill is torn; back within 5 s"),
    9: ("Redis loses its power (`everysec`)", "what it forgets is a miss; money was never there"),
    10: ("Redis fails over while replication is cut", "another epoch: no token is given twice"),
    11: ("two masters at once", "what the old one gives is refused"),
    12: ("Redis sleeps for 3 s", "lookups become misses; no restart"),
    13: ("Redis is out of memory", "fills are dropped and counted"),
    14: ("Redis evicts what a lease is made of", "a call more; no token is given twice"),
    15: ("Redis forgets its scripts", "they are sent again"),
    16: ("connections to Postgres are cut at random", "the same ids are tried again; the books add up"),
    17: ("a backend of Postgres is killed", "the same, within 10 s"),
    18: ("somebody else holds a lock in Postgres", "503 in time, and no pile of connections"),
    19: ("Postgres is read-only, or its disk is full", "nothing new is reserved; hits are served"),
    20: ("no connection is left", "a bounded queue, then 503; `/health` says degraded; it recovers by itself"),
    21: ("two calls under the same budgets in another order", "no deadlock, or one that is tried again"),
    22: ("a store swallows every packet", "time limits and a breaker, no hang"),
    23: ("every third reply of a store is reset", "tried again, and nothing is done twice"),
    24: ("a store loses a tenth of its packets, on a line of 1 Mbit/s (as both ends of TCP see it: 200 ms of nothing, then what was lost)", "answers within the budgets"),
    25: ("requests reach a store and replies do not", "nothing is spent twice; healed within 10 s"),
    26: ("wake-ups are lost", "followers look by themselves within 500 ms"),
    27: ("a store's requests come twice and out of order", "one history that explains all answers"),
    28: ("the disk is full while calls run", "they settle on room that is kept; nothing new is reserved; nothing is amiss later"),
    29: ("the disk is full when an entry is written", "no entry, or the old one"),
    30: ("the power is cut between two writes", "what was acknowledged is there, whole"),
    31: ("a bit of a stored entry flips", "it is not read, and so a miss"),
    32: ("an entry is cut, or longer than it was", "the same"),
    33: ("an entry stands under another organization's key", "it is not read, and so a miss"),
    34: ("no file descriptor is left", "whom it knows is served; it recovers by itself"),
    35: ("memory is limited and bodies are large", "shed, not killed"),
    36: ("next to no CPU: a twentieth of one, in slices of 100 ms", "budgets hold; what is checked is checked"),
    37: ("the wall clock jumps an hour", "nothing ends early, nothing is spent twice; back: nothing new is reserved until it has caught up"),
    38: ("the wall clock of Redis jumps", "a lease may be given twice: one fill counts"),
    39: ("a provider never answers", "the leader gives up; everybody is told; the money has its end"),
    40: ("a provider's connection breaks, at any byte", "an error and a reset; nothing is kept"),
    41: ("a stream ends cleanly without its end", "the same"),
    42: ("an error inside a 200", "told as it came; nothing is kept"),
    43: ("a 429 that asks for patience, with many waiting", "the provider is left alone"),
    44: ("an answer that may not be kept, with many waiting", "shared once; then everybody calls at once"),
    45: ("a provider that sends a byte a second", "a bound on its whole time; memory has its bound"),
    46: ("a client that never reads", "it holds back nobody, and memory has its bound"),
    47: ("an invalidation during a flight", "served to those attached, kept for nobody"),
    48: ("another policy during a flight", "kept under the policy that it was asked under, and not shown under the new one"),
    49: ("rights are taken away", "nothing is served to them within a second, at any gateway"),
    50: ("a worker's VM traps", "it starts anew, and no check is left out"),
    51: ("a store from a newer version", "a refusal to start that says so"),
    52: ("a part is asked to end under load", "it finishes what it has"),
    53: ("many calls at once, each for a tenth of what is left", "exactly ten are made"),
    54: ("a budget's window ends under load", "no spending is lost or starts anew"),
}

# Injected elsewhere: where, and by which test.
POSTGRES = "tests/stores/tests/stores"
REDIS = "tests/stores-redis/tests/redis"
ELSEWHERE = {
    8: (f"{REDIS}/entries.rs", "a_server_that_comes_back_is_found_again"),
    10: (f"{REDIS}/failover.rs", "a_promoted_replica_voids_what_its_master_granted"),
    11: (f"{REDIS}/failover.rs", "what_was_not_replicated_is_not_granted_twice_under_one_name"),
    12: (f"{REDIS}/faults.rs", "a_slow_server_is_late_and_is_found_again"),
    13: (f"{REDIS}/entries.rs", "a_redis_that_is_full_drops_fills_and_answers_lookups"),
    14: (f"{REDIS}/leases.rs", "no_token_is_given_twice_though_its_counter_was_evicted"),
    15: (f"{REDIS}/leases.rs", "a_lease_survives_a_server_that_forgets_its_scripts"),
    22: (f"{REDIS}/faults.rs", "a_black_hole_costs_a_budget_each_and_then_nothing"),
    23: (f"{REDIS}/faults.rs", "lost_answers_lease_nothing_twice"),
    25: (f"{REDIS}/faults.rs", "a_lease_whose_grant_was_lost_is_had_by_asking_again"),
    26: (f"{REDIS}/logs.rs", "a_message_that_is_lost_is_made_up_for_by_looking"),
    16: (f"{POSTGRES}/database_faults.rs", "nothing_is_lost_or_doubled_while_connections_are_killed"),
    17: (f"{POSTGRES}/database_faults.rs", "nothing_is_lost_or_doubled_when_the_server_crashes"),
    18: (f"{POSTGRES}/shared_ledger.rs", "a_lock_that_somebody_holds_is_answered_without_a_pile"),
    19: (f"{POSTGRES}/shared_ledger.rs", "a_database_that_takes_no_writes_still_tells"),
    20: (f"{POSTGRES}/database_faults.rs", "a_server_with_too_few_connections_serves_with_those_that_it_has"),
    21: (f"{POSTGRES}/shared_ledger.rs", "sidecars_that_know_nothing_of_holds_end_them_without_deadlocks"),
    30: ("tests/power-loss/tests/cuts/main.rs", "a_connection_that_does_not_wait_for_the_disk_loses_and_one_that_does_loses_nothing"),
    31: (f"{REDIS}/corruption.rs", "a_bit_that_flips_anywhere_is_refused"),
    32: (f"{REDIS}/corruption.rs", "what_is_cut_or_longer_is_refused"),
    33: (f"{REDIS}/corruption.rs", "an_entry_under_the_key_of_another_organization_is_refused"),
    38: (f"{REDIS}/leases.rs", "a_clock_that_jumps_leases_once_more_and_stores_one_answer"),
    45: ("sidecar-cache/tests/sidecar/streams.rs", "an_answer_that_comes_byte_by_byte_is_given_up_after_an_hour"),
    50: ("tests/filter-host/tests/module/vms.rs", "after_a_trap_anywhere_the_next_request_passes"),
    51: ("sidecar-cache/src/store/sqlite/ledger/ledger_tests.rs", "a_newer_schema_is_refused_with_its_version"),
    54: ("sidecar-cache/tests/sidecar/wallet.rs", "a_day_that_ends_under_load_loses_and_doubles_nothing"),
}

# Not through the front door, and why.
WHY = {
    27: "a connection keeps its order; the simulation delays, doubles and reorders what parts tell each other (`make test-sim`), and no real "
        "store is treated so",
    30: "the machine with the store would have to lose its power: below a store alone, every write of its disk is a cut",
    38: "libfaketime and Redis's allocator do not go together: its script is told another moment",
    45: "the bound is an hour, which the test's clock passes in no time",
    51: "no client sees it: a sidecar does not start",
    54: "a day ends once a day: the test's clock ends it while calls run",
}


def injected():
    """The tests of this folder by the row that they inject."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                for mark in node.decorator_list:
                    if ast.unparse(mark).startswith("pytest.mark.fault("):
                        for row in mark.args:
                            found.setdefault(row.value, []).append((path.name, node.name))
    return found


def sentence(name):
    return name.removeprefix("test_").replace("_", " ")


def page():
    """The page, from the tests."""
    tests = injected()
    lines = [
        "# Faults",
        "",
        "What can break around kt, what must happen then, and the tests that break it: through the front door where",
        "nothing else is said (`tests/e2e`: client → Envoy → filter → sidecar → provider). A test's name says what",
        "happened. Where a file of Rust stands, it is of the stores alone (`make test-redis`, `make test-stores`).",
        "Written by `python tests/e2e/faults.py` from the tests' marks, and checked by `make test-e2e`.",
        "",
        "| # | what is injected | what must happen | what happened | why not through the front door |",
        "|---|---|---|---|---|",
    ]
    for row, (fault, expected) in FAULTS.items():
        here = [f"{sentence(name)} (`{file}`)" for file, name in tests.get(row, [])]
        if row in ELSEWHERE:
            file, name = ELSEWHERE[row]
            here.append(f"{sentence(name)} (`{file}`)")
        happened = "<br>".join(here) or "**not injected**"
        lines.append(f"| {row} | {fault} | {expected} | {happened} | {WHY.get(row, '')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
