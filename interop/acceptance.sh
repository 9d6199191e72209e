#!/usr/bin/env bash
# What a user does, from an empty home folder to a second machine, with the ssh and curl that the system has.
#
#     acceptance.sh ALKNET
#
# Everything happens on loopback, on a port that the kernel chooses. Prints PASS and FAIL lines and a total.

. "$(dirname "$0")/_checks.sh"

KEY=$HOME/.ssh/id_ed25519
BOX=$WORLD/box # the data folder of "another machine"
DATA=$HOME/.local/share/alknet
DAEMON=

ssh-keygen -q -t ed25519 -N '' -C 'me@laptop' -f "$KEY"

port() { json 'it["listen"][0]["addr"].rsplit(":", 1)[1]' alknet status --json; }
ticket() { json 'it["ticket"]' alknet status --json; }
node_id() { json 'it["node_id"]' alknet identity show --json "$@"; }
stock_ssh() {
    ssh -F none -i "$KEY" -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR \
        -o UserKnownHostsFile="$WORLD/known_hosts" -o ConnectTimeout=10 -p "$PORT" "$@"
}
# OpenSSH asks the user database for the home folder, not HOME: the installed file is named.
installed_ssh() { ssh -F "$HOME/.ssh/config" -i "$KEY" -o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR "$@"; }
serving() { alknet status --json; }
serve_in_foreground() {
    "$ALKNET_BIN" up --listen 127.0.0.1:0 >"$WORLD/up.out" 2>"$WORLD/up.err" &
    DAEMON=$!
    own "$DAEMON"
    waited 10 serving && PORT=$(port)
}
ended_cleanly() { waited 15 gone "$DAEMON" && wait "$DAEMON"; }

# First run, without a terminal.
check "up makes an identity and serves" serve_in_foreground
[ -n "${PORT:-}" ] || { cat "$WORLD/up.err"; total; exit 1; }
TICKET=$(ticket) NODE=$(node_id)
check "up says that it uses a key file, and how to change that" grep -q "keystore.key (mode 0600).*" "$WORLD/up.err"
check "up prints nothing on standard output" test ! -s "$WORLD/up.out"
check "the key file is private" prints 600 stat -c %a "$DATA/keystore.key"
check "the data folder is private" prints 700 stat -c %a "$DATA"
check "up prints the port" grep -q "on port $PORT (TCP and UDP)" "$WORLD/up.err"
check "up prints the ticket to paste" grep -q -- "--ticket $TICKET" "$WORLD/up.err"
check "up prints the ssh command" grep -q "ssh -p $PORT me@127.0.0.1" "$WORLD/up.err"
check "up prints the first peer to add" grep -q "peer add me --key .* --role owner" "$WORLD/up.err"

# The owner.
check "before the key is added ssh is refused" ends 255 stock_ssh me@127.0.0.1 true
check "peer add me" prints me alknet peer add me --key "$KEY.pub" --role owner
check "ssh, stock, no wrapper" prints "$(uname -a)" stock_ssh me@127.0.0.1 'uname -a'
check "ssh: the exit status" ends 7 stock_ssh me@127.0.0.1 'exit 7'
check "ssh: a name that is nobody's is refused" ends 255 stock_ssh somebody-else@127.0.0.1 true
check "ssh: a file through and back" bash -c 'head -c 3000000 /dev/urandom >"$0/blob"; "$@" cat <"$0/blob" | cmp - "$0/blob"' \
    "$WORLD" ssh -F none -i "$KEY" -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile="$WORLD/known_hosts" -p "$PORT" me@127.0.0.1
