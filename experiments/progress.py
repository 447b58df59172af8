"""A progress bar on stderr when a person is watching; nothing at all in a log file."""

import sys
from typing import Any, Self


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
    if sys.stderr.isatty():
      import tqdm

      shown = {"desc": label, "unit": unit, "unit_scale": total >= 1e6, "dynamic_ncols": True}
      self._bar = tqdm.tqdm(total=total, initial=initial, **shown)

  @property
  def watched(self) -> bool:
    """Whether anybody sees what `update` shows."""
    return self._bar is not None

  def update(self, count: float = 1, **shown: float | str) -> None:
    """Advances by `count`, which may be negative; time left is estimated from the pace so far."""
    if self._bar is None:
      return
    if shown:
      self._bar.set_postfix({name: _short(value) for name, value in shown.items()}, refresh=False)
    self._bar.update(count)

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
