"""One start of a run: where it stands, and how it moves, saves and goes back."""

import dataclasses
import time

import jax

from experiments.checkpoints import Checkpoints
from experiments.journal import Journal
from experiments.program import LastingFault
from experiments.run_directory import RunDirectory
from experiments.setup import Setup, stream
from objectives import collapse


class Diverged(LastingFault):
  """Non-finite steps persist after rolling back; the last good state is on disk."""


@dataclasses.dataclass
class Position:
  """Where a run stands besides its state; saved with every checkpoint.

  samples: records of the endless stream consumed, over all processes. tokens: of the budget, seen.
  rollbacks: how often it went back after non-finite steps. bad: non-finite steps in a row.
  seconds: wall time that it took to come here, over all attempts. waited: of them, for data.
  """

  samples: int = 0
  tokens: float = 0.0
  rollbacks: int = 0
  bad: int = 0
  seconds: float = 0.0
  waited: float = 0.0


class Attempt:
  """The moving parts of the training loop. All processes of a run call the same methods at the same steps.

  A step depends on (checkpoint, config, dataset) alone, so a killed run continues bit for bit. Metrics are
  read one step late, so that the device never waits for Python: `at` and the journal lag by a step, until
  `save` catches up.

  Attributes:
    state: {"params", "opt", "step"} on the mesh. at: Position.
    done: steps made. saved: the last of them on disk, or on its way there.
    checkpoints, journal: of the run.
  """

  def __init__(self, run: RunDirectory, setup: Setup):
    self._run, self._setup, self._since = run, setup, time.monotonic()
    self.checkpoints = Checkpoints(run.path, setup.config.checkpoint.keep)
    self.journal = Journal(run, setup.config.log_every, setup.rate, setup.config.tensorboard)
    self._restore()
    self._batches = stream(setup, self.at.samples)

  def _restore(self) -> None:
    """Takes the newest verified checkpoint onto the present mesh, or starts; the journal goes back to it."""
    restored = self.checkpoints.restore_newest(self._setup.spec)
    if restored is None:
      self.state, self.at = self._setup.init(self._setup.key), Position()
    else:
      self.state, self.at = restored[1], Position(**restored[2])
    self.done = self.saved = int(self.state["step"])
    self.journal.resume(self.done)
    self._late: tuple[int, dict[str, jax.Array]] | None = None

  def advance(self) -> None:
    """Dispatches one step, and counts the one before it."""
    asked = time.monotonic()
    batch = next(self._batches)
    self.at.waited += time.monotonic() - asked
    with jax.transfer_guard("disallow"):
      self.state, metrics = self._setup.step(self.state, batch, self._setup.key)
    self.done += 1
    self.at.samples += self._setup.config.data.batch_windows
    self.checkpoints.poll()
    self._count()
    self._late = self.done, metrics

  def _count(self) -> None:
    """Counts and logs the step whose metrics are waiting, if any."""
    if self._late is None:
      return
    step, metrics = self._late
    self._late = None
    gram = metrics.pop(collapse.GRAM, None)  # stays on the device unless it is looked at
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    if values["finite"]:
      self.at.tokens, self.at.bad = self.at.tokens + values["tokens"], 0
    else:
      self.at.bad += 1
    self.journal.step(step, self.at.tokens, values, gram)

  def save(self) -> None:
    """Starts a save, unless the steps before it were not finite: a roll-back must go to before them.

    The last state is saved even so: a step refuses its own non-finite update, and this state is the result.
    """
    self._count()  # what is saved must count every step it contains
    if self.at.bad == 0 or (self.done == self._setup.total and not self.is_lost()):
      self._clock()
      self.checkpoints.save(self.done, self.state, dataclasses.asdict(self.at))
      self.saved = self.done

  def finish(self) -> None:
    """Waits until the last save and all records are on disk."""
    self.checkpoints.wait()
    self.journal.close()
    self._clock()

  def close(self) -> None:
    """To be called however the attempt ends, before the directory is let go of."""
    self.checkpoints.close()
    self.journal.close()

  def _clock(self) -> None:
    now = time.monotonic()
    self.at.seconds, self._since = self.at.seconds + now - self._since, now

  def is_lost(self) -> bool:
    """Whether so many steps in a row were not finite that the state must be at fault, not the data."""
    return self.at.bad >= self._setup.config.recovery.patience

  def roll_back(self) -> None:
    """Returns to the last checkpoint, but skips the windows read since; raises Diverged when that was in vain."""
    self.finish()
    if self.at.rollbacks >= self._setup.config.recovery.rollbacks:
      raise Diverged(
        f"{self.at.bad} non-finite steps in a row at step {self.done}, after {self.at.rollbacks} roll-backs;"
        f" the last good state is in {self._run.path}; lower the learning rate or look at windows near"
        f" {self.at.samples}"
      )
    noticed, before = self.done, self.at
    del self.state  # leaves room for the one that is restored
    self._restore()
    self.at = dataclasses.replace(before, tokens=self.at.tokens, rollbacks=before.rollbacks + 1, bad=0)
    self._batches = stream(self._setup, self.at.samples)
    self.journal.rolled_back(noticed, self.done, self.at.samples)
