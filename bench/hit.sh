#!/usr/bin/env bash
# What content that this host holds costs its consumers: the mirror against nginx with sendfile, in turn.
if [ "${1:-}" = --help ]; then
    cat <<'USAGE'
Usage: bench/hit.sh     results in target/bench/hit.json; what they mean is in docs/BENCHMARKS.md

Environment: ROUNDS=5  SIZE=256MiB  SMALL=1MiB  CONNECTIONS=4  SECONDS_EACH=4
             PANTALA=target/release/pantala  KEEP=0  LOG=info
Needs root, tests/install.sh base nginx net.
USAGE
    exit
fi
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib/common.sh"

rounds=${ROUNDS:-5} size=$(bytes "${SIZE:-256MiB}") small=$(bytes "${SMALL:-1MiB}")
connections=${CONNECTIONS:-4} each=${SECONDS_EACH:-4}
MIRROR=127.0.0.1:7472

blob() { # BYTES: a new blob at the origin; its digest is in $digest
    random_file blob "$1"
    digest=$(sha256sum "$dir/www/blob" | cut -d' ' -f1)
    mkdir -p "$dir/www/v2/bench/blobs"
    mv "$dir/www/blob" "$dir/www/v2/bench/blobs/sha256:$digest"
}

# URLs of a blob: of the mirror, and of nginx beside it.
by_mirror() { echo "http://$MIRROR/v2/bench/blobs/sha256:$1?ns=10.88.0.2:8080"; }
by_nginx() { echo "http://127.0.0.1:8081/v2/bench/blobs/sha256:$1"; }

warm() { # DIGEST: it is in the daemon's store, and both files are in memory
    local url
    for url in "$(by_mirror "$1")" "$(by_nginx "$1")"; do
        [ "$(on 1 curl -sf --noproxy '*' "$url" | sha256sum | cut -d' ' -f1)" = "$1" ] || die "other bytes from $url"
    done
}

load() { # FILE ARGUMENTS: what load.py says goes there
    local file=$1
    shift
    on 1 "$lib/load.py" "$@" >"$file"
    [ "$(jq .failed "$file")" = 0 ] || die "requests failed: $(jq -c .errors "$file")"
}

per_second() { jq '.bytes / .seconds / 1e6' "$1"; } # FILE: MB/s

chmod 711 "$dir"
make_network --nodes 1
start_origin
serve 1 nginx.sh "$dir/beside" --root "$dir/www" --listen 127.0.0.1 --port 8081
write_config d1
start_on 1 "$dir/d1.log" "$PANTALA" daemon --config "$dir/d1.toml"
daemon=$!
until_true 30 "the daemon being ready" ready 1
blob "$size" && large_digest=$digest
blob "$small" && small_digest=$digest
warm "$large_digest" && warm "$small_digest"
sync -f "$dir"
"$lab/nginx.sh" stats --dir "$web" --reset >/dev/null
before=$(busy_before)

for round in $(seq "$rounds"); do
    order=(mirror nginx)
    [ $((round % 2)) = 1 ] || order=(nginx mirror)
    for who in "${order[@]}"; do
        cpu=$(cpu_seconds "$daemon")
        load "$dir/large-$who" flood "$("by_$who" "$large_digest")" "$connections" "$each"
        [ "$who" = nginx ] || calc "($(cpu_seconds "$daemon") - $cpu) / ($(jq .bytes "$dir/large-$who") / 1e9)" >>"$dir/cpu"
        load "$dir/small-$who" flood "$("by_$who" "$small_digest")" "$connections" "$each"
        per_second "$dir/large-$who" >>"$dir/speeds-$who"
        jq '.requests / .seconds' "$dir/small-$who" >>"$dir/rates-$who"
    done
    # Half of what the slower of the two can do, for both.
    rate=$(jq -s 'map(.requests / .seconds) | min / 2' "$dir/small-mirror" "$dir/small-nginx")
    for who in "${order[@]}"; do
        load "$dir/half-$who" paced "$("by_$who" "$small_digest")" 16 "$each" "$rate"
        jq .first_byte_p99_ms "$dir/half-$who" >>"$dir/firsts-$who"
        jq .first_byte_p50_ms "$dir/half-$who" >>"$dir/halves-$who"
    done
    calc "$(per_second "$dir/large-mirror") / $(per_second "$dir/large-nginx")" >>"$dir/ratios"
    calc "$(jq .first_byte_p99_ms "$dir/half-mirror") / $(jq .first_byte_p99_ms "$dir/half-nginx")" >>"$dir/first-ratios"
    say "round $round: mirror $(per_second "$dir/large-mirror") MB/s, nginx $(per_second "$dir/large-nginx") MB/s;" \
        "first byte at $rate/s: p99 $(jq .first_byte_p99_ms "$dir/half-mirror") ms, nginx $(jq .first_byte_p99_ms "$dir/half-nginx") ms"
done

asked=$(wc -l <"$web/access.log")
result rounds "$rounds" file_bytes "$size" small_bytes "$small" connections "$connections" \
    hit_throughput_over_nginx "$(median <"$dir/ratios")" \
    first_byte_p99_ms "$(median <"$dir/firsts-mirror")" \
    first_byte_p99_over_nginx "$(median <"$dir/first-ratios")" \
    first_byte_p50_ms "$(median <"$dir/halves-mirror")" \
    mirror_mb_s "$(median <"$dir/speeds-mirror")" nginx_mb_s "$(median <"$dir/speeds-nginx")" \
    small_per_second "$(median <"$dir/rates-mirror")" small_nginx_per_second "$(median <"$dir/rates-nginx")" \
    daemon_cpu_s_per_gb "$(median <"$dir/cpu")" \
    origin_requests "$asked" cpu_busy_before "$before"
