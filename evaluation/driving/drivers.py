"""Who drives the egos: what a driver sees, what it answers, and the baselines that need no model.

A driver moves all egos of a world at once. It is asked every step; it may look at the world only through its View.
"""

import abc
import dataclasses

import numpy as np

from data.sumo_live import STEP, LiveWorld
from evaluation.driving import bicycle
from evaluation.driving.bicycle import Cars
from evaluation.driving.guides import Guides

WATCHED = 0.5  # s


@dataclasses.dataclass(frozen=True)
class View:
  """What is known before a step. live: the world. slot_E: the egos in it. cars: their state. guides: their routes.
  arc_E, lateral_E: m, where on those they are. step: steps since the start. friction: of the road. world: its seed."""

  live: LiveWorld
  slot_E: np.ndarray
  cars: Cars
  guides: Guides
  arc_E: np.ndarray
  lateral_E: np.ndarray
  step: int
  friction: float
  world: int


class Driver(abc.ABC):
  """Drives all egos of one world: `watch` while traffic settles, `begin` once, then `move` for every step."""

  def watch(self, live: LiveWorld) -> None:  # noqa: B027
    """Sees the traffic every `WATCHED` s, a few times before the start."""

  def begin(self, view: View) -> None:  # noqa: B027
    """Forgets what was before."""

  @abc.abstractmethod
  def command(self, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Acceleration [E] m/s^2 and course [E] rad, the direction of travel that is wanted."""

  def move(self, view: View) -> Cars:
    """The egos one step later."""
    return bicycle.drive(view.cars, *self.command(view), view.friction, STEP)


class ConstantVelocity(Driver):
  """Keeps the speed and the direction of the start."""

  def begin(self, view: View) -> None:
    self._course_E = bicycle.course(view.cars)

  def command(self, view: View) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(len(view.slot_E)), self._course_E


class LogReplay(Driver):
  """Goes exactly where the same vehicles went when nobody had taken them over; others may do otherwise now.

  pose_TxEx3, speed_TxE: the log from the step after the start; it keeps still after its end.
  """

  def __init__(self, pose_TxEx3: np.ndarray, speed_TxE: np.ndarray):
    self._pose_TxEx3, self._speed_TxE = pose_TxEx3, speed_TxE

  def command(self, view: View) -> tuple[np.ndarray, np.ndarray]:
    raise NotImplementedError("a log is replayed, not driven")

  def move(self, view: View) -> Cars:
    t = min(view.step, len(self._pose_TxEx3) - 1)
    return dataclasses.replace(view.cars, pose_Ex3=self._pose_TxEx3[t], speed_E=self._speed_TxE[t])
