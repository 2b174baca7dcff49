#!/usr/bin/env python3
"""Runs a command and writes its seconds, and the processor seconds of it and its children, into a file.

    timed.py FILE COMMAND...
"""

import resource
import subprocess
import sys
import time


def main():
    start = time.monotonic()
    code = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, timeout=600, check=False).returncode
    seconds = time.monotonic() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(sys.argv[1], "w", encoding="ascii") as out:
        print(f"{seconds:.4f} {used.ru_utime + used.ru_stime:.4f}", file=out)
    return code


if __name__ == "__main__":
    sys.exit(main())
