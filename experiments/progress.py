"""How far a program is, on stderr: a bar when a person is watching, now and then a line in a log file.

A log gets a line when the work begins, and further ones at least ten seconds and a twentieth of the work apart.
"""

import sys
import time
from typing import Any, Self

_APART_S = 10.0
_APART_SHARE = 0.05


class Progress:
  """Counts to `total`; `update` also shows numbers such as loss, tokens per second and MFU.

  Args:
    total: steps (or items) in all; millions of them are shown as such.
    label: what is counted.
    initial: how many were done before, in a resumed run.
    unit: what one of them is called.
  """

  def __init__(self, total: float, label: str, initial: float = 0, unit: str = "step"):
    self._bar: Any = None
    self._total, self._label, self._unit, self._done = total, label, unit, initial
    if sys.stderr.isatty():
      import tqdm

      shown = {"desc": label, "unit": unit, "unit_scale": total >= 1e6, "dynamic_ncols": True}
      self._bar = tqdm.tqdm(total=total, initial=initial, **shown)
    else:
      self._begun = time.monotonic()
      self._say("")

  @property
  def watched(self) -> bool:
    """Whether there is a bar, at which somebody may be looking."""
    return self._bar is not None

  def update(self, count: float = 1, **shown: float | str) -> None:
    """Advances by `count`, which may be negative; time left is estimated from the pace so far."""
    self._done += count
    if self._bar is None:
      waited = time.monotonic() - self._said_at
      if waited >= _APART_S and self._done - self._said >= _APART_SHARE * self._total:
        spent = f", {self._done / self._total:.0%} after {time.monotonic() - self._begun:.0f} s"
        self._say(spent + "".join(f", {name} {_short(value)}" for name, value in shown.items()))
      return
    if shown:
      self._bar.set_postfix({name: _short(value) for name, value in shown.items()}, refresh=False)
    self._bar.update(count)

  def _say(self, more: str) -> None:
    """One line, such as "jepa: step 64 of 640, 10% after 34 s, loss 0.41"."""
    self._said, self._said_at = self._done, time.monotonic()
    where = f"{self._label}: {self._unit} {_short(self._done)} of {_short(self._total)}"
    print(where + more, file=sys.stderr, flush=True)

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def close(self) -> None:
    """Leaves the bar as it stands."""
    if self._bar is not None:
      self._bar.close()
      self._bar = None


def _short(value: float | str) -> str:
  """1234567 -> 1.23M, 0.4321 -> 0.4321."""
  if isinstance(value, str):
    return value
  for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
    if abs(value) >= size:
      return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
  return f"{value:.4g}"