check "ssh-keyscan sees the host key" prints ssh-ed25519 ssh-keyscan -t ed25519 -p "$PORT" 127.0.0.1
printf 'Host elsewhere\n    Port 2222\n' >"$HOME/.ssh/config"
check "ssh-config prints a stanza" prints "ProxyCommand" alknet ssh-config
check "ssh-config --install" prints "installed in $HOME/.ssh/config" alknet ssh-config --install
cp "$HOME/.ssh/config" "$WORLD/config.once"
check "ssh-config --install twice changes nothing" bash -c '"$0" ssh-config --install && cmp "$1/.ssh/config" "$2"' "$ALKNET_BIN" "$HOME" "$WORLD/config.once"
check "ssh-config keeps what was there" prints "port 2222" ssh -F "$HOME/.ssh/config" -G elsewhere
check "ssh node 'echo hi'" prints hi installed_ssh node 'echo hi'
check "ssh node over the proxy: the exit status" ends 7 installed_ssh node 'exit 7'
sed -i 's/ssh-ed25519 .*/ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHY5CmlD8utHLps54nQvHXvGwMuxZl7L+RAWrX\/awtOI/' "$DATA/known_hosts"
check "ssh node: another host key is refused" ends 255 installed_ssh node true
alknet ssh-config --install 2>/dev/null
sed -i '/^alknet-/d' "$DATA/known_hosts"
check "ssh node: by the authority that certifies its host key, alone" prints hi installed_ssh node 'echo hi'
alknet ssh-config --install 2>/dev/null

# The web.
URL=https://127.0.0.1:$PORT
fetch() { curl -sk -m 10 -w ' %{http_version} %{http_code}' "$@"; }
check "curl healthz over HTTP/1.1" prints '{"status":"ok"} 1.1 200' fetch --http1.1 "$URL/healthz"
check "curl healthz over HTTP/2" prints '{"status":"ok"} 2 200' fetch --http2 "$URL/healthz"
check "curl healthz without ALPN" prints '{"status":"ok"} 1.1 200' fetch --no-alpn "$URL/healthz"
check "the front page" prints " 2 200" fetch "$URL/"
check "the certificate is the one in the data folder" prints '"status":"ok"' curl -s -m 10 --cacert "$DATA/web/self-signed.crt" "https://localhost:$PORT/healthz" --connect-to "localhost:$PORT:127.0.0.1:$PORT"
check "plain HTTP gets a hint at https" prints "https" curl -s -m 10 "http://127.0.0.1:$PORT/"
check "a wrong bearer is refused" prints " 401" fetch -H 'Authorization: Bearer alk_aaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' "$URL/healthz"

# Calls through the control socket.
check "call node/identify" holds "it['node_id'] == '$NODE' and len(it['key']) == 64 and it['you']" alknet call node/identify '{}'
check "identity show" holds "it['node_id'] == '$NODE' and len(it['key']) == 64" alknet identity show --json
check "status --json has its shape" holds \
    "{'node_id', 'version', 'listen', 'uptime_ms', 'services'} <= set(it) and [set(l) for l in it['listen']] == [{'carrier', 'addr'}] * 2 \
     and {l['carrier'] for l in it['listen']} == {'quic', 'tcp'} and {l['addr'] for l in it['listen']} == {'127.0.0.1:$PORT'} \
     and isinstance(it['uptime_ms'], int) and {'alknet/call', 'alknet/ssh', 'ssh', 'h2', 'http/1.1'} <= set(it['services'])" alknet status --json
check "status for people" prints "node id    $NODE" alknet status
check "peer list --json" holds "[(p['name'], p['role'], len(p['keys'])) for p in it] == [('me', 'owner', 1)]" alknet peer list --json
check "peer show" holds "it['name'] == 'me'" alknet peer show me --json
check "services lists the operations" prints "peers/add" alknet services
check "services --schema" holds "'properties' in str(it)" alknet services --schema peers/add
check "an unknown operation ends with 4" ends 4 alknet call no/such '{}'
check "bad input ends with 2" ends 2 alknet call peers/show '{"nmae": "me"}'
check "doctor finds nothing broken" holds "all(f['verdict'] != 'broken' for f in it) and {'tcp', 'quic', 'clock', 'disk'} <= {f['check'] for f in it}" alknet doctor --json

