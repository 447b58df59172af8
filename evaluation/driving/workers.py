"""Worlds in worker processes: one simulation per process at a time, and none is lost with the process it ran in.

Every worker is a pool of its own, so that a death is known to be that of one world. That world is tried again in a new
process, and given up, named and counted, after a second death. What a world yields does not depend on how many workers
there are or on which of them it was.
"""

import concurrent.futures
import multiprocessing
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from data.errors import BadInput

ATTEMPTS = 2
DIED, FAILED = "worker died", "world failed"


def in_workers(
  function: Callable,
  arguments: Sequence[Any],
  workers: int,
  initializer: Callable | None = None,
  initargs: tuple = (),
) -> Iterator[tuple[int, Any, str]]:
  """(k, function(arguments[k]), "") as they come; (k, None, why) where every attempt has failed.

  Raises the first BadInput of a worker: it would be that of every other.
  """
  todo: queue.SimpleQueue = queue.SimpleQueue()
  done: queue.SimpleQueue = queue.SimpleQueue()
  for k, argument in enumerate(arguments):
    todo.put((k, argument))
  halt = threading.Event()

  def work() -> None:
    pool = None
    try:
      while not halt.is_set():
        try:
          k, argument = todo.get_nowait()
        except queue.Empty:
          return
        value, why = None, ""
        for _ in range(ATTEMPTS):
          pool = pool or _pool(initializer, initargs)
          try:
            value, why = pool.submit(function, argument).result(), ""
            break
          except BadInput as error:
            done.put((k, error, ""))
            return
          except BrokenProcessPool:
            why, pool = DIED, None
          except Exception as error:
            why = f"{FAILED}: {type(error).__name__}: {error}"
        done.put((k, value, why))
    finally:
      if pool:
        pool.shutdown(cancel_futures=True)

  threads = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, len(arguments)))]
  for thread in threads:
    thread.start()
  try:
    for _ in range(len(arguments)):
      k, value, why = done.get()
      if isinstance(value, BadInput):
        raise value
      yield k, value, why
  finally:
    halt.set()
    for thread in threads:
      thread.join()


def _pool(initializer, initargs) -> concurrent.futures.ProcessPoolExecutor:
  context = multiprocessing.get_context("spawn")
  return concurrent.futures.ProcessPoolExecutor(1, context, initializer, initargs)
