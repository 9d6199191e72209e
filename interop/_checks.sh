# Part of the shell scripts beside it: a tally, a temporary world, and waiting for conditions.
#
# A script sources this file with its own arguments and gets: `alknet` (the binary), WORLD (a temporary folder with HOME in it,
# removed at the end), `check NAME COMMAND…`, `waited`, `own PID` (processes that are ended at the end) and `total`.

ALKNET_BIN=$(realpath -e "${ALKNET_BIN:-${1:-no binary was named}}") || exit 2
PYTHON=${PYTHON:-python3}
WORLD=$(mktemp -d "${TMPDIR:-/tmp}/alknet-interop.XXXXXX")
export HOME=$WORLD/home
mkdir -m 700 "$HOME" "$HOME/.ssh"
unset ALKNET_DATA ALKNET_CONFIG XDG_DATA_HOME XDG_CONFIG_HOME SSH_AUTH_SOCK DISPLAY CREDENTIALS_DIRECTORY
PASSED=0 FAILED=0 OWNED=()
exec </dev/null

clean_up() {
    local pid
    for pid in "${OWNED[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${OWNED[@]}"; do waited 5 gone "$pid" || kill -KILL "$pid" 2>/dev/null; done
    rm -rf "$WORLD"
}
trap clean_up EXIT

alknet() { "$ALKNET_BIN" "$@"; }
own() { OWNED+=("$1"); }
gone() { ! kill -0 "$1" 2>/dev/null; }

# waited SECONDS COMMAND…: tries until it succeeds; fails when the time is over.
waited() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# check NAME COMMAND…: one line of the tally.
check() {
    local name=$1 status
    shift
    "$@" >"$WORLD/said" 2>&1
    status=$?
    if [ "$status" = 0 ]; then
        PASSED=$((PASSED + 1))
        echo "PASS $name"
    else
        FAILED=$((FAILED + 1))
        echo "FAIL $name: status $status: $(tail -n 6 "$WORLD/said" | tr '\n' ' ' | cut -c1-600)"
    fi
}

# ends STATUS COMMAND…: the command ends with exactly this status.
ends() {
    local want=$1 got
    shift
    "$@"
    got=$?
    [ "$got" = "$want" ] || { echo "ended with $got, not $want"; return 1; }
}

# prints TEXT COMMAND…: the command succeeds and its output, on both channels, holds the text.
prints() {
    local want=$1 out status
    shift
    out=$("$@" 2>&1)
    status=$?
    [ "$status" = 0 ] && [[ $out == *"$want"* ]] || { echo "wanted '$want', status $status, got: $out"; return 1; }
}

# refuses STATUS TEXT COMMAND…: the command fails with this status and says the text.
refuses() {
    local want=$1 text=$2 out got
    shift 2
    out=$("$@" 2>&1)
    got=$?
    [ "$got" = "$want" ] && [[ $out == *"$text"* ]] || { echo "wanted status $want and '$text', got $got: $out"; return 1; }
}

# json EXPRESSION COMMAND…: evaluates a Python expression over the command's JSON (`it`) and prints the value.
json() {
    local expression=$1 out
    shift
    out=$("$@") || return
    "$PYTHON" -c 'import json, sys; it = json.load(sys.stdin); value = eval(sys.argv[1]); print(value)' "$expression" <<<"$out"
}

# holds EXPRESSION COMMAND…: that expression is true.
holds() { prints True json "bool($1)" "${@:2}"; }

total() {
    echo "$PASSED passed, $FAILED failed"
    [ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
}
