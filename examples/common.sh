# What the examples that run a group share: children that are started, awaited, watched and stopped. Sourced by their
# `run`, which sets SAYS (its name in messages), RUN (the folder of logs) and BIN (that of the programs).

die() { printf '%s: %s\n' "$SAYS" "$*" >&2; exit 1; }

# The children in the order of their start, which is the reverse of the order of their end. Each is in a session of its
# own (setsid), so that Ctrl-C reaches this script alone, at any moment, and it stops them in order.
children=()
names=()
starting=
# Whether a child is there and not in a session of its own, which `setsid` makes before it is the program.
is_shell() { # pid
    local stat
    [ -n "$1" ] && { read -r stat < "/proc/$1/stat"; } 2>/dev/null || return 1
    # Behind the name: state, parent, group, session.
    set -- "$1" ${stat##*) }
    [ "$5" != "$1" ]
}
stop() {
    trap '' INT TERM HUP
    set +e
    # Ctrl-C between a child's start and its entry in the list: nobody else would ever stop that child.
    [ -z "$starting" ] || children+=("${!:-}")
    for at in $(printf '%s\n' "${!children[@]}" | sort -rn); do
        # A child that is not in its session yet is still this shell, and may miss the signal.
        for ((tries = 0; tries < 250; tries++)); do
            is_shell "${children[at]}" || break
            sleep 0.02
        done
        kill -TERM "${children[at]}" 2>/dev/null || true
        wait "${children[at]}" 2>/dev/null || true
    done
}
# Ctrl-C is an end that was asked for: 0. It also kills the command that runs just then, and `set -e` may take that for
# a failure before the trap has run, or run the trap inside the one for EXIT; there `exit` would skip the stopping and
# keep the wrong status, `exec` does neither.
interrupted() {
    trap '' INT TERM HUP
    printf '\nstopping\n' || true
    stop
    exec true
}
trap 'if [ $? -gt 128 ]; then interrupted; else stop; fi' EXIT
trap interrupted INT TERM HUP

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# Taken is also a port that some outgoing connection happens to use, which only an attempt to bind shows.
free() { # port, whose
    local why by
    why=$(python3 -c '
import socket, sys
try:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", int(sys.argv[1])))
except OSError as error:
    sys.exit(error.strerror)' "$1" 2>&1) && return
    by=$(ss -Htnap "sport = :$1" 2>&1 | tr -s ' ') || true
    die "port $1 ($2) cannot be had: ${why:-the check was ended}; ss says of it: ${by:-nothing}"
}
need_programs() { # program…
    for program in "$@"; do
        [ -x "$BIN/$program" ] || die "$BIN/$program is missing: make build"
    done
}

start() { # name, what to say, command…
    name=$1
    printf '%-15s %s\n' "$name" "$2"
    shift 2
    # Now, not when the child starts: a `ready` of the last run must not count.
    : > "$RUN/$name.log"
    starting=$name
    setsid "$@" < /dev/null > "$RUN/$name.log" 2>&1 &
    children+=($!)
    names+=("$name")
    starting=
}
await() { # name, what to try
    name=$1 pid=${children[-1]}
    shift
    # A minute at least: other things may be built beside it. Whoever has ended is not waited for.
    for ((tries = 0; tries < 1200; tries++)); do
        "$@" && return
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    tail -n 20 "$RUN/$name.log" >&2
    die "$name did not start; its log is $RUN/$name.log"
}
is_ready() { grep -q '^ready ' "$RUN/$1.log"; }

# Seed 001's first curl. Where there is no curl, Python asks the same.
post() { # port
    printf '\n$ curl -X POST http://127.0.0.1:%s/v1/chat/completions -H "Authorization: Bearer $KEY" …\n' "$1"
    if command -v curl > /dev/null; then
        curl -sS -i -X POST "http://127.0.0.1:$1/v1/chat/completions" \
            -H "Authorization: Bearer $key" -H "Content-Type: application/json" -d "$QUESTION"
    else
        python3 - "$1" "$key" "$QUESTION" <<'PYTHON'
import sys, urllib.request
port, key, body = sys.argv[1:]
request = urllib.request.Request(
    f"http://127.0.0.1:{port}/v1/chat/completions", body.encode(),
    {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
with urllib.request.urlopen(request) as answer:
    print(f"HTTP/1.1 {answer.status}\n{answer.headers}{answer.read().decode()}")
PYTHON
    fi | tr -d '\r' | sed -nE '1p; /^(x-cache-status|cache-status|x-fabric-attached|x-request-id|x-kt-served-by|x-kt-cost-usd|x-kt-saved-usd):/Ip; /^\{/p' \
        | cut -c 1-160
}
calls() { python3 -c 'import urllib.request; print(urllib.request.urlopen("http://127.0.0.1:41900/calls").read().decode())'; }
# Whoever ends is named, once; the others go on, so that one can kill a gateway and see what happens.
watch() {
    while [ "${#children[@]}" -gt 0 ]; do
        wait -n "${children[@]}" 2>/dev/null || true
        for at in "${!children[@]}"; do
            kill -0 "${children[at]}" 2>/dev/null && continue
            printf '%s ended; its log is %s\n' "${names[at]}" "$RUN/${names[at]}.log"
            unset "children[at]" "names[at]"
        done
    done
}
