"""Drives an agent from outside: typed calls, over a connection that may break at any time."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

RECONNECT_SECONDS = 0.5
"""Between two tries to reach the agent again."""

ANSWER_SECONDS = 120.0
"""How long an answer may take where the call itself has no time limit."""

_GRACE_SECONDS = 15.0  # beyond a call's own limit, so that its own error arrives


class AgentError(Exception):
    """The agent gave an error, or no answer in time; the message says which."""


@dataclass(frozen=True)
class Held:
    """How many results the agent holds: scattered ones, which have no recipe, and computed ones."""

    scattered: int
    computed: int


@dataclass(frozen=True)
class WorkerInfo:
    """A worker as the scheduler sees it; `status` is Dask's own word for it, such as `running`."""

    name: str
    address: str
    status: str
    keys: int
    bytes: int


@dataclass(frozen=True)
class Progress:
    """How many background queries were answered, and how many answers were not those of the reference."""

    answers: int
    wrong: int


@dataclass(frozen=True)
class Total:
    """All words of the persisted text counted by Dask: whether equal to a count without Dask, which is here, too."""

    equal: bool
    words: int
    most_common: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Audit:
    """What became of everything that the agent holds, by key.

    Attributes:
        held: how many keys were looked at.
        lost: scattered keys that are gone for ever.
        recomputed: keys whose task ran, or has to run, again after its result was in memory.
        wrong: keys whose value is not what it was.
    """

    held: int
    lost: tuple[str, ...]
    recomputed: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether there was something to look at and nothing of it was lost, recomputed or changed."""
        return self.held > 0 and not (self.lost or self.recomputed or self.wrong)


@dataclass(frozen=True)
class Look:
    """What became of everything that the agent holds as far as the scheduler knows, no value having been read.

    Attributes:
        lost: as in `Audit`.
        recomputed: as in `Audit`.
        holders: the names of the workers that have a held key in memory, by key.
    """

    lost: tuple[str, ...]
    recomputed: tuple[str, ...]
    holders: dict[str, tuple[str, ...]]


def source(program: str) -> str:
    """The text of one of this package's programs, `program` or `relay`, for `python -c`."""
    return files("integration.agent").joinpath(f"{program}.py").read_text("utf-8")


