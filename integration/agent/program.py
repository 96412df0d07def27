"""The agent: a Dask client that holds data and knows what became of it. Runs as a pod's main process.

It answers requests, one JSON object a line, on a port of the loopback device. A request is `{"id": …, "call": …,
"arguments": {…}}`, its answer `{"id": …, "result": …}` or `{"id": …, "error": …}`. A request that comes again under the
id of the one before, because the connection broke before the answer arrived, gets that one's answer: nothing is
carried out twice.

The data is real text: the sources of Python's standard library. Every image that has Python has them, so workers read
the very files from which this process computes the reference results, without Dask.

Runs as `python -c` in an image that has little more than `distributed`; what workers execute is pickled by value.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import json
import re
import socketserver
import sys
import sysconfig
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import dask.bag
import distributed

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

COUNTER = "run-counter"
STARTS = "starts"
"""The topic under which tasks tell the scheduler that they start."""

POLL_SECONDS = 0.1
GATHERED_AT_ONCE = 64  # keys
QUERIED_WORDS = 50
_WORD = re.compile(r"[A-Za-z_]\w*")


class RunCounter(distributed.SchedulerPlugin):  # type: ignore[misc]  # distributed publishes no types
    """Notices results that were computed again although they had been in memory before.

    It lives in the scheduler, which alone decides that a result is in memory: no worker that goes can take the count
    with it. A task that was interrupted, or whose result arrived nowhere, has not been in memory. A key that is
    forgotten (nobody wants it any more) starts a new life when it is computed next.
    """

    name = COUNTER

    def __init__(self) -> None:
        self.finished: set[Any] = set()
        self.again: set[Any] = set()

    def transition(self, key: Any, start: str, finish: str, *_: object, **__: object) -> None:
        """Called by the scheduler for each change of a task's state."""
        if finish == "forgotten":
            self.finished.discard(key)
        elif (start, finish) == ("processing", "memory"):
            if key in self.finished:
                self.again.add(key)
            self.finished.add(key)


