"""Being asked to stop: SIGTERM (and Ctrl-C) become a question the loop asks between steps."""

import signal
import threading

import jax
from jax.experimental import multihost_utils


class StopSignal:
  """Context manager that catches SIGTERM and SIGINT.

  `requested(step)` is True, on every process at the same step, once any process has been signalled. With
  several processes the step is agreed upon through JAX's preemption service, which also listens to SIGTERM.
  """

  def __init__(self) -> None:
    self._event = threading.Event()

  def __enter__(self) -> "StopSignal":
    self._old = {s: signal.signal(s, lambda *_: self._event.set()) for s in (signal.SIGTERM, signal.SIGINT)}
    return self

  def __exit__(self, *_) -> None:
    for number, handler in self._old.items():
      signal.signal(number, handler)

  def requested(self, step: int) -> bool:
    if jax.process_count() > 1:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._event.is_set()
