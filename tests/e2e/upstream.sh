#!/usr/bin/env bash
# needs: base net registry nginx image containerd proxy
# Hosts that reach the outside only through somebody else's proxy, which wants a password, and a registry whose certificate
# comes from a private authority: containerd pulls cold through the mirror, and what is wrong is told with a next step.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

trap swarm_finish EXIT
trap 'exit 130' INT TERM

says() { echo "$2 says no $1"; grep -q -- "$1" "$2"; }
fails() { ! "$@"; }
registry_sent() { sent_bytes registry.sh "$registry_dir"; }
proxy_config() {
    cat >"$work/tinyproxy/conf" <<CONF
Port 3128
Listen $origin_ip
Timeout 600
MaxClients 100
LogLevel Connect
BasicAuth lab canary4711
ConnectPort 5443
CONF
}
proxy_answers() { on origin bash -c "</dev/tcp/$origin_ip/3128"; }
# The nodes reach the proxy, and neither the registry nor the web server.
close_ways() {
    local node
    for node in 1 2 3; do
        on "$node" iptables -A OUTPUT -p tcp -d "$origin_ip" -m multiport --dports 5443,8080 -j REJECT --reject-with tcp-reset
    done
}
pull() { # NODE
    "$lab/containerd.sh" mirror --dir "$work/$1/containerd" --mirror "$registry=http://$(mirror_of "$1")" --server "$registry=http://127.0.0.1:9"
    on "$1" timeout 90 "$lab/containerd.sh" pull --dir "$work/$1/containerd" "$registry/test/app:v1"
}
# What a daemon of node 3 with these settings says of URL.
other() { # URL OPTION...
    local url=$1
    shift
    swarm_kill 3 TERM
    swarm_daemon 3 daemon "$@"
    swarm_ready 3
    get 3 "$url" "$work/3/other"
}

swarm_begin 3
mkdir -p "$work/www" "$work/tinyproxy"
head -c 6M /dev/urandom >"$work/www/file"
swarm_origin
serve origin registry.sh --listen "$origin_ip" --port 5443 --tls
registry=$addr registry_dir=$dir own_ca=$cafile
origins+=("$registry")
on origin "$lab/make-image.py" --compress none --layer-sizes 8M --push "$registry/test/app:v1" >"$work/push.log" 2>&1
proxy_config
launch tinyproxy origin tinyproxy -d -c "$work/tinyproxy/conf"
verdict "the proxy is there" "$work/tinyproxy/log" wait_for 10 proxy_answers
close_ways
verdict "without it a host reaches nothing" "it did" fails on 2 curl -s -m 5 -o /dev/null "$origin/file"
(umask 077 && echo 'lab:canary4711' >"$work/proxy-password" && echo 'lab:wrong' >"$work/wrong-password")
extra="proxy = \"http://$origin_ip:3128\"
proxy_credentials_file = \"$work/proxy-password\"
host_ca_files = [\"$registry=$own_ca\"]"
swarm_scheduler 1
swarm_daemon 1 seed
for node in 2 3; do swarm_daemon $node daemon; done
swarm_ready 1 2 3

for node in 2 3; do serve $node containerd.sh --dir "$work/$node/containerd" --no-cri; done
"$lab/registry.sh" stats --dir "$registry_dir" --reset >/dev/null
verdict "containerd pulls cold through the mirror and the proxy" "$work/2/log" pull 2
verdict "on a second host too" "$work/3/log" pull 3
verdict "the registry sent it once" "$work/1/log" at_most "$(registry_sent)" $((8 * mib + mib))
verdict "the proxy led there" "$work/tinyproxy/log" says "CONNECT $registry" "$work/tinyproxy/log"
what=file
verdict "a plain file comes through it" "$work/2/log" fetch 2
verdict "and is right" "$work/2/file" same 2
verdict "the proxy was asked for the whole URL" "$work/tinyproxy/log" says "GET $origin/file\|HEAD $origin/file" "$work/tinyproxy/log"
verdict "what is not listed is not asked for behind it" "$work/2/log" \
    ends_with 5 'origin.proxy, behind which' get 2 https://example.com/ "$work/2/none"
secret() { ! grep -rq 'canary4711\|bGFiOmNhbmFyeTQ3MTE' "$work"/[123]/log "$work"/[123]/pantala.toml; }
verdict "the password is in no log" "$work/2/log" secret
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /dev/null -out "$work/other-ca.pem" -subj /CN=other -days 2 2>/dev/null
index="https://$registry/v2/test/app/manifests/v1"
verdict "with another authority nothing is believed, and the file is named" "$work/3/log" \
    ends_with 1 "other-ca.pem" other "$index" --set "origin.host_ca_files=[\"$registry=$work/other-ca.pem\"]"
verdict "with none the keys are named" "$work/3/log" ends_with 1 'origin.ca_files' other "$index" --set 'origin.host_ca_files=[]'
verdict "with a wrong password the key is named" "$work/3/log" \
    ends_with 1 'origin.proxy_credentials_file' other "$index" --set "origin.proxy_credentials_file=$work/wrong-password"
doctor() { on 3 "$PANTALA" doctor --config "$work/3/pantala.toml" "$@" || true; }
doctor --set 'local.socket=/nowhere' --set "origin.host_ca_files=[\"$registry=/nowhere.pem\"]" >"$work/doctor" 2>&1
verdict "the doctor reads the files" "$work/doctor" says 'BAD *origins.*/nowhere.pem' "$work/doctor"
doctor --set 'local.socket=/nowhere' --set 'origin.proxy=http://127.0.0.1:9' >"$work/doctor" 2>&1
verdict "and tries the proxy" "$work/doctor" says 'BAD *upstream proxy' "$work/doctor"