# Another machine: a data folder of its own.
check "an unpinned node ends with 3 and shows the key" refuses 3 "$NODE" alknet --data "$BOX" call "@127.0.0.1:$PORT" services/list
check "an unpinned node: the first way out" refuses 3 "peer add NAME --ticket $TICKET" alknet --data "$BOX" call "@127.0.0.1:$PORT" services/list
check "an unpinned node: the second way out" refuses 3 "--trust-on-first-use" alknet --data "$BOX" call "@127.0.0.1:$PORT" services/list
check "peer add box --ticket" prints "box" alknet --data "$BOX" peer add box --ticket "$TICKET"
check "call @box services/list" holds "'node/identify' in [o['name'] for o in it['operations']]" alknet --data "$BOX" call @box services/list
check "a stranger sees public operations only" holds "'peers/list' not in [o['name'] for o in it['operations']]" alknet --data "$BOX" call @box services/list
over() { stock_ssh -o ProxyCommand="'$ALKNET_BIN' --data '$BOX' connect --carrier $1 box alknet/ssh" -o HostKeyAlias=box me@box "${@:2}"; }
check "connect over TCP reaches ssh" prints "by tcp" over tcp 'echo by tcp'
check "connect over QUIC reaches ssh" prints "by quic" over quic 'echo by quic'
check "doctor box tries both carriers" holds "{f['check']: f['verdict'] for f in it}.get('quic') == 'good' and {f['check']: f['verdict'] for f in it}.get('tcp') == 'good'" alknet --data "$BOX" doctor box --json
check "the ticket's owner is made known as a node" prints box2 alknet peer add box2 --key "$(node_id --data "$BOX")" --role observer
check "an observer may read" holds "{'peers/list', 'node/status'} <= {o['name'] for o in it['operations']}" alknet --data "$BOX" call @box services/list
check "an observer is called by its name" holds "it['you'] == 'box2'" alknet --data "$BOX" call @box node/identify
check "an observer may not write" ends 4 alknet --data "$BOX" call @box peers/remove '{"name": "me"}'
check "--trust-on-first-use takes the key" holds "it['node_id'] == '$NODE'" alknet --data "$WORLD/third" call "@127.0.0.1:$PORT" node/identify --trust-on-first-use
check "--trust-on-first-use pinned it" holds "[p['node_id'] for p in it] == ['$NODE']" alknet --data "$WORLD/third" peer list --json
check "a stranger cannot stop the node" ends 3 alknet --data "$WORLD/third" call "@$TICKET" node/stop

# Keys, tokens, secrets.
KEY_MADE=$(json 'it["key"]' alknet key create web --role observer --json)
check "an API key opens the web" prints " 200" fetch -H "Authorization: Bearer $KEY_MADE" "$URL/healthz"
check "key list shows no secret" bash -c '! "$0" key list --json | grep -q "${1#alk_????????_}"' "$ALKNET_BIN" "$KEY_MADE"
check "key revoke" prints revoked alknet key revoke "${KEY_MADE:4:8}"
check "a revoked API key is refused" prints " 401" fetch -H "Authorization: Bearer $KEY_MADE" "$URL/healthz"
read -r TOKEN_ID TOKEN < <(json 'it["id"] + " " + it["token"]' alknet token create --scope peers:read --lifetime 15min --json)
check "a token opens the web" prints " 200" fetch -H "Authorization: Bearer $TOKEN" "$URL/healthz"
check "token list" prints "$TOKEN_ID" alknet token list
check "token revoke" prints "not accepted any more" alknet token revoke "$TOKEN_ID"
check "a revoked token is refused" prints " 401" fetch -H "Authorization: Bearer $TOKEN" "$URL/healthz"
sealed() { printf s3cret | alknet vault seal --context mail >"$WORLD/sealed.json" && [ "$(alknet vault open --context mail <"$WORLD/sealed.json")" = s3cret ]; }
verified() { alknet vault verify --context "$1" <"$WORLD/sealed.json"; }
check "vault seal and open" sealed
check "vault verify" prints "6 bytes inside" verified mail
check "vault verify in another context is denied" ends 3 verified other

