"""A slowdown that is known, for `fleet-sim bench ci --plant`: a thread that uses a share of what
the rest of its process uses.

`planted` copies this file's text into a `sitecustomize` module, which every Python process imports
as it starts: nothing but the standard library may be imported here.
"""

import os
import threading
import time
from pathlib import Path

STEP_S = 0.01


def planted(folder: Path, share: float) -> Path:
    """Folder to put on PYTHONPATH: each process that has it there is slower by `share`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = Path(__file__).read_text(encoding="utf-8")
    (folder / "sitecustomize.py").write_text(f"{text}\n\nbegin({share!r})\n", encoding="utf-8")
    return folder


def begin(share: float) -> None:
    """In this process, and in those that it forks."""
    threading.Thread(target=_burn, args=(share,), name="planted", daemon=True).start()
    os.register_at_fork(after_in_child=lambda: _again(share))


def _again(share: float) -> None:
    threading.Thread(target=_burn, args=(share,), name="planted", daemon=True).start()


def _burn(share: float) -> None:
    while True:
        while time.thread_time() < share * (time.process_time() - time.thread_time()):
            pass
        time.sleep(STEP_S)
