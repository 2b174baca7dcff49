#!/usr/bin/env python3
"""Runs one command on several nodes at once and measures each from the common start.

    together.py TIMEOUT < LINES      each line is a command as a JSON list

Prints {"seconds": [...], "failed": N, "cpu_busy": FRACTION, "errors": [...]}: the seconds until each command had
ended, in the order of the lines, and how busy the machine's processors were meanwhile (0 to 1).
"""

import json
import subprocess
import sys
import threading
import time


def processor_ticks():
    with open("/proc/stat", encoding="ascii") as stat:
        ticks = [int(field) for field in stat.readline().split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4]


def run(command, timeout, start, done, place):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        _, error = process.communicate()
    done[place] = (time.monotonic() - start, process.returncode, error.decode(errors="replace")[-300:])


def main():
    timeout = float(sys.argv[1])
    commands = [json.loads(line) for line in sys.stdin if line.strip()]
    done = [None] * len(commands)
    total, idle = processor_ticks()
    start = time.monotonic()
    threads = [
        threading.Thread(target=run, args=(command, timeout, start, done, place))
        for place, command in enumerate(commands)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total_after, idle_after = processor_ticks()
    errors = [error for _, code, error in done if code != 0]
    json.dump(
        {
            "seconds": [round(seconds, 3) for seconds, _, _ in done],
            "failed": len(errors),
            "cpu_busy": round(1 - (idle_after - idle) / max(1, total_after - total), 3),
            "errors": errors[:3],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
