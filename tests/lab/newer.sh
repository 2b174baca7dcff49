#!/usr/bin/env bash
# Unpacks packages of another Debian suite into a folder, installing nothing.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: newer.sh SUITE DIR PACKAGE...     unpack the PACKAGEs of SUITE (trixie, sid, ...) into DIR

For clients newer than this machine's: their programs are then in DIR/usr/bin and
DIR/usr/sbin.  Nothing is installed and apt's own lists stay as they are.  Dependencies
are not followed: name each package.  Programs that need a newer glibc than this
machine's do not start (runc of Debian 13 on Debian 12, for one); Go programs do.

  newer.sh trixie /tmp/trixie containerd
  containerd.sh start --bin-dir /tmp/trixie/usr/bin --mirror 'HOST=URL'
USAGE
}

case ${1:-} in
-h | --help | help) usage && exit ;;
esac
[ $# -ge 3 ] || { usage >&2; exit 2; }
suite=$1 dir=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2

# The archive this machine uses already, which may be a mirror of its own.
url=$({ cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null || true; } |
    awk '/^URIs:/ || $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) { print $i; exit } }')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${url:-http://deb.debian.org/debian} $suite main" \
    >"$work/sources.list"
cat >"$work/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$work/lists";
Dir::Cache "$work/cache";
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "root";
CONF
export APT_CONFIG=$work/apt.conf
apt-get -qq update
cd "$work"
apt-get -qq download "$@"
for package in "$work"/*.deb; do
    dpkg -x "$package" "$dir"
    echo "unpacked $(basename "$package")"
done
