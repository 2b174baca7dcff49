#!/usr/bin/env bash
# needs: base nginx
# Who belongs: hosts wait for their scheduler, renew, are thrown out, expire, and are never taken for another cluster's.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

trap swarm_finish EXIT
trap 'exit 130' INT TERM

# ---- pieces -----------------------------------------------------------------
ca=() # which authority
host() { "$PANTALA" host "$@" "${ca[@]}"; }
host_id() { # NODE: the first name in its certificate
    openssl x509 -in "$work/$1/data/identity/host.crt" -noout -ext subjectAltName | sed -nE 's/.*DNS:([a-z2-7]{52})\..*/\1/p'
}
says() { # NAME TEXT: in its log
    grep -q -- "$2" "$work/$1/log" || { echo "no \"$2\""; return 1; }
}
says_times() { # NAME COUNT TEXT
    [ "$(grep -c -- "$3" "$work/$1/log")" -ge "$2" ]
}
waits() { # NODE: its status page is up, and says what is missing
    local told
    told=$(curl -s -m 2 "http://127.0.0.1:$(port "$1" 1)/readyz") && [[ $told == *"no scheduler lets this host join yet"* ]]
}
standing() { host list --scheduler "$scheduler" --json | jq -r --arg host "$1" '.[] | select(.host == $host).standing'; }
stands() { [ "$(standing "$1")" = "$2" ] || { echo "it is $(standing "$1")"; return 1; }; }
fetch() { get "$1" "$url/$2" "$work/$1/$2"; }
linked() { # NODE COUNT
    [ "$(metric "$1" pantala_connections)" -ge "$2" ]
}
# What a server says to a handshake with these papers; the last line is the alert, if there was one.
shake() { # ADDRESS PROTOCOL FOLDER
    echo | timeout 5 openssl s_client -connect "$1" -alpn "$2" -tls1_3 -cert "$3/host.crt" -key "$3/host.key" -quiet 2>&1 || true
}
alerts() { # ADDRESS PROTOCOL FOLDER WORDS: an alert may be lost with the connection that it ends, so it is asked for again
    local told
    for _ in $(seq 10); do
        told=$(shake "$1" "$2" "$3")
        [[ $told == *"alert "* ]] && break
    done
    [[ $told == *"alert $4"* ]] || { echo "${told##*$'\n'}"; return 1; }
}
refuses_to_start() { # NODE WORDS [options]
    local node=$1 words=$2 told
    shift 2
    told=$(timeout 20 "$PANTALA" daemon --config "$work/$node/pantala.toml" "$@" 2>&1) && { echo "it ran"; return 1; }
    [[ $told == *"$words"* && $told == *"next: "* ]] || { echo "$told"; return 1; }
}
is_over() { # CERTIFICATE: its last second counts as valid
    local end
    end=$(openssl x509 -in "$1" -enddate -noout)
    [ "$(date -d "${end#*=}" +%s)" -lt $(($(date +%s) - 1)) ]
}
ended() { ! kill -0 "$(cat "$work/$1/pid")"; }

swarm_loopback
(umask 077 && mkdir -p "$work/scheduler")
ca=(--ca-dir "$work/scheduler/ca" --cluster "$cluster")
scheduler=127.0.0.1:$(port 1 5)
mkdir "$work/www"
head -c 3M /dev/urandom >"$work/www/one"
head -c 3M /dev/urandom >"$work/www/two"
serve origin nginx.sh --root "$work/www" --listen 127.0.0.1 --port "$(port 1 9)"
origins=("$url")

# ---- no order of starting ---------------------------------------------------
(umask 077 && token --role daemon >"$work/token-daemon" 2>/dev/null && token --role seed >"$work/token-seed" 2>/dev/null)
swarm_daemon 2 seed
verdict "a host whose scheduler is not there yet waits and says so" "$work/2/log" wait_for 20 waits 2
swarm_scheduler 1 --set scheduler.certificate_lifetime=12s
swarm_daemon 3 daemon
swarm_daemon 4 daemon
swarm_ready 2 3 4
ok "and joins when it comes"
two=$(host_id 2) three=$(host_id 3) four=$(host_id 4)

# ---- revocation -------------------------------------------------------------
for host in "$two" "$three" "$four"; do wait_for 10 stands "$host" connected >/dev/null || true; done
verdict "the list of hosts names them" "" stands "$four" connected
for node in 2 3 4; do fetch $node one >"$work/$node/fetch" 2>&1; done
verdict "the hosts are linked" "$work/2/log" wait_for 10 linked 2 2
verdict "a host is thrown out" "" host revoke "$four"
verdict "the running scheduler cuts it off at once" "$work/scheduler/log" wait_for 10 stands "$four" revoked
verdict "the scheduler tells the other hosts" "$work/2/log" wait_for 10 test -s "$work/2/data/identity/revocations"
verdict "its live link to another host ends" "$work/2/log" wait_for 10 says_times 2 1 "a connected host was revoked"
verdict "the scheduler refuses it" "$work/4/log" wait_for 20 says 4 "the scheduler is away"
before=$(metric 4 pantala_body_bytes peer)
fetch 4 two >"$work/4/fetch" 2>&1 || true
verdict "it gets nothing from any host any more" "$work/4/log" test "$(metric 4 pantala_body_bytes peer)" = "$before"
swarm_kill 3 TERM
swarm_daemon 3 daemon
swarm_ready 3
verdict "a restart forgets nobody" "$work/3/log" test -s "$work/3/data/identity/revocations"
verdict "the others go on" "$work/3/log" fetch 3 two
verdict "twice is no error" "" host revoke "$four"

# ---- renewal and expiry -----------------------------------------------------
verdict "certificates are renewed again and again" "$work/2/log" wait_for 40 says_times 2 3 "the certificate is renewed"
verdict "over one connection" "$work/2/log" test "$(grep -c "the scheduler is away" "$work/2/log")" = 0
swarm_kill 3 TERM
papers=$work/3/data/identity
verdict "a certificate ends" "" wait_for 20 is_over "$papers/host.crt"
verdict "the scheduler refuses it, and why" "" alerts "$scheduler" pantala-control/1 "$papers" "certificate expired"
verdict "a host refuses it, and why" "" alerts "127.0.0.1:$(port 2 0)" pantala-peer/1 "$papers" "certificate expired"
sed -i.kept '/^join_token_file/d' "$work/3/pantala.toml"
verdict "without a token its host says what to do" "" refuses_to_start 3 "certificate expired"
mv "$work/3/pantala.toml.kept" "$work/3/pantala.toml"
launch 3 3 "$PANTALA" daemon --config "$work/3/pantala.toml"
swarm_ready 3
verdict "with a token it joins again under its key" "$work/3/log" test "$(host_id 3)" = "$three"

# ---- another cluster of the same name ---------------------------------------
(umask 077 && mkdir -p "$work/forged" "$work/5")
cat >"$work/forged/pantala.toml" <<TOML
[scheduler]
listen = "127.0.0.1:$(port 5 5)"
status = "127.0.0.1:$(port 5 6)"
ca_dir = "$work/forged/ca"
cluster = "$cluster"
TOML
launch forged 1 "$PANTALA" scheduler --config "$work/forged/pantala.toml"
wait_for 20 curl -fsS -m 2 "http://127.0.0.1:$(port 5 6)/readyz"
verdict "a true token is not shown to a false scheduler" "" \
    env PANTALA_CONTROL_SCHEDULERS="127.0.0.1:$(port 5 5)" bash -c '
        "$0" daemon --config /dev/null --data-dir "$1/5/stray" --socket "$1/5/stray.sock" --listen 127.0.0.1:0 \
            --join-token-file "$1/token-daemon" --set mirror.listen=off --set status.listen=off >"$1/5/stray.log" 2>&1 && exit 1
        grep -q "not signed by the authority of this cluster" "$1/5/stray.log"' "$PANTALA" "$work"
(umask 077 && "$PANTALA" token create --ca-dir "$work/forged/ca" --cluster "$cluster" >"$work/token-forged" 2>/dev/null)
daemon_config 5 daemon | sed "s/:$(port 1 5)\"/:$(port 5 5)\"/; s/token-daemon/token-forged/" >"$work/5/pantala.toml"
launch 5 5 "$PANTALA" daemon --config "$work/5/pantala.toml"
swarm_ready 5
papers=$work/5/data/identity
# Both authorities have the same name: it is the signature that does not fit.
verdict "the scheduler refuses a false host" "" alerts "$scheduler" pantala-control/1 "$papers" "decrypt error"
verdict "a host refuses a false host" "" alerts "127.0.0.1:$(port 2 0)" pantala-peer/1 "$papers" "decrypt error"
swarm_kill 2 TERM
sed "s/:$(port 1 5)\"/:$(port 5 5)\"/" "$work/2/pantala.toml" >"$work/2/astray.toml"
launch 2 2 "$PANTALA" daemon --config "$work/2/astray.toml"
verdict "a host refuses a false scheduler" "$work/2/log" wait_for 20 says 2 "not signed by the authority of this cluster"
swarm_kill 2 TERM
verdict "and its identity stays" "" test "$(host_id 2)" = "$two"

# ---- the data folder --------------------------------------------------------
ln -s "$work/2/data" "$work/2/link"
verdict "a data folder behind a link is refused" "" refuses_to_start 2 "is a link or no folder" --data-dir "$work/2/link"
chmod 777 "$work/2/data"
verdict "a data folder open to others is refused" "" refuses_to_start 2 "others may write into it"
