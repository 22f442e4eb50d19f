"""Runs in worker processes, each with one BLAS thread, and progress bars over them."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from .data import Digits
from .entries import Entry
from .settings import Settings
from .training import Results, train

ONE_THREAD = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "SCHUSS_NUM_THREADS",
)


@dataclass(frozen=True)
class Run:
    """One line of work: train this optimizer at this peak rate from this seed."""

    entry: Entry
    lr: float
    seed: int

    @property
    def title(self) -> str:
        return f"{self.entry.label}, rate {self.lr:g}, seed {self.seed}"


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started inside get one thread: BLAS reads the environment when it loads."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_here: dict[str, Any] = {}


class _Stopped(Exception):
    """The parent is leaving: what this run would have found is no longer wanted."""


def _start(digits: Digits, settings: Settings, news: Any, stop: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the work
    _here.update(digits=digits, settings=settings, news=news, stop=stop)


def _work(index: int, run: Run) -> Results:
    def tick(epoch: int) -> None:
        if _here["stop"].is_set():
            raise _Stopped
        _here["news"].put((index, epoch))

    tick(0)
    return train(run.entry, run.lr, run.seed, _here["settings"], _here["digits"], tick)


def processors() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def train_all(
    runs: Sequence[Run], settings: Settings, digits: Digits, title: str, quiet: bool = False
) -> list[Results]:
    """Train every run, two or more at a time, and return the results in the runs' order.

    Parameters
    ----------
    runs : sequence of Run
        The work.
    settings, digits
        Given to every run.
    title : str
        Beside the overall bar.
    quiet : bool, default False
        Without progress bars.

    Returns
    -------
    list of dict
        As `training.train` returns them. They do not depend on how many processes did them:
        each run has one BLAS thread and its own random numbers.
    """
    count = min(processors(), len(runs), 8)
    context = multiprocessing.get_context("spawn")
    news, stop = context.Queue(), context.Event()
    with one_thread_each(), _bars(runs, settings, title, quiet) as bars:
        pool = ProcessPoolExecutor(count, context, _start, (digits, settings, news, stop))
        try:
            futures = {pool.submit(_work, i, run): i for i, run in enumerate(runs)}
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
                _drain(news, bars.tick)
                for future in done:
                    future.result()  # a worker's error ends it all
                    bars.finish(futures[future])
            return [future.result() for future in futures]
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def alone(function: Callable[..., Results], *args: Any, title: str, quiet: bool) -> Results:
    """Call a function in a fresh process with one thread, and none of ours beside it."""
    from rich.console import Console

    context = multiprocessing.get_context("spawn")
    status = nullcontext() if quiet else Console(stderr=True).status(title)
    with one_thread_each(), status, ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *args).result()


def _drain(news: Any, tick: Callable[[int, int], None]) -> None:
    with suppress(queue.Empty):
        while True:
            tick(*news.get_nowait())


class _Bars:
    """One bar over all runs, and one for each run under way."""

    def __init__(self, progress: Any, runs: Sequence[Run], settings: Settings, title: str) -> None:
        self.progress, self.runs, self.epochs = progress, runs, settings.epochs
        self.tasks: dict[int, Any] = {}
        self.finished: set[int] = set()
        self.done_epochs = dict.fromkeys(range(len(runs)), 0)
        self.all = progress.add_task(f"[bold]{title}", total=len(runs) * settings.epochs)

    def tick(self, index: int, epoch: int) -> None:
        if index in self.finished:
            return
        if index not in self.tasks:
            title = self.runs[index].title
            self.tasks[index] = self.progress.add_task(title, total=self.epochs)
        self._reach(index, epoch)
        self.progress.update(self.tasks[index], completed=epoch)

    def finish(self, index: int) -> None:
        self.finished.add(index)
        self._reach(index, self.epochs)
        if index in self.tasks:
            self.progress.remove_task(self.tasks.pop(index))

    def _reach(self, index: int, epoch: int) -> None:
        self.done_epochs[index] = epoch
        self.progress.update(self.all, completed=sum(self.done_epochs.values()))


@contextmanager
def _bars(runs: Sequence[Run], settings: Settings, title: str, quiet: bool) -> Iterator[_Bars]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Left

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} epochs"),
        TimeElapsedColumn(),
        TextColumn("left"),
        Left(),
        console=Console(stderr=True),
        disable=quiet,
    )
    with progress:
        yield _Bars(progress, runs, settings, title)
