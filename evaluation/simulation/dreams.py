"""Bad dreams: a simulator takes an ego into trouble, and of several ways on the best one is what there is to learn.

An ego is seen for a while as logged; then, for `FORCED` moves, it does what no driver of the log does: it drifts,
crosses the lane, closes up. From there the model drives everybody, several times. Each way on is judged by the
driving score (evaluation/metrics/driving_score.py), in which for `GRACE` seconds only contacts count, as leaving
trouble takes time:

  merit = EPDMS - AWAY * min(mean distance to its own path, 2 m)      without comfort, which is not that of moves

The best of the draws is kept where the ego was in trouble in all of them and this way led out of it. That is expert
iteration with the world model as the simulator (T. Anthony et al., arXiv:1705.08439): the policy is taught what it
could do itself, had it chosen better. What becomes of it as training data: evaluation/simulation/dream_records.py.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data import context, motion
from data.schema import Signal
from evaluation.metrics import driving_score, road, time_to_collision
from evaluation.metrics.driving_score import EPDMS, Episode
from evaluation.simulation import commands, scores
from evaluation.simulation.scenarios import Scenarios

Array = Any  # numpy as they are kept, jax.numpy under jit

FORCED = 3  # moves
GRACE = 3.0  # s
AWAY = 0.1  # per m
BACK = 0.5  # m from its path: within it an ego is where it should be
SIDEWAYS, CLOSING = (-3.0, -1.0, 1.0, 3.0), 1.8  # m at the end of what is forced; m/s^2
_FASTEST_TURN, _LEAST_SPEED = 0.6, 3.0  # rad/s, m/s
_TIMES = 2  # frames per move when judged
_LINE = 2.25  # m, half the width of a stop line


class Judged(NamedTuple):
  """Of one course from the trouble on. merit: above. away: m from its path in the last second. trouble: in its first
  frame it is off its path or the road, against traffic, or would touch somebody within 3 s. What happens on it:
  contact, its fault; close, off_road and against traffic, after GRACE."""

  merit: Array
  away: Array
  trouble: Array
  contact: Array
  close: Array
  off_road: Array
  against: Array


@dataclasses.dataclass(frozen=True)
class Dreams:
  """D dreams that are kept, of one kind of trouble.

  scenario_D: index. state_DxAxTxS: of the best way, all of it. judged: [K, C] of all ways. asked_C: egos that could be
  told so. kept_C: the dreams' scenarios as a mask.
  """

  scenario_D: np.ndarray
  state_DxAxTxS: np.ndarray
  judged: Judged
  asked_C: np.ndarray
  kept_C: np.ndarray


def troubles(scenarios: Scenarios) -> dict[str, np.ndarray]:
  """What egos are forced to do, [N, C, A] by name: FORCED moves, then nothing."""
  speed_C = np.maximum(_now(scenarios)[:, motion.SPEED], _LEAST_SPEED)
  # Lateral metres of a constant yaw rate w: v dt w dt (1 + 2 + ... + FORCED).
  reach_C = speed_C * scenarios.dt**2 * FORCED * (FORCED + 1) / 2
  moves = {
    f"{'left' if metres > 0 else 'right'} by {abs(metres):g} m": commands.steer(
      scenarios, np.clip(metres / reach_C, -_FASTEST_TURN, _FASTEST_TURN), FORCED
    )
    for metres in SIDEWAYS
  }
  moves["closes up"] = commands.accelerate(scenarios, CLOSING, FORCED)
  nobody = commands.nobody(scenarios)
  return {name: commands.told(nobody, scenarios, ego) for name, ego in moves.items()}


def dream(
  scenarios: Scenarios, simulate: Callable, forced_NxCxA: np.ndarray, draws: range, judge: Callable
) -> Dreams:
  """The best of several ways out of one trouble. simulate: evaluation.simulation.batches. judge: from make_judge."""
  begin = scenarios.observed + FORCED
  states = [simulate(forced_NxCxA, draw) for draw in draws]
  judged = Judged(
    *(np.stack(part) for part in zip(*(judge(one[:, :, begin:]) for one in states), strict=True))
  )
  every = np.arange(len(scenarios))
  best_C = judged.merit.argmax(0)
  best = Judged(*(part[best_C, every] for part in judged))
  spacing_C = scenarios.windows["spacing_A"][every, scenarios.ego_C]
  asked_C = (_now(scenarios)[:, motion.SPEED] >= _LEAST_SPEED) & (spacing_C > 0)
  kept_C = asked_C & judged.trouble.all(0) & (best.merit > 0) & (best.away < BACK)
  scenario_D = np.flatnonzero(kept_C)
  state = [states[best_C[c]][c] for c in scenario_D]
  shape = (0, *states[0].shape[1:])
  return Dreams(
    scenario_D, np.stack(state) if state else np.zeros(shape, np.float32), judged, asked_C, kept_C
  )


def make_judge(scenarios: Scenarios) -> Callable[[np.ndarray], Judged]:
  """judge(states [C, A, T, S] from the trouble on) -> Judged of arrays [C]; T - 1 moves, the last of the scenarios."""
  every, ego_C = np.arange(len(scenarios)), scenarios.ego_C
  begin = scenarios.observed + FORCED
  windows = scenarios.windows
  member_CxA = (windows["group_A"] > 0) & windows["valid_TxA"][:, scenarios.observed]
  driven = np.diff(scenarios.state_CxAxTxS[every, ego_C, begin:, :2], axis=1)
  parts = (
    ego_C,
    member_CxA & (np.arange(member_CxA.shape[1])[None] != ego_C[:, None]),
    windows["size_Ax2"],
    scenarios.ground,
    windows["path_AxPx2"][every, ego_C],
    windows["spacing_A"][every, ego_C],
    windows["stop_AxQ"][every, ego_C],
    windows["signal_TxAxQ"][every, begin:, ego_C] == int(Signal.RED),
    np.hypot(driven[..., 0], driven[..., 1]).sum(-1).astype(np.float32),
  )
  run = jax.jit(lambda given: jax.lax.map(lambda one: _judged(scenarios.dt, *one), given))
  return lambda state_CxAxTxS: Judged(*(np.asarray(part) for part in run((state_CxAxTxS, *parts))))


def _judged(
  dt, state_AxTxS, ego, others_A, size_Ax2, ground, path_Px2, spacing, stop_Q, red_TxQ, reference_m
):
  fine_AxTxS = scores.finer(state_AxTxS, _TIMES)
  frames, step = fine_AxTxS.shape[1], dt / _TIMES
  pose_AxTx4 = fine_AxTxS[..., jnp.array([motion.X, motion.Y, motion.HEADING, motion.SPEED])]
  agents_TxAx4 = jnp.swapaxes(pose_AxTx4, 0, 1)
  episode = Episode(
    ego_Tx4=pose_AxTx4[ego],
    ego_size_2=size_Ax2[ego],
    frames=frames,
    agents_TxAx4=agents_TxAx4,
    agents_size_Ax2=size_Ax2,
    agents_valid_TxA=jnp.broadcast_to(others_A[None], agents_TxAx4.shape[:2]),
    movable_A=jnp.ones(len(others_A), bool),
    road=ground,
    lines=_lines(path_Px2, spacing, stop_Q, red_TxQ, frames),
    route_Px2=path_Px2,
    reference_m=reference_m,
    extended_comfort=jnp.nan,
  )
  seen = driving_score.observe(episode, step)
  later_T = jnp.arange(frames) * step >= GRACE
  excused = seen._replace(
    off_road_T=seen.off_road_T & later_T,
    against_T=seen.against_T & later_T,
    ttc_T=jnp.where(later_T, seen.ttc_T, jnp.inf),
    off_centre_T=jnp.where(later_T, seen.off_centre_T, 0.0),
  )
  score = driving_score.composite(driving_score.sub_scores(episode, excused, step), EPDMS)
  away_T = _distance(pose_AxTx4[ego, :, :2], path_Px2)
  astray = (away_T[0] > BACK) | seen.off_road_T[0] | seen.against_T[0]
  return Judged(
    merit=score - AWAY * jnp.minimum(away_T, 2.0).mean(),
    away=away_T[-round(1 / step) :].max(),
    trouble=astray | jnp.isfinite(seen.ttc_T[0]),
    contact=seen.fault_TxA.any(),
    close=(excused.ttc_T < time_to_collision.BOUND).any(),
    off_road=excused.off_road_T.any(),
    against=excused.against_T.any(),
  )


def _distance(points_Tx2, path_Px2):
  """[T] m to a polyline."""
  start, step = path_Px2[:-1], jnp.diff(path_Px2, axis=0)
  ones = jnp.ones(len(start))
  line = road.Road(start, step, ones, jnp.zeros(len(start), jnp.int32), ones < 0, ones > 0)
  return road.lateral(points_Tx2, line).min(-1)


def _lines(path_Px2, spacing, stop_Q, red_TxQ, frames: int) -> road.StopLines:
  """The stop lines of a path, as wide as a lane."""
  arc_P = jnp.arange(len(path_Px2)) * spacing
  at = [jnp.stack([jnp.interp(stop_Q + d, arc_P, path_Px2[:, i]) for i in (0, 1)], -1) for d in (-1.0, 1.0)]
  ahead_Qx2 = at[1] - at[0]
  length_Q = jnp.hypot(ahead_Qx2[:, 0], ahead_Qx2[:, 1])
  red_TxQ = jnp.repeat(red_TxQ, _TIMES, axis=0)
  red_TxQ = jnp.concatenate([red_TxQ, jnp.broadcast_to(red_TxQ[-1:], (frames - len(red_TxQ), len(stop_Q)))])
  return road.StopLines(
    place_Qx2=0.5 * (at[0] + at[1]),
    direction_Qx2=ahead_Qx2 / jnp.maximum(length_Q, 1e-6)[:, None],
    half_width_Q=jnp.full(len(stop_Q), _LINE),
    red_TxQ=red_TxQ,
    mask_Q=(length_Q > 1.0) & (stop_Q < context.FAR),
  )


def tally(found: Dreams) -> dict[str, int | float | None]:
  """Egos that were told so, those then in trouble, dreams kept; shares of all ways on of those in trouble that end in
  what Judged names; their merit, and that of the best ways."""
  in_trouble_C = found.asked_C & found.judged.trouble.all(0)
  ways = {name: getattr(found.judged, name)[:, in_trouble_C] for name in Judged._fields}
  some = bool(in_trouble_C.any())
  shares = {
    name: float(ways[name].mean()) if some else None for name in ("contact", "close", "off_road", "against")
  }
  merits = {"merit": float(ways["merit"].mean()), "best": float(ways["merit"].max(0).mean())} if some else {}
  counts = {
    "asked": int(found.asked_C.sum()),
    "trouble": int(in_trouble_C.sum()),
    "kept": len(found.scenario_D),
  }
  return counts | shares | {"merit": None, "best": None} | merits


def _now(scenarios: Scenarios) -> np.ndarray:
  """[C, S]: the egos before they are told anything."""
  return scenarios.state_CxAxTxS[np.arange(len(scenarios)), scenarios.ego_C, scenarios.observed]
