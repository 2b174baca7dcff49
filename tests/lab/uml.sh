#!/usr/bin/env bash
# Runs a script under another kernel (user-mode-linux) on this machine's files.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: uml.sh SCRIPT [ubdb=FILE ...]     run SCRIPT as root under a user-mode-linux kernel

That kernel has what a small or hardened one may lack: netem, fq, kernel TLS and
dm-flakey.  The root file system is this machine's, read-only; /tmp and /run are empty
and in memory; the one CPU is slow (fork takes about 30 ms).  The script's output is
printed, then a line `uml: script ended with N`; uml.sh ends with the same N.
ubdb=FILE makes FILE the block device /dev/ubdb.
Needs the packages user-mode-linux and kmod.  Debian 12's kernel does not start on
processors with more register state than it knows: "ptrace set fp regs failed".
USAGE
}

case ${1:-} in
-h | --help | help) usage && exit ;;
"") usage >&2 && exit 2 ;;
esac
command -v linux.uml >/dev/null || { echo "uml.sh: linux.uml not found: apt-get install user-mode-linux kmod" >&2; exit 1; }
script=$(realpath "$1")
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
init=$work/init
cat >"$init" <<INIT
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
mount -t proc p /proc
mount -t sysfs s /sys
mount -t tmpfs t /run
cp "$script" /run/script
mount -t tmpfs t /tmp
modules=/usr/lib/uml/modules/\$(uname -r)
load() { # NAME: that module after those it needs
    awk -F: -v m="/\$1.ko" 'index(\$1, m) {
        n = split(\$2, a, " "); for (i = n; i > 0; i--) print a[i]; print \$1 }' "\$modules/modules.dep" |
        while read -r file; do insmod "\$modules/\$file" 2>/dev/null; done
}
for name in sch_netem sch_fq sch_fq_codel sch_tbf sch_htb tls dm-flakey dm-delay dm-error veth bridge overlay tcp_bbr; do
    load \$name
done
ip link set lo up
cd /tmp
bash /run/script
echo "uml: script ended with \$?"
echo o >/proc/sysrq-trigger
sleep 9
INIT
chmod 755 "$work" "$init"
linux.uml mem=2048M root=/dev/root rootfstype=hostfs rootflags=/ ro init="$init" \
    con=null con0=null,fd:1 quiet "$@" </dev/null 2>&1 |
    grep --line-buffered -vE 'SELinux|mmapper|ubd device 0|reboot:|sysrq:' | tee "$work/output" || true
code=$(tr -d '\r' <"$work/output" | sed -n 's/^uml: script ended with \([0-9]*\)$/\1/p' | tail -n 1)
[ -n "$code" ] || { echo "uml.sh: the script did not end" >&2; exit 1; }
exit "$code"
