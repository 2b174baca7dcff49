#!/usr/bin/env bash
# Runs all of Pantala in one process, in a folder of its own under the home of its user: nothing else on the machine is touched.
set -euo pipefail

case ${1:-} in
-h | --help)
    cat <<'USAGE'
Usage: up.sh [options of pantala up]

  PANTALA=FILE    the program (default: target/release/pantala, built here)
  UP_DIR=FOLDER   data, socket and authority (default: ~/.local/share/pantala-up); kept when it ends
USAGE
    exit
    ;;
esac

cd "$(dirname "$0")/.."
if [ -z "${PANTALA:-}" ]; then
    cargo build --release --package pantala
    PANTALA=${CARGO_TARGET_DIR:-target}/release/pantala
fi
dir=${UP_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/pantala-up}
(umask 077 && mkdir -p "$dir" "$dir/data")
cat <<HINT
  data, socket and authority: $dir
  a file:       $PANTALA get URL -o FILE --socket $dir/socket
  what it does: $PANTALA task --socket $dir/socket
  metrics:      curl http://127.0.0.1:7471/metrics
  the mirror:   http://127.0.0.1:7472
HINT
exec "$PANTALA" up --data-dir "$dir/data" --socket "$dir/socket" --listen 127.0.0.1:7470 \
    --set scheduler.listen=127.0.0.1:7480 --set "scheduler.ca_dir=$dir/ca" "$@"
