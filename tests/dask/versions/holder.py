"""A client that holds data and knows what became of it, in whatever version of Dask it runs with.

Runs as `python holder.py SCHEDULER FOLDER`. Each line of its input is a command, each line of its output the answer,
all of them JSON. Tasks write a file in the folder each time they run.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import distributed

COUNT = 20
SCHEDULER, FOLDER = sys.argv[1:]


def square(number: int, folder: str) -> int:
    """A task that tells that it ran."""
    Path(folder, f"ran-{number}-{uuid.uuid4().hex}").touch()
    return number * number


def wait(folder: str) -> str:
    """A task that runs until it is released; gives the name of its worker."""
    Path(folder, f"began-{uuid.uuid4().hex}").touch()
    while not Path(folder, "released").exists():
        time.sleep(0.01)
    return str(distributed.get_worker().name)


class Holder:
    """What can be asked for: each method is a command."""

    def __init__(self) -> None:
        self.client = distributed.Client(SCHEDULER)
        self.scattered: dict[str, Any] = {}
        self.computed: list[Any] = []
        self.waiting: Any = None

    def hold(self) -> int:
        """Have workers hold scattered and computed results."""
        self.scattered = self.client.scatter({f"scattered-{i}": str(i) * 1000 for i in range(COUNT)})
        self.computed = self.client.map(square, range(COUNT), folder=FOLDER, pure=False)
        distributed.wait(self.computed)
        return 2 * COUNT

    def begin(self, worker: str) -> bool:
        """Have a task run on a worker, by its address, until `end`."""
        self.waiting = self.client.submit(wait, FOLDER, workers=[worker], allow_other_workers=True, pure=False)
        while not list(Path(FOLDER).glob("began-*")):
            time.sleep(0.01)
        return True

    def end(self) -> dict[str, Any]:
        """Let that task end; gives where it ran, and how often it began."""
        Path(FOLDER, "released").touch()
        return {"ran on": self.waiting.result(), "times": len(list(Path(FOLDER).glob("began-*")))}

    def lost(self) -> list[str]:
        """What is gone, wrong, or was computed again."""
        lost = [key for key, future in self.scattered.items() if future.status != "finished"]
        if lost:
            return lost
        values = self.client.gather(self.scattered)
        lost += [key for key, value in values.items() if value != key.split("-")[1] * 1000]
        for number, future in enumerate(self.computed):
            if future.result() != number * number or len(list(Path(FOLDER).glob(f"ran-{number}-*"))) != 1:
                lost.append(future.key)
        return lost


if __name__ == "__main__":
    holder = Holder()
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(getattr(holder, name)(*arguments)), flush=True)
