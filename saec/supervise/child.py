"""Runs one module as a child: `python -m saec.supervise.child MODULE`.

Invariant: it ends when its stdin does, which also a killed parent causes, on every system: first
as SIGTERM would end it, and after a bound at once.
"""

import os
import runpy
import signal
import sys
import threading

STDIN = 0
GRACE_S = 15.0

_MAIN_ENDED = threading.Event()


def _end_with_stdin() -> None:
    """Runs in a thread. Reads the descriptor itself: nothing to flush at exit."""
    while os.read(STDIN, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    if not _MAIN_ENDED.wait(GRACE_S):
        os._exit(1)


def main() -> None:
    """Run the module that is named on the command line as the main one."""
    module = sys.argv.pop(1)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        _MAIN_ENDED.set()


if __name__ == "__main__":
    main()
