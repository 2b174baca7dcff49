#!/usr/bin/env bash
# Installs the Debian packages that tests with real peers need, and only what is missing.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: install.sh [GROUP...]     install the packages of these groups (default: all)
       install.sh --list         print each group and its packages
       install.sh --missing [GROUP...]
                                 print the packages that are not installed; exit 1 if there are any

Needs root and Debian 12 or newer; without root it says what it would install and exits 1.
Quiet, needs no answers, and does nothing where nothing is missing.  No service is
started by the installation, so no default port is taken.
USAGE
}

die() { echo "install.sh: $*" >&2; exit 1; }

groups=(base registry nginx containerd podman docker net peers image trace proxy)

packages_of() {
    case $1 in
    base) echo ca-certificates curl jq openssl procps python3 util-linux ;;
    registry) echo docker-registry apache2-utils curl openssl python3 skopeo ;;
    nginx) echo nginx-light curl ;;
    containerd) echo containerd runc ;;
    podman) echo podman skopeo ;;
    docker) echo docker.io ;;
    net) echo iproute2 iputils-ping iptables nftables gcc libc6-dev util-linux ;;
    peers) echo aria2 python3-libtorrent ;;
    trace) echo strace ;;
    proxy) echo tinyproxy git git-lfs dnf createrepo-c rpm ;;
    image) echo busybox-static python3 skopeo zstd ;;
    *) return 1 ;;
    esac
}

# Debian 13 has the program `nginx` in `nginx` alone; any package that brings the file will do.
installed() {
    case $1 in
    nginx-light) [ -x /usr/sbin/nginx ] ;;
    *) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    esac
}

missing_of() {
    local group package all=""
    for group in "$@"; do
        all+=" $(packages_of "$group")" || die "no group $group; there are: ${groups[*]}"
    done
    for package in $(tr ' ' '\n' <<<"$all" | sort -u); do
        installed "$package" || echo "$package"
    done
}

# Maintainer scripts ask /usr/sbin/policy-rc.d whether they may start a service: 101 means no.
policy=/usr/sbin/policy-rc.d
forbid_services() {
    [ ! -e $policy ] || return 0
    trap 'rm -f '$policy EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
}

quietly() {
    "$@" >"$log" 2>&1 </dev/null && return 0
    tail -n 20 "$log" >&2
    die "failed: $*"
}

install_packages() {
    local log
    log=$(mktemp)
    forbid_services
    export DEBIAN_FRONTEND=noninteractive
    quietly apt-get -qq update
    quietly apt-get -qq install --yes --no-install-recommends "$@"
    rm -f "$log"
    echo "install.sh: installed $*"
}

case ${1:-} in
-h | --help) usage && exit ;;
--list)
    for group in "${groups[@]}"; do echo "$group: $(packages_of "$group")"; done
    exit
    ;;
esac
only_list=0
if [ "${1:-}" = --missing ]; then only_list=1 && shift; fi
[ $# -gt 0 ] || set -- "${groups[@]}"
command -v apt-get >/dev/null || die "this is no Debian: install by hand what --list prints"
found=$(missing_of "$@")
mapfile -t missing < <(printf '%s' "$found")
if [ $only_list = 1 ]; then
    [ -z "$found" ] || { printf '%s\n' "${missing[@]}"; exit 1; }
    exit 0
fi
if [ -z "$found" ]; then
    echo "install.sh: nothing is missing"
elif [ "$(id -u)" != 0 ]; then
    die "not root, cannot install: ${missing[*]}"
else
    install_packages "${missing[@]}"
fi
