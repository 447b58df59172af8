"""The score of every episode of a drive, by evaluation/metrics/driving_score.py: EPDMS in form, filtered by the log.

The log, the same vehicle with its own driver, is the reference of progress, in the time that the ego drove, and the
human of EPDMS' filter. An episode that ended in a fault (`episodes.FAULTS`) scores zero, whatever it had achieved until
then. The filter excuses in the score what the vehicle's own driver did, too; the other terms, and the rates that are
made of them, say what the ego did and excuse nothing.
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from evaluation.driving.episodes import FAULTS, Drive
from evaluation.metrics import driving_score, road
from evaluation.metrics.driving_score import EPDMS, SUB_SCORES, Driven, Episode, SubScores
from evaluation.metrics.road import Road
from evaluation.safety import envelope, safe_distance

TERMS = ("score", *SUB_SCORES[:-1])  # without consistency of plans, which these drivers do not show
RATES = {  # of breaking a rule, half where it is half broken: one less the term
  "collision_rate": "no_at_fault_collision", "off_road_rate": "drivable_area", "red_light_rate": "traffic_light",
  "wrong_way_rate": "driving_direction",
}  # fmt: skip
_AGENTS, _POINTS, _LINES = 16, 256, 16
_AROUND = 12.0  # m beyond the ego's course at which a lane still matters
_EVERY = 4  # frames between the places whose surroundings are kept
_UNSEEN: dict[str, Any] = dict.fromkeys(("road", "lines", "route_Px2", "reference_m", "extended_comfort"))
_SEGMENTS = 256  # of lanes, and twice that as often as needed: each is compiled for


@dataclasses.dataclass(frozen=True)
class Judged:
  """One episode: what happened in every frame, and its sub-scores before the filter.
  monitor: by set of constants, what `envelope.tally` counts of the monitor beside the driver."""

  driven: Driven
  scores: SubScores
  monitor: dict[str, dict[str, int]]

  def progress_m(self, frame: int) -> float:
    """m along the route until then."""
    return float(self.driven.arc_T[frame] - self.driven.arc_T[0])


def judge(drive: Drive, frames: int, log: "list[Judged] | None") -> list[Judged]:
  """Each ego of a drive, in arrays of `frames` frames; `log` is the same of the log, None for the log itself."""
  tracks = _tracks(drive)
  everywhere = np.full(2, np.inf)
  whole = road.make_road(drive.lanes, len(drive.lanes.xy_Nx2), -everywhere, everywhere)
  found = []
  for e in range(len(drive.end_E)):
    reference_m = log[e].progress_m(int(drive.end_step_E[e])) if log else np.nan
    episode = _episode(drive, e, frames, tracks, whole, reference_m)
    scored = jax.tree.map(np.asarray, _scored(episode, drive.dt))
    # What the monitor reads alone, so that one shape serves all.
    seen = episode._replace(**_UNSEEN)
    found.append(Judged(scored[0], scored[1], jax.tree.map(int, _monitored(seen, drive.dt))))
  return found


def terms(drive: Drive, own: list[Judged], log: list[Judged]) -> list[dict[str, float | None]]:
  """Score, filtered, and sub-scores, as they are, of each ego; None for what is not defined there."""
  found = []
  for why, judged, human in zip(drive.end_E, own, log, strict=True):
    fault = why in FAULTS
    scores = driving_score.human_filtered(judged.scores, human.scores)
    values: dict[str, float | None] = {
      "score": 0.0 if fault else float(driving_score.composite(scores, EPDMS))
    }
    for name, value, defined in zip(SUB_SCORES, judged.scores.value_M, judged.scores.defined_M, strict=True):
      if name in TERMS:
        values[name] = float(value) if defined else None
    found.append(values)
  return found


def failure(drive: Drive, e: int, judged: Judged) -> tuple[int, str]:
  """The frame in which an episode with a score of zero went wrong, and how."""
  happened, last = judged.driven, int(drive.end_step_E[e])
  for name, broken in (
    ("it runs into somebody", happened.fault_TxA.any(-1)),
    ("it is off the road", happened.off_road_T),
    ("it passes a red light", happened.red_T),
    ("it drives against traffic", happened.against_T),
  ):
    if broken[: last + 1].any():
      return int(broken.argmax()), name
  return last, drive.end_E[e]


@functools.partial(jax.jit, static_argnums=1)
def _scored(episode: Episode, dt: float) -> tuple[Driven, SubScores]:
  driven = driving_score.observe(episode, dt)
  return driven, driving_score.sub_scores(episode, driven, dt)


@functools.partial(jax.jit, static_argnums=1)
def _monitored(episode: Episode, dt: float) -> dict[str, dict[str, jax.Array]]:
  """Counts of the monitor by set of constants."""
  return {
    name: envelope.tally(envelope.watch(episode, dt, by), dt) for name, by in safe_distance.SETS.items()
  }


def _tracks(drive: Drive) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Agents M in place of slots: serial [M], state [T, M, 4], size [M, 2], valid [T, M]."""
  serial_M = np.unique(drive.serial_TxN)
  serial_M = serial_M[serial_M >= 0]
  t, slot = np.nonzero(drive.serial_TxN >= 0)
  m = np.searchsorted(serial_M, drive.serial_TxN[t, slot])
  state = np.zeros((len(drive.serial_TxN), len(serial_M), 4), np.float32)
  state[t, m, :3], state[t, m, 3] = drive.box_TxNx5[t, slot, :3], drive.speed_TxN[t, slot]
  size, valid = np.ones((len(serial_M), 2), np.float32), np.zeros(state.shape[:2], bool)
  size[m], valid[t, m] = drive.box_TxNx5[t, slot, 3:], True
  return serial_M, state, size, valid


