#!/usr/bin/env bash
# Stock OpenSSH against a node, by every way in: bare, inside TLS and inside QUIC by an independent client, and through our own
# `alknet connect` as its ProxyCommand.
#
#     ssh_three_ways.sh ALKNET        with KIT naming the folder of the stock clients' scripts
# needs: kit

. "$(dirname "$0")/_checks.sh"
: "${KIT:?the folder with ssh_openssh.py}"

KEY=$HOME/.ssh/id_ed25519
export ALKNET_DATA=$WORLD/data
ssh-keygen -q -t ed25519 -N '' -f "$KEY"

"$ALKNET_BIN" up --listen 127.0.0.1:0 --detach 2>"$WORLD/up.err" || { cat "$WORLD/up.err"; exit 1; }
own "$(json 'it["pid"]' alknet status --json)"
PORT=$(json 'it["listen"][0]["addr"].rsplit(":", 1)[1]' alknet status --json)
alknet peer add me --key "$KEY.pub" --role owner >/dev/null || exit 1
# A key that only its certificate lets in; the kit makes bad certificates with the same authority.
ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/ca"
ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/certified"
ssh-keygen -q -s "$HOME/.ssh/ca" -I kit -n me -V +1h "$HOME/.ssh/certified.pub"
alknet peer add me --key "cert-authority $(cat "$HOME/.ssh/ca.pub")" --role owner >/dev/null || exit 1

# The kit prints its own PASS and FAIL lines; its name for the way stands in the last one.
kit() {
    local line
    while IFS= read -r line; do
        case $line in
            "PASS "*) PASSED=$((PASSED + 1)); line="PASS $1: ${line#PASS }" ;;
            "FAIL "*) FAILED=$((FAILED + 1)); line="FAIL $1: ${line#FAIL }" ;;
        esac
        echo "$line"
    done < <("$PYTHON" "$KIT/ssh_openssh.py" 127.0.0.1 "$PORT" me "$KEY" --no-sftp \
        --certkey "$HOME/.ssh/certified" "${@:2}" 2>&1)
}
kit bare
kit tls --alpn alknet/ssh --via tls
kit quic --alpn alknet/ssh --via quic

# Our own client in front of the stock one.
head -c 33554432 /dev/urandom >"$WORLD/blob"
through() {
    ssh -F none -i "$KEY" -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR \
        -o UserKnownHostsFile="$WORLD/known_hosts" -o HostKeyAlias=node \
        -o ProxyCommand="'$ALKNET_BIN' connect --carrier $1 node alknet/ssh" me@node "${@:2}"
}
echoed() { through "$1" cat <"$WORLD/blob" | cmp - "$WORLD/blob"; }
swallowed() { prints "$(sha256sum <"$WORLD/blob" | cut -c1-64)" through "$1" sha256sum <"$WORLD/blob"; }
for carrier in tcp quic; do
    check "connect $carrier: exec" prints hello through "$carrier" 'echo hello'
    check "connect $carrier: exit status" ends 7 through "$carrier" 'exit 7'
    check "connect $carrier: 32 MiB up" swallowed "$carrier"
    check "connect $carrier: 32 MiB both ways at once" echoed "$carrier"
    check "connect $carrier: terminal" prints /dev/pts through "$carrier" -tt tty
done

check "the node stops cleanly" prints stopped alknet stop
total
