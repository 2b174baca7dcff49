#!/usr/bin/python3
"""A yardstick: the same content to the same hosts by BitTorrent (libtorrent), one process on each node.

There is no tracker, DHT or local discovery: every peer is told of all others at the common start. The seed has the
content before that start, and peers keep on uploading until the last of them has everything.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time

import libtorrent

PORT = 6881
PIECE_BYTES = 256 * 1024
SETTINGS = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "connection_speed": 200,
    "user_agent": "bench",
}


def address(node):
    """The address of a numbered node of tests/lab/swarm-net.sh, of which there are fewer than 250."""
    return f"10.88.1.{node}"


def make_torrent(content, path):
    files = libtorrent.file_storage()
    libtorrent.add_files(files, content)
    torrent = libtorrent.create_torrent(files, PIECE_BYTES)
    libtorrent.set_piece_hashes(torrent, os.path.dirname(content))
    with open(path, "wb") as out:
        out.write(libtorrent.bencode(torrent.generate()))


def peer(options):
    """One peer: `ready` when it is up, starts at a line on standard input, prints when it has all, ends at its end."""
    own = address(options.node)
    session = libtorrent.session({**SETTINGS, "listen_interfaces": f"{own}:{PORT}"})
    params = libtorrent.add_torrent_params()
    params.ti = libtorrent.torrent_info(options.torrent)
    params.save_path = options.folder
    params.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    if options.seed:
        params.flags |= libtorrent.torrent_flags.seed_mode
    handle = session.add_torrent(params)
    while handle.status().state == libtorrent.torrent_status.checking_files:
        time.sleep(0.05)
    print("ready", flush=True)
    sys.stdin.readline()
    for node in range(1, options.hosts + 2):
        if node != options.node:
            handle.connect_peer((address(node), PORT))
    while not handle.status().is_seeding:
        time.sleep(0.01)
    print(time.monotonic(), flush=True)
    sys.stdin.read()


def processor_ticks():
    with open("/proc/stat", encoding="ascii") as stat:
        ticks = [int(field) for field in stat.readline().split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4]


def start_peer(options, node, torrent):
    folder = os.path.join(options.folder, str(node))
    os.makedirs(folder)
    command = ["nsenter", f"--net=/run/netns/{options.namespaces}{node}", "--", sys.executable, __file__, "peer"]
    command += ["--node", str(node), "--hosts", str(options.hosts), "--torrent", torrent, "--folder", folder]
    if node == options.hosts + 1:
        shutil.copy(options.content, folder)
        command.append("--seed")
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def swarm(options):
    os.makedirs(options.folder)
    torrent = os.path.join(options.folder, "content.torrent")
    make_torrent(options.content, torrent)
    peers = [start_peer(options, node, torrent) for node in range(1, options.hosts + 2)]
    end = threading.Timer(options.timeout, lambda: [process.kill() for process in peers])
    end.start()
    for process in peers:
        process.stdout.readline()
    total, idle = processor_ticks()
    start = time.monotonic()
    for process in peers:
        process.stdin.write("go\n")
        process.stdin.flush()
    times = [process.stdout.readline() for process in peers[: options.hosts]]
    total_after, idle_after = processor_ticks()
    for process in peers:
        process.stdin.close()
    for process in peers:
        process.wait()
    end.cancel()
    seconds = [round(float(text) - start, 3) for text in times if text.strip()]
    busy = round(1 - (idle_after - idle) / max(1, total_after - total), 3)
    print(json.dumps({"seconds": seconds, "failed": options.hosts - len(seconds), "cpu_busy": busy}))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("peer", help="one peer (started by swarm)")
    one.add_argument("--node", type=int, required=True)
    one.add_argument("--torrent", required=True)
    one.add_argument("--seed", action="store_true")
    every = commands.add_parser("swarm", help="one seed and HOSTS peers, each in its network namespace")
    every.add_argument("--namespaces", required=True, metavar="PREFIX")
    every.add_argument("--content", required=True)
    every.add_argument("--timeout", type=float, default=240)
    for command in (one, every):
        command.add_argument("--hosts", type=int, required=True)
        command.add_argument("--folder", required=True)
    options = parser.parse_args()
    {"peer": peer, "swarm": swarm}[options.command](options)


if __name__ == "__main__":
    main()
