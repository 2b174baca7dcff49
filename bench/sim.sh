#!/bin/bash
# Measures how near a swarm comes to the physical limit, in virtual time, with the brains that the daemon runs.
# Writes target/bench/sim.json; times are in units of the content over a link's rate. Takes some minutes on one core.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --release --package simulator --example bench_sim
metrics=$("$target/release/examples/bench_sim")

mkdir -p target/bench
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
cat >target/bench/sim.json <<EOF
{"bench":"sim","machine":{"cpu":"${cpu:-unknown}","cores":$(nproc),"kernel":"$(uname -sr)"},"metrics":$metrics}
EOF
cat target/bench/sim.json
