#!/usr/bin/env bash
# Two nodes, one of which lends its operations to the other: joined, listed, called, killed, and back.
#
#     workers.sh ALKNET
#
# Everything happens on loopback, on ports that the kernel chooses. Prints PASS and FAIL lines and a total.

. "$(dirname "$0")/_checks.sh"

HEAD=$WORLD/head WORKER=$WORLD/worker
head_node() { alknet --data "$HEAD" "$@"; }
worker_node() { alknet --data "$WORKER" "$@"; }

# serves NAME DATA ADDRESS: starts a node and waits until it answers.
serves() {
    "$ALKNET_BIN" up --data "$2" --listen "$3" >"$WORLD/$1.out" 2>"$WORLD/$1.err" &
    eval "${1^^}_PID=$!"
    own "$!"
    waited 10 alknet --data "$2" status --json
}
address() { json 'it["listen"][0]["addr"]' alknet --data "$1" status --json; }
ticket() { json 'it["ticket"]' alknet --data "$1" status --json; }
joined() { holds 'it["heads"][0]["state"] == "joined"' worker_node worker list --json; }
connected() { holds 'it["workers"][0]["connected"]' head_node worker list --json; }
gone() { holds 'not it["workers"][0]["connected"]' head_node worker list --json; }
over() { ! kill -0 "$1" 2>/dev/null; }

check "the head serves" serves head "$HEAD" 127.0.0.1:0
check "the worker serves" serves worker "$WORKER" 127.0.0.1:0
check "the head knows the worker" prints box head_node peer add box --ticket "$(ticket "$WORKER")" --role worker
check "the worker knows the head" prints hub worker_node peer add hub --ticket "$(ticket "$HEAD")" --role observer
check "nobody may be called any" refuses 2 "any" head_node peer add any --ticket "$(ticket "$WORKER")" --role worker

check "join" prints "hub is a head" worker_node worker join @hub
check "join: who is no peer" refuses 4 "nobody" worker_node worker join @nobody
check "the worker has joined" waited 10 joined
check "the head sees it" waited 10 connected
check "services lists three segments" prints "box/node/status" head_node services
check "services --tree" prints "box" head_node services --tree
check "services --tree in a pipe" bash -c '"$0" --data "$1" services --tree | grep -q "status "' "$ALKNET_BIN" "$HEAD"
check "services --tree --json" holds '[node["node"] for node in it["nodes"] if "node" in node] == ["box"]' head_node services --tree --json
check "the schema says which scope" holds '"remote:box" in it["access"]["scopes"]' head_node services --schema box/node/status
check "what the head's role does not allow is not offered" bash -c '! "$0" --data "$1" services | grep -q box/peers/add' "$ALKNET_BIN" "$HEAD"
WORKER_ID=$(json 'it["node_id"]' worker_node status --json)
check "call box/…" prints "$WORKER_ID" head_node call box/node/status '{}'
check "call any/…" prints "$WORKER_ID" head_node call any/node/status '{}'
check "call box/…: what does not exist" refuses 4 NOT_FOUND head_node call box/peers/add '{}'
check "call box/…: an input that does not fit" refuses 2 INVALID_INPUT head_node call box/peers/show '{"name":7}'

# A stranger to remote:box sees nothing of it.
ANNE=$WORLD/anne
check "another node" alknet init --data "$ANNE"
check "the head knows it as an observer" prints anne head_node peer add anne --key "$(json 'it["node_id"]' alknet --data "$ANNE" identity show --json)" --role observer
check "the other node knows the head" prints hub alknet --data "$ANNE" peer add hub --ticket "$(ticket "$HEAD")" --role guest
check "it may call the head" prints listen alknet --data "$ANNE" call @hub node/status '{}'
check "it may not call the worker through it" refuses 4 NOT_FOUND alknet --data "$ANNE" call @hub box/node/status '{}'
check "it does not see the worker" bash -c '! "$0" --data "$1" services @hub | grep -q box/' "$ALKNET_BIN" "$ANNE"

# The worker dies without a word.
ADDRESS=$(address "$WORKER")
kill -KILL "$WORKER_PID"
check "the worker is killed" waited 5 over "$WORKER_PID"
check "the head sees that it is gone" waited 40 gone
check "call box/…: UNAVAILABLE" refuses 5 UNAVAILABLE head_node call box/node/status '{}'
check "call any/…: UNAVAILABLE" refuses 5 UNAVAILABLE head_node call any/node/status '{}'
check "it is not listed" bash -c '! "$0" --data "$1" services | grep -q box/' "$ALKNET_BIN" "$HEAD"
check "the worker starts again" serves worker "$WORKER" "$ADDRESS"
check "it joins by itself" waited 15 connected
check "call box/… again" prints "$WORKER_ID" head_node call box/node/status '{}'

# The head dies without a word, and comes back where it was.
ADDRESS=$(address "$HEAD")
kill -KILL "$HEAD_PID"
check "the head is killed" waited 5 over "$HEAD_PID"
check "the head starts again" serves head "$HEAD" "$ADDRESS"
check "the worker is back by itself" waited 60 prints "$WORKER_ID" head_node call box/node/status '{}'

# Rights end at once, on either side.
check "the worker makes the head a guest" bash -c '"$0" --data "$1" peer remove hub && "$0" --data "$1" peer add hub --ticket "$2" --role guest' "$ALKNET_BIN" "$WORKER" "$(ticket "$HEAD")"
check "what a guest may not is offered no more" waited 30 refuses 4 NOT_FOUND head_node call box/node/status '{}'
check "what is public is" waited 10 prints "$WORKER_ID" head_node call box/node/identify '{}'
check "leave" prints "no head" worker_node worker leave @hub
check "leave twice" refuses 4 NOT_FOUND worker_node worker leave @hub
check "then nothing is offered" waited 10 gone
check "list as a table" prints "box" head_node worker list

total
