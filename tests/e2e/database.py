"""A Postgres of a test's own: on a free port, with its data in a temporary folder, and easy to hurt.

    with Database() as database, Group(database.config()) as one, Group(database.config()) as other:
        ...
"""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess

from processes import ROOT, binary_dir, family_of, free_port, wait_until

# The variable of a sidecar's environment that holds the address.
VARIABLE = "E2E_DATABASE_URL"


class Database:
    """One server with one database, which has all tables where nothing else is said. Settings are the server's own."""

    def __init__(self, is_migrated=True, settings=()):
        self._is_migrated, self._settings = is_migrated, settings
        self._is_killed, self._is_written = False, True
        self.port = free_port()
        self.url = f"postgres://kt@127.0.0.1:{self.port}/postgres"
        self._script = None
        self.folder = None

    def __enter__(self):
        settings = [part for setting in ("fsync=off", *self._settings) for part in ("-c", setting)]
        self._script = subprocess.Popen(
            [ROOT / "scripts/postgres", *settings], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PGPORT": str(self.port)},
        )
        self.folder = self._script.stdout.readline().strip()
        assert self.folder, "no Postgres for the test, for the reason above"
        os.environ[VARIABLE] = self.url
        if not self._is_migrated:
            return self
        subprocess.run([binary_dir() / "kt", "db", "migrate"], check=True, capture_output=True,
                       env={**os.environ, "KT_DATABASE_URL": self.url})
        return self

    def __exit__(self, *_):
        self.thaw()
        # It ends with its input, and takes everything along.
        self._script.stdin.close()
        self._script.wait(30)
        os.environ.pop(VARIABLE, None)

    @staticmethod
    def config():
        """What a group's configuration says of it."""
        return {"database": {"url": {"env": VARIABLE}}}

    def _servers(self):
        """The server's processes."""
        with open(f"{self.folder}/data/postmaster.pid", encoding="ascii") as file:
            return family_of(int(file.readline()))

    def freeze(self):
        """It answers nobody any more, and no connection breaks. Those that are made meanwhile do not answer either."""
        for _ in range(2):  # The first one stopped starts no more; what it had just started is found the second time.
            for member in self._servers():
                member.signal(signal.SIGSTOP)

    def thaw(self):
        try:
            members = self._servers()
        except OSError:
            return
        for member in members:
            member.signal(signal.SIGCONT)

    def kill(self):
        """Kills the server and all that is its own, as a crash of its machine does."""
        members = self._servers()
        for member in members:
            member.signal(signal.SIGKILL)
        self._is_killed = True
        wait_until(lambda: not any(member.is_running() for member in members), "the database is gone")

    def start(self):
        """Starts it again, with what it had."""
        self._script.stdin.write("start\n")
        self._script.stdin.flush()
        assert self._script.stdout.readline() == "started\n", "the database does not start again"
        self._is_killed = False

    def mend(self):
        """It runs, and takes writes."""
        self.thaw()
        if self._is_killed:
            self.start()
        if not self._is_written:
            self.takes_writes()

    def _psql(self, **how):
        return subprocess.Popen(["psql", "-h", self.folder, "-p", str(self.port), "-U", "kt", "-AtqX", "postgres"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **how)

    def run(self, sql):
        """What the server says, past everybody else."""
        said, _ = self._psql().communicate(sql, timeout=30)
        return said.strip()

    def _wait_answers(self):
        """Until it answers: after a crash of one of its processes it recovers for a while."""
        wait_until(lambda: self.run("SELECT 1") == "1", "the database answers")

    def rows(self, *questions):
        """The rows that several questions find, all of one moment. A question is its columns, and where from."""
        asked = "".join(f"SELECT json_build_array({number}, json_build_array({columns})) FROM {of};\n"
                        for number, (columns, of) in enumerate(questions))
        def told():
            *lines, last = self.run(f"BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ;\n{asked}COMMIT;\n"
                                    "SELECT 'told';").splitlines() or [""]
            # Of one that recovers, or ends meanwhile, there is no last word; nothing it says is no answer.
            return last == "told" and [*lines, last]
        answers = [[] for _ in questions]
        for line in wait_until(told, "the database answers")[:-1]:
            number, row = json.loads(line)
            answers[number].append(row)
        return answers

    def kill_connections(self):
        """Ends all connections of sidecars."""
        return self.run("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'kt'")

    def kill_backend(self):
        """Kills the process that serves a sidecar, upon which the server ends all others and recovers."""
        def is_killed():
            backend = self.run("SELECT pid FROM pg_stat_activity WHERE application_name = 'kt' LIMIT 1")
            if backend:
                # Where it has just ended by itself, this fails, and the next one is looked for.
                os.kill(int(backend), signal.SIGKILL)
            return backend
        wait_until(is_killed, "a process of the server serves a sidecar")

    def takes_writes(self, does=True):
        """Whether it does; for connections that are made from now on. Those that take writes end where it does not any more;
        those that take none stay when it does again, as the ones to a server that was a replica do."""
        self._is_written = does
        # This connection may be one that takes none.
        self.run("SET default_transaction_read_only = off; "
                 f"ALTER DATABASE postgres SET default_transaction_read_only = {'off' if does else 'on'}")
        if not does:
            self.kill_connections()

    @contextlib.contextmanager
    def locked(self, org):
        """Somebody else holds the lock of an organization."""
        self._wait_answers()
        shell = self._psql()
        try:
            shell.stdin.write(f"BEGIN;\nSELECT 'locked' FROM orgs WHERE org = '{org}' FOR UPDATE;\n")
            shell.stdin.flush()
            assert shell.stdout.readline() == "locked\n", f"no {org} to lock"
            yield
        finally:
            shell.stdin.close()
            shell.wait(30)

    def deadlocks(self):
        """How often the server has ended somebody's waiting for who waits for him."""
        with open(f"{self.folder}/log", encoding="utf-8") as log:
            return log.read().count("ERROR:  deadlock detected")

    @contextlib.contextmanager
    def crossed(self, org):
        """Somebody else has locked the wallet of an organization, and, as soon as anybody waits for it, wants the
        organization too, which whoever waits has locked. It is not he whose waiting is ended."""
        shell = self._psql()
        try:
            shell.stdin.write(f"""BEGIN; SET LOCAL deadlock_timeout = '60s';
                SELECT 'locked' FROM accounts WHERE org = '{org}' AND name = 'wallet' FOR UPDATE;\n""")
            shell.stdin.flush()
            assert shell.stdout.readline() == "locked\n", f"no wallet of {org} to lock"
            shell.stdin.write(f"""DO $$ BEGIN
                WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP PERFORM pg_sleep(0.005); END LOOP;
                PERFORM FROM orgs WHERE org = '{org}' FOR UPDATE;
                END $$; COMMIT; SELECT 'had both';\n""")
            shell.stdin.flush()
            yield
            assert shell.stdout.readline() == "had both\n", f"nobody has waited for the wallet of {org}"
        finally:
            shell.kill()
            shell.wait(30)

    @contextlib.contextmanager
    def crowded(self, left=0):
        """Somebody else has all connections but so many, and none of the sidecars has one to begin with."""
        shell = self._psql()
        with contextlib.ExitStack() as guests:
            guests.callback(shell.wait, 30)
            guests.callback(shell.stdin.close)
            held = []

            def is_full():
                while guest := self._guest():
                    held.append(guests.enter_context(guest))
                shell.stdin.write("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                                  "WHERE application_name = 'kt';\n")
                shell.stdin.flush()
                return shell.stdout.readline() == "0\n"
            wait_until(is_full, "no connection is left")
            for guest in held[:left]:
                guest.close()
            yield

    def _guest(self):
        """A connection that does nothing, if there is one."""
        guest = socket.create_connection(("127.0.0.1", self.port), 30)
        words = b"user\0kt\0database\0postgres\0application_name\0guest\0\0"
        guest.sendall(struct.pack("!ii", 8 + len(words), 196_608) + words)
        said = guest.makefile("rb")
        while kind := said.read(1):
            said.read(struct.unpack("!i", said.read(4))[0] - 4)
            if kind == b"Z":
                return guest
            if kind == b"E":
                break
        guest.close()
        return None
