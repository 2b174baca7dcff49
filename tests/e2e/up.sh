#!/usr/bin/env bash
# needs: base nginx net
# `pantala up` on one host and a second host that joins it over the network: each learns where the other stands.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

trap swarm_finish EXIT
trap 'exit 130' INT TERM

# up NODE: everything in one process, which listens everywhere and calls its own scheduler on loopback.
up() {
    (umask 077 && mkdir -p "$work/$1/data" "$work/scheduler")
    scheduler_node=$1
    {
        daemon_config "$1" seed | sed '/^\[control\]/,/^join_token_file/d; /^seed = /d'
        printf '[scheduler]\nlisten = "0.0.0.0:%s"\nca_dir = "%s"\ncluster = "%s"\n' "$(port "$1" 5)" "$work/scheduler/ca" "$cluster"
    } | sed "s|^listen = \"$(ip_of "$1"):|listen = \"0.0.0.0:|" >"$work/$1/pantala.toml"
    launch "$1" "$1" "$PANTALA" up --config "$work/$1/pantala.toml"
}
remembers() { grep -q "$2" "$work/$1/data/members.json"; }
forgets() { ! remembers "$@"; }
shows() { on 1 curl -fsS -m 2 "http://127.0.0.1:$(port 1 1)/metrics" | grep -q "^$1"; }

swarm_begin 2
swarm_origin
what=file
make_file $what 16
up 1
swarm_ready 1
(umask 077 && token --role daemon >"$work/token-daemon" 2>>"$work/1/log")
swarm_daemon 2 daemon
swarm_ready 2
verdict "a host that joins is told where the seed of up stands" "$work/2/log" wait_for 10 remembers 2 "$(ip_of 1):$(port 1 0)"
verdict "and nothing about its own loopback" "$work/2/data" forgets 2 127.0.0.1
verdict "one status page shows the daemon" "$work/1/log" shows pantala_connections
verdict "and the scheduler" "$work/1/log" shows 'pantala_scheduler_hosts 2'
verdict "the seed gets a file" "$work/1/fetch" fetch 1
reset
verdict "the other host gets it from there" "$work/2/fetch" fetch 2
verdict "the origin sent nothing more" "sent again" at_most "$(sent_bytes nginx.sh "$nginx")" 0