# The configuration.
check "config show --origin" prints '"127.0.0.1:0"  # flag --listen' alknet config show --origin
check "config check" prints good alknet config check
printf '[log]\nlevel = "debug"\n' >"$DATA/alknet.toml"
check "config check tells what would change" prints 'log.level: "info" becomes "debug"' alknet config check
kill -HUP "$DAEMON"
check "SIGHUP takes it over" waited 5 prints 'log.level = "debug"' alknet config show
printf '[log]\nlevle = "info"\n' >"$DATA/alknet.toml"
check "an unknown key is an error with a suggestion" refuses 2 "level" alknet config check
kill -HUP "$DAEMON"
check "a bad file changes nothing" waited 5 grep -q "reload refused" "$WORLD/up.err"
rm "$DATA/alknet.toml"
check "config reload says what changed" prints 'log.level' alknet config reload
check "completions for bash parse" bash -c '"$0" completions bash >"$1" && bash -n "$1"' "$ALKNET_BIN" "$WORLD/completions"

# Who did what.
check "the audit shows the login" holds "any(r['action'] == 'ssh' and r['identity'] == 'me' and r['outcome'] == 'allowed' for r in it)" alknet audit --json
check "the audit shows the denials" holds "any(r['action'].startswith('peers/remove') and r['identity'] == 'box2' for r in it)" alknet audit --json --denied
check "a second up names the process" refuses 1 "$DAEMON" alknet up --listen 127.0.0.1:0
check "the second up disturbed nothing" prints "echo" stock_ssh me@127.0.0.1 'echo echo'

# The end, and what is left.
kill -INT "$DAEMON"
check "Ctrl-C drains and exits 0" ended_cleanly
check "status without a node ends with 5" ends 5 alknet status
check "peers can be listed without a node" holds "{p['name'] for p in it} == {'me', 'box2'}" alknet peer list --json
check "up again" serve_in_foreground
check "the identity is the same" prints "$NODE" alknet status
check "the owner gets in again" prints again stock_ssh me@127.0.0.1 'echo again'
check "ssh node finds the new port" prints hi installed_ssh node 'echo hi'
kill -TERM "$DAEMON"
check "SIGTERM drains and exits 0" ended_cleanly
check "up --detach returns when it serves" prints "serves as process" alknet up --listen '[::]:0' --detach
own "$(json 'it["pid"]' alknet status --json)"
PORT=$(port)
check "[::] serves IPv4" prints " 200" fetch "https://127.0.0.1:$PORT/healthz"
if [ -s /proc/net/if_inet6 ]; then check "[::] serves IPv6" prints " 200" fetch "https://[::1]:$PORT/healthz"; else echo "SKIP [::] serves IPv6: this machine has none"; fi
check "ssh node finds this port too" prints hi installed_ssh node 'echo hi'
check "a detached node answers" prints "$NODE" alknet status
check "a second up --detach names the process" refuses 1 "in use by process" alknet up --listen 127.0.0.1:0 --detach
check "stop" prints stopped alknet stop
check "after stop no node runs" ends 5 alknet status

# From the paper to an empty machine.
restored() { alknet identity backup 2>/dev/null | alknet --data "$WORLD/restored" identity restore && [ "$(node_id --data "$WORLD/restored")" = "$NODE" ]; }
check "identity backup and restore: the same node" restored
check "an identity is never overwritten" bash -c '! "$0" identity backup 2>/dev/null | "$0" --data "$1" identity restore' "$ALKNET_BIN" "$WORLD/restored"
opened_elsewhere() { [ "$(alknet --data "$WORLD/restored" vault open --context mail <"$WORLD/sealed.json")" = s3cret ]; }
check "the restored node opens what was sealed" opened_elsewhere

total
