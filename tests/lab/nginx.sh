#!/usr/bin/env bash
# Starts and stops a private web server (nginx) for tests: a plain HTTP origin.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: nginx.sh start --root DIR [options]   serve the files of DIR, print settings as KEY=VALUE
       nginx.sh stop   --dir DIR             stop it and remove its own DIR (--keep leaves it)
       nginx.sh status --dir DIR             exit 0 if it answers
       nginx.sh stats  --dir DIR             requests and body bytes sent so far
                                             (--paths: for each path, --reset: from now on)

Options of start
  --root DIR          the files to serve
  --dir DIR           folder for configuration, logs, pid (default: mktemp -d)
  --listen ADDR       address to listen on (default 127.0.0.1)
  --port PORT         port (default: a free one)
  --rate BYTES        at most so many bytes a second on each connection; K, M, G allowed
  --no-ranges         take no notice of Range: every answer is 200 with the whole file
  --no-etag           send no ETag (Last-Modified stays)
  --auth USER:PASS    basic authentication (needs htpasswd, package apache2-utils)

start prints dir=, addr= and url=.
  eval "$(nginx.sh start --root /srv/files)"; curl "$url/file"
A request is counted when it is over, also when the client left early.
Everything it starts is ended by stop, by process id.  Root is not needed.
USAGE
}

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/process.sh"
answers() { curl -so /dev/null --max-time 5 --noproxy '*' "$1/.status"; }

write_config() {
    local user=""
    # Workers of a root nginx would else be www-data, which may not enter a private folder.
    [ "$(id -u)" != 0 ] || user="user root;"
    cat <<CONF
$user
worker_processes 1;
daemon off;
pid $dir/pid.nginx;
error_log $dir/error.log;
events { worker_connections 4096; }
http {
    log_format counted '\$request_method \$uri \$status \$body_bytes_sent "\$http_range"';
    access_log $dir/access.log counted;
    client_body_temp_path $dir/tmp; proxy_temp_path $dir/tmp; fastcgi_temp_path $dir/tmp;
    uwsgi_temp_path $dir/tmp; scgi_temp_path $dir/tmp;
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    $directives
    server {
        listen $(host_port "$listen" "$port");
        root $root;
        location = /.status { auth_basic off; access_log off; return 204; }
    }
}
CONF
}

start() {
    dir="" root="" listen=127.0.0.1 port="" directives=""
    local auth=""
    while [ $# -gt 0 ]; do
        case $1 in
        --root) root=$2 && shift 2 ;;
        --dir) dir=$2 && shift 2 ;;
        --listen) listen=$2 && shift 2 ;;
        --port) port=$2 && shift 2 ;;
        --rate)
            [[ $2 =~ ^[0-9]+[KkMmGg]?$ ]] || die "not a number: $2"
            directives+=" limit_rate $2;" && shift 2
            ;;
        --no-ranges) directives+=" max_ranges 0;" && shift ;;
        --no-etag) directives+=" etag off;" && shift ;;
        --auth) auth=$2 && shift 2 ;;
        *) die "unknown option $1 (see --help)" ;;
        esac
    done
    [ -d "$root" ] || die "--root DIR is needed"
    PATH=$PATH:/usr/sbin
    need nginx nginx-light
    need curl curl
    need python3 python3
    root=$(realpath "$root")
    # A port in use would look like a good start: the other server answers.
    local wanted=$port
    # shellcheck disable=SC2086
    port=$(free_port "$listen" $wanted 2>/dev/null) || die "cannot listen on $(host_port "$listen" "${wanted:-any port}")"
    [ -n "$dir" ] || dir=$(mktemp -d -t nginx.XXXXXX)
    mkdir -p "$dir/tmp"
    dir=$(realpath "$dir")
    if alive "$dir/pid"; then die "already running in $dir"; fi
    if [ -n "$auth" ]; then
        need htpasswd apache2-utils
        htpasswd -bn "${auth%%:*}" "${auth#*:}" >"$dir/htpasswd"
        directives+=" auth_basic lab; auth_basic_user_file $dir/htpasswd;"
    fi
    write_config >"$dir/nginx.conf"
    : >"$dir/access.log"
    setsid nginx -e "$dir/error.log" -c "$dir/nginx.conf" >>"$dir/start.log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    trap 'end_pid "$dir/pid"' EXIT
    local reach=$listen
    case $listen in 0.0.0.0) reach=127.0.0.1 ;; ::) reach=::1 ;; esac
    local url
    url=http://$(host_port "$reach" "$port")
    echo "$url" >"$dir/url"
    for _ in $(seq 100); do
        alive "$dir/pid" || { tail -n 5 "$dir/start.log" "$dir/error.log" >&2; die "nginx ended, see $dir/error.log"; }
        if answers "$url"; then
            trap - EXIT
            printf 'dir=%s\naddr=%s\nurl=%s\n' "$dir" "$(host_port "$reach" "$port")" "$url"
            return 0
        fi
        sleep 0.1
    done
    die "no answer from $url, see $dir/error.log"
}

stats() { # PATHS(0|1)
    awk -v paths="$1" '{
            key = paths ? $1 " " $2 " " $3 : $1 " " $3
            n[key]++; b[key] += $4
        }
        END { for (k in n) printf "%s requests=%d bytes=%d\n", k, n[k], b[k] }' "$dir/access.log" | sort
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
start) start "$@" ;;
stop | status | stats)
    dir="" keep=0 reset=0 paths=0
    while [ $# -gt 0 ]; do
        case $1 in
        --dir) dir=$2 && shift 2 ;;
        --keep) keep=1 && shift ;;
        --reset) reset=1 && shift ;;
        --paths) paths=1 && shift ;;
        *) die "unknown option $1 (see --help)" ;;
        esac
    done
    [ -n "$dir" ] || die "--dir is needed"
    [ -f "$dir/nginx.conf" ] || die "$dir is no nginx folder"
    case $command in
    stop)
        end_pid "$dir/pid"
        [ $keep = 1 ] || rm -rf -- "$dir"
        ;;
    status) alive "$dir/pid" && answers "$(cat "$dir/url")" ;;
    stats)
        stats $paths
        [ $reset = 0 ] || : >"$dir/access.log"
        ;;
    esac
    ;;
-h | --help | help) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