def _episode(drive: Drive, e: int, frames: int, tracks, whole: Road, reference_m: float) -> Episode:
  """One ego's drive in arrays of fixed shape, positions from where it began."""
  serial_M, state_TxMx4, size_Mx2, valid_TxM = tracks
  last = int(drive.end_step_E[e]) + 1
  origin = drive.pose_TxEx3[0, e, :2]
  ego = np.concatenate([drive.pose_TxEx3[:last, e], drive.speed_TxE[:last, e, None]], -1)
  ego[:, :2] -= origin
  apart = np.hypot(*np.moveaxis(state_TxMx4[:last, :, :2] - drive.pose_TxEx3[:last, e, None, :2], -1, 0))
  away_M = np.where(valid_TxM[:last], apart, np.inf).min(0)
  away_M[serial_M == drive.serial_E[e]] = np.inf
  order = away_M.argsort(kind="stable")[:_AGENTS]
  chosen = order[np.isfinite(away_M[order])]
  agents, size = np.zeros((frames, _AGENTS, 4), np.float32), np.ones((_AGENTS, 2), np.float32)
  valid = np.zeros((frames, _AGENTS), bool)
  agents[:last, : len(chosen)] = state_TxMx4[:last, chosen] - np.array([*origin, 0, 0])
  size[: len(chosen)], valid[:last, : len(chosen)] = size_Mx2[chosen], valid_TxM[:last, chosen]
  way = drive.guides.ways[e]
  signal_TxL = drive.signal_TxL[np.minimum(np.arange(frames), last - 1)]
  route = way.at(np.linspace(0, way.length, _POINTS)) - origin
  lines = road.make_stop_lines(drive.lanes, way.lanes, signal_TxL, _LINES)
  return Episode(
    ego_Tx4=_rows(ego.astype(np.float32), frames),
    ego_size_2=drive.size_Ex2[e].astype(np.float32),
    frames=np.int32(last),
    agents_TxAx4=agents,
    agents_size_Ax2=size,
    agents_valid_TxA=valid,
    movable_A=np.arange(_AGENTS) < len(chosen),
    road=_around(whole, drive.pose_TxEx3[:last, e, :2], origin),
    lines=lines._replace(place_Qx2=(lines.place_Qx2 - origin).astype(np.float32)),
    route_Px2=route.astype(np.float32),
    reference_m=np.float32(reference_m),
    extended_comfort=np.float32(np.nan),
  )


def _around(whole: Road, xy_Tx2: np.ndarray, origin: np.ndarray) -> Road:
  """The segments of a road near a course, from `origin`, padded to one of few sizes."""
  middle, half = whole.start_Sx2 + 0.5 * whole.step_Sx2, 0.5 * np.hypot(*whole.step_Sx2.T)
  apart = middle[None] - np.concatenate([xy_Tx2[::_EVERY], xy_Tx2[-1:]])[:, None]
  chosen = np.flatnonzero(
    (np.hypot(apart[..., 0], apart[..., 1]) - half[None] < _AROUND).any(0) & whole.mask_S
  )
  size = _SEGMENTS
  while size < len(chosen):
    size *= 2
  number = np.unique(whole.lane_S[chosen], return_inverse=True)[1].astype(np.int32)
  near = whole._replace(start_Sx2=(whole.start_Sx2 - origin).astype(np.float32))
  near = Road(*(values[chosen] for values in near))._replace(lane_S=number)
  return Road(*(_rows(values, size) for values in near))


def _rows(value: np.ndarray, frames: int) -> np.ndarray:
  return np.concatenate([value, np.zeros((frames - len(value), *value.shape[1:]), value.dtype)])
