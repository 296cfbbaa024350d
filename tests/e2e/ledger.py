"""The wallet's rows, in its file or in a database, read one by one and added up with code of its own: what the
sidecar says of them is not asked.

After a crash a copy of the file is read: whoever opens a file of SQLite repairs it, and that is the sidecar's to do.
"""

import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

ENDS = ("post", "void", "expire")
# Longer than a hold lives without a sign of life, and than it lies in suspense.
HOLDS_END_MS, SUSPENSE_ENDS_MS = 66_000, 25 * 3_600_000


class Hold:
    """What was set aside for a call, and what became of it."""

    def __init__(self, number, id, held, terms):
        self.number, self.id, self.held, self.drawn = number, id, held, terms.get("drawn")
        # Of an allotment, which is for no call: none.
        self.request_id = terms["purpose"].get("call", {}).get("request_id")
        self.budgets = [
            f"budget:{named(charge['scope'])}:{charge['period']}:{charge['window']}" for charge in terms["charges"]
        ]
        self.rows, self.actual, self.is_estimated = [], 0, False

    def add(self, kind, amount, note):
        """Takes the next row that refers to it."""
        self.rows.append(kind)
        if kind == "extend":
            self.held += amount
        elif kind == "draw":
            self.held -= amount
        elif kind in ("post", "late_post", "overage"):
            self.actual += amount
            self.is_estimated = note == "estimated"

    @property
    def state(self):
        """`open`, or the word of the row that was its end."""
        ends = [kind for kind in self.rows if kind not in ("extend", "overage", "refund", "draw")]
        return ends[-1] if ends else "open"

    def faults(self):
        """What its rows contradict."""
        count = Counter(self.rows)
        if sum(count[end] for end in ENDS) > 1:
            yield f"ended twice: {self}"
        later = count["late_post"] + count["late_void"]
        if later > 1 or count["return"] > 1 or (later or count["return"]) and not count["expire"]:
            yield f"ended late without an end, or twice: {self}"
        if self.held < 0 or count["draw"] and self.request_id:
            yield f"more was drawn than it held, or from a call: {self}"
        if count["overage"] > 1 or count["overage"] and not count["post"] + count["late_post"]:
            yield f"an overage of nothing: {self}"

    def __repr__(self):
        return f"<hold {self.number} of {self.request_id} {self.held} {self.rows} {self.actual}>"


