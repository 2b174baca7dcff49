#!/usr/bin/env bash
# needs: base net
# A file that no digest names: without a seed each host reads it from the origin and believes nobody else; a seed that comes
# later reads it for all; when that seed is gone each host reads on by itself.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

nodes=(2 3 4)
seed=5

trap swarm_finish EXIT
trap 'exit 130' INT TERM

fetch() { get "$1" "$url/$mode/$what" "$work/$1/$what"; }
same() { # NODE...
    local node
    for node in "$@"; do cmp "$work/$node/$what" "$work/www/$what" || return 1; done
}
sent() { curl -fsS "$url/.sent/$mode/$what"; }
between() { echo "$1, not $2 to $3"; [ "$1" -ge "$2" ] && [ "$1" -le "$3" ]; }
says() { grep -q -- "$1" "$2" || { echo "$2 does not say $1"; return 1; }; }
unleased() { [ "$(metric "$1" pantala_origin_unleased_bytes)" -ge "$2" ]; }
half_way() { [ "$(sent)" -ge $((16 * mib)) ]; }

swarm_loopback
mkdir "$work/www" "$work/fickle"
head -c $((48 * mib)) /dev/urandom >"$work/www/one"
for name in two three; do head -c $((32 * mib)) /dev/urandom >"$work/www/$name"; done
fickle_port=$((base + 9))
url=http://127.0.0.1:$fickle_port
launch fickle origin python3 "$lab/fickle.py" --root "$work/www" --port "$fickle_port"
wait_for 10 curl -fsS "$url/.sent/right/one"
# shellcheck disable=SC2034  # read by swarm.sh
origins=("$url")
swarm_scheduler 1
for node in "${nodes[@]}"; do swarm_daemon "$node" daemon; done
swarm_ready "${nodes[@]}"

# The origin lies to who comes first: with nobody to check it, that host alone is wrong.
mode=first-wrong what=one
verdict "the first host gets a file from an origin that lies to it" "$work/2/log" fetch 2
verdict "two more hosts get it" "$work/NODE/fetch.log" each fetch 3 4
verdict "they do not believe the first one: their files are right" "$work/NODE/one" same 3 4
verdict "each host has read all of it" "" between "$(sent)" $((3 * 48 * mib)) $((3 * 56 * mib))
verdict "that is counted" "$work/3/log" unleased 3 $((48 * mib))
verdict "get says why, and what to do" "$work/3/fetch.log" says "--digest" "$work/3/fetch.log"

swarm_daemon $seed seed
swarm_ready $seed
mode=right what=two
verdict "with a seed all get a file" "$work/NODE/fetch.log" each fetch "${nodes[@]}" $seed
verdict "with a seed the files are right" "$work/NODE/two" same "${nodes[@]}" $seed
verdict "with a seed the origin sent it about once" "" between "$(sent)" $((32 * mib)) $((34 * mib))
verdict "with a seed get has nothing to say" "" eval '! grep -q -- --digest "$work/3/fetch.log"'

# The seed dies in the middle: nobody waits for ever, nobody takes anything from who is no seed.
what=three
each fetch "${nodes[@]}" &
fetching=$!
verdict "a seed reads a file for all" "$work/$seed/log" wait_for 20 half_way
swarm_kill $seed
verdict "the seed is killed at half: all others finish" "$work/NODE/fetch.log" wait $fetching
verdict "the seed is killed at half: the files are right" "$work/NODE/three" same "${nodes[@]}"

swarm_kill scheduler
what=two
for node in "${nodes[@]}"; do rm -f "$work/$node/two"; done
mode=no-ranges
verdict "without scheduler and seed each host gets a file" "$work/NODE/fetch.log" each fetch "${nodes[@]}"
verdict "without scheduler and seed the files are right" "$work/NODE/two" same "${nodes[@]}"
