#!/usr/bin/env python3
"""Follows the memory of a process until it is told to end (SIGTERM) or the process has ended.

    rss.py PID

Prints {"peak_mib": ..., "anon_mib": ..., "file_mib": ..., "samples": N}: the highest VmRSS seen, and what of it was
the process' own and what mapped files (its program among them). Page cache that is not mapped is not counted.
"""

import json
import signal
import sys
import threading

INTERVAL_S = 0.05


def memory(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        fields = dict(line.split(":", 1) for line in status)
    return {name: int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon", "RssFile", "RssShmem")}


def main():
    pid = int(sys.argv[1])
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    peak, samples = {"VmRSS": 0, "RssAnon": 0, "RssFile": 0, "RssShmem": 0}, 0
    while not over.is_set():
        try:
            peak = max(peak, memory(pid), key=lambda sample: sample["VmRSS"])
        except (FileNotFoundError, ProcessLookupError, KeyError):
            break
        samples += 1
        over.wait(INTERVAL_S)
    json.dump(
        {
            "peak_mib": round(peak["VmRSS"], 1),
            "anon_mib": round(peak["RssAnon"] + peak["RssShmem"], 1),
            "file_mib": round(peak["RssFile"], 1),
            "samples": samples,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
