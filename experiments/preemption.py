"""Being asked to stop: SIGTERM and Ctrl-C become a question that the loop asks between steps."""

import signal
import threading

import jax
from jax.experimental import multihost_utils


class StopSignal:
  """Context manager that catches SIGTERM and SIGINT.

  `requested(step)` is True, on every process at the same step, once any process has been signalled. With
  several processes the step is agreed upon through JAX's preemption service. It takes SIGTERM over when the
  processes join, which must therefore happen inside the block, and knows no other signal.
  """

  def __init__(self) -> None:
    self._event = threading.Event()

  def __enter__(self) -> "StopSignal":
    heard = {
      signal.SIGTERM: lambda *_: self._event.set(),
      signal.SIGINT: lambda *_: signal.raise_signal(signal.SIGTERM),
    }
    self._old = {number: signal.signal(number, handler) for number, handler in heard.items()}
    return self

  def __exit__(self, *_) -> None:
    for number, handler in self._old.items():
      signal.signal(number, handler)

  def requested(self, step: int) -> bool:
    """Whether to save and stop after this step; every process must ask at every step."""
    if jax.process_count() > 1:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._event.is_set()
