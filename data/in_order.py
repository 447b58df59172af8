"""Work in several processes whose results come back in order."""

import collections
import concurrent.futures
import itertools
from collections.abc import Callable, Iterable, Iterator


def in_order(
  pool: concurrent.futures.Executor, function: Callable, arguments: Iterable, ahead: int
) -> Iterator:
  """function(argument) of each in turn, at most `ahead` of them in advance, so that results do not pile up."""
  rest = iter(arguments)
  running = collections.deque(pool.submit(function, a) for a in itertools.islice(rest, ahead))
  while running:
    result = running.popleft().result()
    running.extend(pool.submit(function, a) for a in itertools.islice(rest, 1))
    yield result
