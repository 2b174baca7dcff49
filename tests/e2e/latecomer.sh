#!/usr/bin/env bash
# needs: base nginx net
# A host that asks for a file after another host of the cluster has all of it gets it from that host, also in a cluster
# without a seed, where the importer alone vouches for the pieces.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

trap swarm_finish EXIT

swarm_begin 3
swarm_origin
make_file file 40
what=file
swarm_scheduler 1
swarm_daemon 2 daemon
swarm_daemon 3 daemon
swarm_ready 2 3
verdict "the first host gets a file" "$work/2/log" fetch 2
verdict "a later host gets it" "$work/3/log" fetch 3
verdict "the later host leaves the origin alone" "$work/3/log" \
    at_most "$(metric 3 pantala_origin_body_bytes_total)" $((1 << 20))