class Agent:
    """One agent, reached by a relay: a command that joins its standard input and output to the agent's port.

    A relay that ends before the answer is started anew, and the request is sent again under its old id: the agent
    carries nothing out twice. Not for several threads at once.
    """

    def __init__(self, relay: Sequence[str]) -> None:
        """Drive the agent behind a relay, which is started with the first call."""
        self._relay = _Relay(relay)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._relay.close()

    def connect(self, scheduler: str, *, timeout: float = 60.0) -> str:
        """Connect to a scheduler and start to count what is lost; gives the versions in use."""
        found = self._call("connect", timeout=timeout, scheduler=scheduler)
        return f"Python {found['python']}, Dask {found['dask']}"

    def workers(self) -> tuple[WorkerInfo, ...]:
        """All workers that the scheduler has."""
        return tuple(WorkerInfo(**worker) for worker in self._call("workers"))

    def wait_for_workers(self, count: int, *, timeout: float = 120.0) -> tuple[WorkerInfo, ...]:
        """Wait until the scheduler has exactly this many workers and all of them run.

        Raises:
            AgentError: it still hasn't after `timeout` seconds; the message has those that it has.
        """
        return tuple(WorkerInfo(**worker) for worker in self._call("wait_for_workers", timeout=timeout, count=count))

    def hold(self, *, scattered: int, computed: int, timeout: float = 120.0) -> Held:
        """Hold so many more texts without a recipe and computed word counts; waits until they are in memory.

        Returns:
            What is held in all.
        """
        return Held(**self._call("hold", timeout=timeout, scattered=scattered, computed=computed))

    def work(self, *, tasks: int, seconds: float, timeout: float = 120.0) -> Held:
        """Hold so many more computed word counts, each of which takes a worker so many seconds; waits for all of them.

        There may be no worker yet: the tasks wait for the first.

        Returns:
            What is held in all.
        """
        return Held(**self._call("work", timeout=timeout, tasks=tasks, seconds=seconds))

    def begin(self, workers: Sequence[WorkerInfo], *, seconds: float, timeout: float = 60.0) -> None:
        """Hold a further word count for each worker, which takes it so many seconds; returns when all have started.

        Where its worker goes before it is done, it runs elsewhere. Call `finish` before `audit`.
        """
        self._call("begin", timeout=timeout, workers=[worker.address for worker in workers], seconds=seconds)

    def starts(self) -> dict[str, tuple[str, ...]]:
        """Where the tasks of `begin` that are held have started, in that order: the workers' names by key."""
        return {key: tuple(names) for key, names in self._call("starts").items()}

    def finish(self, *, timeout: float = 120.0) -> Held:
        """Wait until everything that is computed is in memory."""
        return Held(**self._call("finish", timeout=timeout))

    def persist(self, *, partitions: int, files: int | None = None, timeout: float = 120.0) -> dict[str, int]:
        """Hold the standard library's sources, or so many `files` of them, and their word counts as persisted bags.

        Returns:
            The numbers of `files` and `characters`, and what is held in all: `scattered` and `computed`.
        """
        held: dict[str, int] = self._call("persist", timeout=timeout, partitions=partitions, files=files)
        return held

    def start(self) -> None:
        """Start to compute on the persisted bag, query after query, until `stop`."""
        self._call("start")

    def progress(self) -> Progress:
        """What the queries since `start` came to, so far."""
        return Progress(**self._call("progress"))

    def wait_for_answers(self, count: int, *, timeout: float = 120.0) -> Progress:
        """Wait until so many queries have been answered since `start`.

        Raises:
            AgentError: they still haven't after `timeout` seconds, or one has failed.
        """
        return Progress(**self._call("wait_for_answers", timeout=timeout, count=count))

    def stop(self) -> Progress:
        """Stop computing when the running query has its answer."""
        return Progress(**self._call("stop"))

    def total(self) -> Total:
        """Count all words of the persisted bag, with and without Dask."""
        found = self._call("total")
        common = tuple((str(word), int(count)) for word, count in found["most_common"])
        return Total(equal=found["equal"], words=found["words"], most_common=common)

    def look(self) -> Look:
        """Ask the scheduler what became of everything that is held, and who holds it; quick, and no load on workers."""
        found = self._call("look")
        holders = {key: tuple(names) for key, names in found["holders"].items()}
        return Look(tuple(found["lost"]), tuple(found["recomputed"]), holders)

    def audit(self) -> Audit:
        """Read back everything that is held and find out what became of it."""
        found = self._call("audit")
        return Audit(found["held"], tuple(found["lost"]), tuple(found["recomputed"]), tuple(found["wrong"]))

    def release(self) -> None:
        """Let go of everything that is held."""
        self._call("release")

    def _call(self, name: str, *, timeout: float | None = None, **arguments: Any) -> Any:
        if timeout is not None:
            arguments["timeout"] = timeout
        limit = ANSWER_SECONDS if timeout is None else timeout + _GRACE_SECONDS
        request = {"id": uuid.uuid4().hex, "call": name, "arguments": arguments}
        answer = self._relay.ask(request, deadline=time.monotonic() + limit)
        if answer is None:
            raise AgentError(f"no answer to {name} within {limit:g} s; the relay said: {self._relay.said or 'nothing'}")
        if "error" in answer:
            raise AgentError(f"{name}: {answer['error']}")
        return answer["result"]


class _Relay:
    """A process whose lines are requests and answers, started again where it ended."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.said = ""

    def ask(self, request: dict[str, Any], *, deadline: float) -> dict[str, Any] | None:
        """Send a request, again after every interruption, until its answer is there or the deadline (monotonic)."""
        while True:
            self._send(json.dumps(request))
            while (line := self._next_line(deadline)) is not None:
                answer: dict[str, Any] = json.loads(line)
                if answer["id"] == request["id"]:
                    return answer  # another id is the answer to a request that was given up
            if time.monotonic() + RECONNECT_SECONDS > deadline:
                self.close()
                return None
            self.close()
            time.sleep(RECONNECT_SECONDS)

    def close(self) -> None:
        """End the relay; the agent goes on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _send(self, line: str) -> None:
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # then there won't be an answer either
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
        )
        # A queue of its own for each process: lines of an earlier one are of no use.
        self._lines = queue.SimpleQueue()
        threading.Thread(target=_read_lines, args=(self._process, self._lines), daemon=True).start()
        threading.Thread(target=self._read_errors, args=(self._process,), daemon=True).start()

    def _next_line(self, deadline: float) -> str | None:
        """The next line; None where there will be none before the deadline."""
        try:
            return self._lines.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            return None

    def _read_errors(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.said = line.strip()


def _read_lines(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def local_relay(port: int) -> list[str]:
    """The relay to an agent on this machine."""
    return [sys.executable, "-u", "-c", source("relay"), str(port)]
