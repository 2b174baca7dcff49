# A scheduler and the daemons that join it, for benches with more than one host.
# shellcheck shell=bash disable=SC2154

start_scheduler() { # NODE HOSTS: tokens for that many hosts and for one seed
    scheduler=$1
    cat >"$dir/scheduler.toml" <<TOML
version = 1
[scheduler]
listen = "0.0.0.0:7480"
status = "off"
ca_dir = "$dir/ca"
[log]
level = "${LOG:-info}"
TOML
    start_on "$scheduler" "$dir/scheduler.log" "$PANTALA" scheduler --config "$dir/scheduler.toml"
    until_true 20 "a listening scheduler" listens "$scheduler" 7480
    "$PANTALA" token create --config "$dir/scheduler.toml" --uses "$2" >"$dir/token" 2>>"$dir/scheduler.log"
    "$PANTALA" token create --config "$dir/scheduler.toml" --role seed >"$dir/seed-token" 2>>"$dir/scheduler.log"
    chmod 600 "$dir/token" "$dir/seed-token"
}

listens() { on "$1" ss -ltnH "sport = :$2" | grep -q .; } # NODE PORT

start_member() { # NODE [seed]: its process id is then in $!
    local node=$1 token=$dir/token seed=false
    [ "${2:-}" != seed ] || token=$dir/seed-token seed=true
    write_config "d$node" "seed = $seed" \
        '[control]' "schedulers = [\"10.88.1.$scheduler:7480\"]" "join_token_file = \"$token\""
    start_on "$node" "$dir/d$node.log" "$PANTALA" daemon --config "$dir/d$node.toml"
}

until_joined() { # NODE...
    local node
    for node in "$@"; do
        until_true 60 "the daemon of node $node being ready" ready "$node"
        until_true 60 "the joining of node $node" joined "$node"
    done
}

joined() { find "$dir/d$1" -name host.crt | grep -q .; } # NODE: it has its certificate