def list_texts(limit: int | None = None) -> list[str]:
    """The paths of the standard library's sources, without its tests; where `limit` is given, so many across all."""
    root = Path(sysconfig.get_path("stdlib"))
    left_out = {"site-packages", "dist-packages", "test", "tests"}
    found = sorted(file for file in root.rglob("*.py") if not left_out & set(file.relative_to(root).parts))
    step = max(len(found) // limit, 1) if limit else 1
    return [str(file) for file in found[::step][:limit]]


def read(path: str) -> dict[str, str]:
    """One document."""
    return {"path": path, "text": Path(path).read_text(encoding="utf-8", errors="replace")}


def read_part(part: list[list[str]]) -> list[dict[str, str]]:
    """A partition of paths, which is one list of them, to a partition of documents."""
    return [read(path) for path in part[0]]


def count_words(documents: list[dict[str, str]]) -> list[dict[str, int]]:
    """A partition of documents to one of a single item: how often each word occurs."""
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(_WORD.findall(document["text"]))
    return [dict(counts)]


def count_word(documents: list[dict[str, str]], word: str, _round: int) -> list[int]:
    """How often one word occurs in a partition; the round makes each query's tasks new ones."""
    return [sum(_WORD.findall(document["text"]).count(word) for document in documents)]


def add_counts(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    """Two word counts together."""
    return dict(Counter(left) + Counter(right))


def read_and_count(path: str) -> list[dict[str, int]]:
    """How often each word occurs in one document."""
    return count_words([read(path)])


def read_and_count_slowly(path: str, seconds: float) -> list[dict[str, int]]:
    """As `read_and_count`, after so many seconds in which the worker can do nothing else."""
    time.sleep(seconds)
    return read_and_count(path)


def tell_and_count_slowly(path: str, seconds: float, key: str) -> list[dict[str, int]]:
    """As `read_and_count_slowly`, and tells the scheduler of the start, which no worker that goes can take with it."""
    worker = distributed.get_worker()
    worker.log_event(STARTS, {"key": key, "on": str(worker.name)})
    return read_and_count_slowly(path, seconds)


def checksum(value: Any) -> str:
    """A digest of plain values that two equal ones share."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def look_at_workers(dask_scheduler: Any) -> list[dict[str, Any]]:
    """Runs on the scheduler: its workers and what they hold."""
    return [
        {
            "name": str(worker.name),
            "address": worker.address,
            "status": worker.status.name,
            "keys": len(worker.has_what),
            "bytes": worker.nbytes,
        }
        for worker in sorted(dask_scheduler.workers.values(), key=lambda worker: str(worker.name))
    ]


def look_at_keys(dask_scheduler: Any, keys: list[Any]) -> tuple[dict[Any, list[str]], set[Any]]:
    """Runs on the scheduler: in which workers' memory each of the keys is, and all that ran again.

    Raises KeyError on another scheduler than the one that the client first connected to: all is gone with that one.
    """
    tasks = dask_scheduler.tasks
    holders = {key: [str(w.name) for w in tasks[key].who_has or ()] if key in tasks else [] for key in keys}
    return holders, dask_scheduler.plugins[COUNTER].again


class Corpus:
    """The standard library's sources as a persisted bag, and queries on it with their reference answers."""

    def __init__(self, client: Any, *, partitions: int, files: int | None) -> None:
        paths = list_texts(files)
        parts = [paths[start::partitions] for start in range(partitions)]
        bag = dask.bag.from_sequence(parts, partition_size=1).map_partitions(read_part)
        self._documents, self._counts = client.persist([bag, bag.map_partitions(count_words)])
        documents = [read_part([part]) for part in parts]
        counts = [count_words(part) for part in documents]
        self.expected = [checksum(value) for value in [*documents, *counts]]
        self.reference: Counter[str] = Counter()
        for part in counts:
            self.reference.update(part[0])
        self.size = {"files": len(paths), "characters": sum(len(d["text"]) for part in documents for d in part)}

    @property
    def futures(self) -> list[Any]:
        """The partitions, in the order of `expected`."""
        return [*distributed.futures_of(self._documents), *distributed.futures_of(self._counts)]

    def query(self, number: int) -> bool:
        """Count one word by Dask; gives whether the answer is right."""
        word, expected = self.reference.most_common(QUERIED_WORDS)[number % QUERIED_WORDS]
        return bool(self._documents.map_partitions(count_word, word, number).sum().compute() == expected)

    def total(self) -> bool:
        """Count all words by Dask, from the persisted counts; gives whether the answer is right."""
        return bool(self._counts.fold(add_counts, initial={}).compute() == self.reference)


class Background:
    """Queries on the corpus, one after the other, in a thread of their own."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._stop = threading.Event()
        self._answers: list[bool] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def progress(self) -> dict[str, int]:
        """How many answers there are, and how many of them are wrong."""
        if self._error is not None:
            raise self._error
        return {"answers": len(self._answers), "wrong": self._answers.count(False)}

    def stop(self) -> dict[str, int]:
        """Wait for the answer to the last query."""
        self._stop.set()
        self._thread.join()
        return self.progress()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._answers.append(self._corpus.query(len(self._answers)))
        except BaseException as error:  # noqa: BLE001 (whatever it is, whoever asks for the progress gets it)
            self._error = error


def wait(look: Callable[[], T], condition: Callable[[T], bool], what: str, timeout: float) -> T:
    """Look until what is there meets a condition, and give it; TimeoutError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition(found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not {what} after {timeout:g} s: {found}")
        time.sleep(POLL_SECONDS)
    return found


class Calls:
    """What the agent can be asked to do: each public method is a call, its arguments and result are JSON."""

    def __init__(self) -> None:
        self._connected: Any = None
        self._scattered: list[Any] = []
        self._computed: list[Any] = []
        self._begun = 0
        self._expected: dict[Any, str] = {}
        self._corpus: Corpus | None = None
        self._background: Background | None = None

    def connect(self, *, scheduler: str, timeout: float) -> dict[str, str]:
        """Connect to a scheduler and start to count; the timeout is in seconds."""
        client = distributed.Client(scheduler, timeout=timeout)
        client.register_plugin(RunCounter())
        self._connected = client
        return {"scheduler": client.scheduler.address, "python": sys.version.split()[0], "dask": dask.__version__}

    def workers(self) -> list[dict[str, Any]]:
        """All registered workers and what they hold."""
        found: list[dict[str, Any]] = self._client.run_on_scheduler(look_at_workers)
        return found

    def wait_for_workers(self, *, count: int, timeout: float) -> list[dict[str, Any]]:
        """Wait until exactly this many workers run and no other is registered."""
        what = f"{count} running workers"
        return wait(self.workers, lambda found: [w["status"] for w in found] == ["running"] * count, what, timeout)

    def hold(self, *, scattered: int, computed: int, timeout: float) -> dict[str, int]:
        """Hold more documents that were scattered, which nothing can bring back, and word counts that workers made."""
        texts = itertools.cycle(list_texts(max(scattered, computed)))
        start = len(self._scattered)
        documents = {f"scattered-{start + i}": read(path) for i, path in zip(range(scattered), texts, strict=False)}
        if documents:
            self._scattered += self._client.scatter(documents).values()
        self._expected |= {key: checksum(document) for key, document in documents.items()}
        start = len(self._computed)
        for i, path in zip(range(computed), texts, strict=False):
            future = self._client.submit(read_and_count, path, key=f"computed-{start + i}")
            self._computed.append(future)
            self._expected[future.key] = checksum(read_and_count(path))
        return self._wait(timeout)

    def work(self, *, tasks: int, seconds: float, timeout: float) -> dict[str, int]:
        """Hold more word counts, each of which takes a worker so many seconds, however many workers there are."""
        start = len(self._computed)
        for i, path in zip(range(start, start + tasks), itertools.cycle(list_texts(tasks)), strict=False):
            future = self._client.submit(read_and_count_slowly, path, seconds, key=f"slow-{i}")
            self._computed.append(future)
            self._expected[future.key] = checksum(read_and_count(path))
        return self._wait(timeout)

    def begin(self, *, workers: list[str], seconds: float, timeout: float) -> None:
        """Hold more word counts: one task on each of these workers (addresses), and return once all have started.

        Each takes its worker so many seconds; where that goes before, it runs elsewhere.
        """
        keys = []
        for address, path in zip(workers, itertools.cycle(list_texts(len(workers))), strict=False):
            self._begun += 1
            key = f"begun-{self._begun}"  # never the same again: starts are not forgotten
            where = {"workers": [address], "allow_other_workers": True}
            self._computed.append(self._client.submit(tell_and_count_slowly, path, seconds, key, key=key, **where))
            self._expected[key] = checksum(read_and_count(path))
            keys.append(key)
        wait(self.starts, lambda starts: starts.keys() >= {*keys}, f"the starts of {keys}", timeout)

    def starts(self) -> dict[str, list[str]]:
        """Where the tasks of `begin` that are held have started, in that order: the workers' names by key."""
        found: dict[str, list[str]] = {}
        for _, start in self._client.get_events(STARTS):
            if start["key"] in self._expected:
                found.setdefault(start["key"], []).append(start["on"])
        return found

    def finish(self, *, timeout: float) -> dict[str, int]:
        """Wait until everything that is computed is in memory."""
        return self._wait(timeout)

    def persist(self, *, partitions: int, files: int | None, timeout: float) -> dict[str, int]:
        """Hold all documents (or so many `files`) and their word counts as bags of so many partitions."""
        corpus = self._corpus = Corpus(self._client, partitions=partitions, files=files)
        self._computed += corpus.futures
        self._expected |= {f.key: value for f, value in zip(corpus.futures, corpus.expected, strict=True)}
        return corpus.size | self._wait(timeout)

    def start(self) -> None:
        """Start to compute on the persisted bag, one query after the other, until told to stop."""
        if self._corpus is None:
            raise RuntimeError("nothing to compute on: call persist first")
        self._background = Background(self._corpus)

    def progress(self) -> dict[str, int]:
        """How many queries have been answered since `start`, and how many of the answers were wrong."""
        if self._background is None:
            raise RuntimeError("nothing is being computed: call start first")
        return self._background.progress()

    def wait_for_answers(self, *, count: int, timeout: float) -> dict[str, int]:
        """Wait until so many queries have been answered since `start`."""
        return wait(self.progress, lambda progress: progress["answers"] >= count, f"{count} answers", timeout)

    def stop(self) -> dict[str, int]:
        """Stop once the query that is running has its answer; gives the progress."""
        self.progress()
        assert self._background is not None
        return self._background.stop()

    def total(self) -> dict[str, Any]:
        """Count all words of the persisted bag by Dask and compare with the count made without."""
        if self._corpus is None:
            raise RuntimeError("nothing to count: call persist first")
        reference = self._corpus.reference
        return {"equal": self._corpus.total(), "words": reference.total(), "most_common": reference.most_common(5)}

    def look(self) -> dict[str, Any]:
        """Say what became of everything that is held as far as the scheduler knows, by key, and who holds it.

        `lost` are scattered keys that are in nobody's memory. `recomputed` are those that ran again after their result
        was in memory, intermediate results of queries included, and held ones that are in nobody's memory, because
        they will have to.
        """
        holders, again = self._client.run_on_scheduler(look_at_keys, keys=list(self._held))
        missing = {key for key, names in holders.items() if not names}
        scattered = {future.key for future in self._scattered}
        return {
            "lost": _names(missing & scattered),
            "recomputed": _names(again | missing - scattered),
            "holders": {str(key): sorted(names) for key, names in holders.items()},
        }

    def audit(self) -> dict[str, Any]:
        """Read everything that is held and say what became of it; `wrong` are keys whose value is not what it was."""
        held, before = self._held, self.look()["holders"]
        wrong = self._wrong({key: future for key, future in held.items() if before[str(key)]})
        after = self.look()  # once more: something may have gone while the rest was read
        gone = {key for key in wrong if not after["holders"][str(key)]}
        return {"held": len(held), "wrong": _names(wrong - gone), **after}

    def release(self) -> None:
        """Let go of everything that is held."""
        self._scattered.clear()
        self._computed.clear()
        self._expected.clear()
        self._corpus = self._background = None
        gc.collect()  # a future is released when its last reference goes, and tracebacks make cycles

    @property
    def _client(self) -> Any:
        if self._connected is None:
            raise RuntimeError("not connected: call connect first")
        return self._connected

    def _wait(self, timeout: float) -> dict[str, int]:
        distributed.wait(self._computed, timeout=timeout)
        for future in self._computed:
            if future.status == "error":
                future.result()
        return {"scattered": len(self._scattered), "computed": len(self._computed)}

    @property
    def _held(self) -> dict[Any, Any]:
        return {future.key: future for future in [*self._scattered, *self._computed]}

    def _wrong(self, held: dict[Any, Any]) -> set[Any]:
        wrong, keys = set(), list(held)
        for start in range(0, len(keys), GATHERED_AT_ONCE):
            group = keys[start : start + GATHERED_AT_ONCE]
            # In this order, not by key: what failed is left out of a gathered dict.
            values = self._client.gather({key: held[key] for key in group}, errors="skip")
            wrong |= {key for key in group if key not in values or checksum(values[key]) != self._expected[key]}
        return wrong


def _names(keys: set[Any]) -> list[str]:
    return sorted(map(str, keys))


class Desk:
    """Carries requests out, one at a time, and keeps the last answer for whoever asks again."""

    def __init__(self) -> None:
        self._calls = Calls()
        self._lock = threading.Lock()
        self._last: dict[str, Any] = {"id": None}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry a request out, unless it is the last one again."""
        with self._lock:
            if request["id"] != self._last["id"]:
                self._last = {"id": request["id"], **self._outcome(request)}
            return self._last

    def _outcome(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": getattr(self._calls, request["call"])(**request["arguments"])}
        except Exception as error:  # noqa: BLE001 (whatever it is, the caller gets it)
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}"}


def serve(port: int) -> None:
    """Serve on a port of the loopback device, 0 for a free one, for ever; print the port that it is."""
    desk = Desk()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(json.dumps(desk.answer(json.loads(line))).encode() + b"\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", port), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