class Ledger:
    """What an organization's rows in a wallet say."""

    @classmethod
    def left_behind(cls, data_dir, org):
        """What a sidecar has left that does not run any more."""
        with tempfile.TemporaryDirectory() as folder:
            # Not the room that is kept, and not the lock.
            for name in ("wallet.db", "wallet.db-wal"):
                if (data_dir / name).exists():
                    shutil.copy(data_dir / name, folder)
            with closing(sqlite3.connect(Path(folder, "wallet.db"))) as file:
                assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                return cls.of_file(file, org)

    @classmethod
    def in_use(cls, data_dir, org):
        """What a running sidecar has written so far."""
        with closing(sqlite3.connect(f"file:{data_dir / 'wallet.db'}?mode=ro", uri=True)) as file:
            file.execute("BEGIN")
            return cls.of_file(file, org)

    @classmethod
    def of_file(cls, file, org):
        """What an open file has."""
        return cls(
            file.execute("SELECT seq, is_suspended FROM live_holds"),
            file.execute("SELECT name, credits_posted - debits_posted, debits_pended - debits_cleared, debits_posted"
                         " FROM accounts WHERE org = ?", [org]),
            file.execute("SELECT seq, hex(id), kind, hold, amount, note, terms FROM transfers WHERE org = ? ORDER BY seq",
                         [org]))

    @classmethod
    def in_database(cls, database, org):
        """What a database has: all of one moment."""
        live, accounts, transfers = database.rows(
            ("seq, is_suspended", f"live_holds WHERE org = '{org}'"),
            (f"{text('name')}, credits_posted - debits_posted, debits_pended - debits_cleared, debits_posted",
             f"accounts WHERE org = '{org}'"),
            (f"seq, encode(id, 'hex'), kind, hold, amount, {text('note')}, terms",
             f"transfers WHERE org = '{org}' ORDER BY seq"))
        return cls(live, accounts, transfers)

    def __init__(self, live, accounts, transfers):
        self.funds, self.holds, self.odd, self.draws = {}, {}, [], []
        ids, before = {}, None
        self.live = {seq: bool(is_suspended) for seq, is_suspended in live}
        self.accounts = {name: rest for name, *rest in accounts}
        for seq, id, kind, hold, amount, note, terms in transfers:
            if kind == "fund":
                self.funds.setdefault(note, []).append(amount)
            elif kind == "pending":
                self.holds[seq] = Hold(seq, id.lower(), amount, json.loads(terms))
                ids[id.lower()] = seq
            elif hold in self.holds:
                self.holds[hold].add(kind, amount, note)
            else:
                self.odd.append((seq, kind, hold))
            if kind == "draw":
                self.draws.append((seq, amount))
            # What is drawn is for the call whose row follows, and nobody else's.
            was_drawn, follows = before == "draw", kind == "pending" and self.holds[seq].drawn
            if was_drawn and (not follows or ids.get(follows) != of):
                self.odd.append((seq - 1, "draw", of))
            before, of = kind, hold

    def faults(self):
        """What does not add up. An empty list is a clean book."""
        faults = [f"a row that refers to nothing: {row}" for row in self.odd]
        faults += [fault for hold in self.holds.values() for fault in hold.faults()]
        paid, pending, suspended, spent = 0, 0, 0, 0
        budgets = {}
        live = {}
        for hold in self.holds.values():
            state, used = hold.state, (0, 0)
            if state == "open":
                pending, used = pending + hold.held, (0, hold.held)
                live[hold.number] = False
            elif state in ("post", "late_post"):
                paid, spent, used = paid + hold.actual, spent + hold.actual, (hold.actual, 0)
            elif state == "expire":
                paid, suspended, used = paid + hold.held, suspended + hold.held, (hold.held, 0)
                live[hold.number] = True
            for name in hold.budgets:
                posted, held = budgets.get(name, (0, 0))
                budgets[name] = (posted + used[0], held + used[1])
        funded = sum(sum(amounts) for amounts in self.funds.values())
        expected = {
            "wallet": (funded - paid, pending), "suspense": (suspended, 0),
            **{name: (-posted, held) for name, (posted, held) in budgets.items()},
        }
        for name, (posted, held) in expected.items():
            found = self.accounts.get(name, (0, 0, 0))
            if (posted, held) != tuple(found[:2]):
                faults.append(f"{name}: {found}, but its transfers come to {posted} and {held} pending")
        shards = sum(rest[0] for name, rest in self.accounts.items() if name.startswith("spend:"))
        if shards != spent:
            faults.append(f"{shards} went to providers, but {spent} was charged")
        if total := sum(rest[0] for rest in self.accounts.values()):
            faults.append(f"debits and credits differ by {total}")
        if live != self.live:
            faults.append(f"holds that live: {live}, and those listed: {self.live}")
        return faults


def text(column):
    """Names and notes are bytes in a database: whoever chose them may have chosen any."""
    return f"convert_from({column}, 'UTF8')"


def named(scope):
    """A budget's scope as accounts call it."""
    if scope == "org":
        return scope
    (kind, name), = scope.items()
    return f"{kind}:{name}"


def pass_time(data_dir, ms):
    """Lets the ledger's time pass while nobody has its file: it goes on from the highest moment that it has seen,
    and that stands in the file."""
    with closing(sqlite3.connect(data_dir / "wallet.db")) as file, file:
        file.execute("UPDATE marks SET at = at + ?", [ms])
