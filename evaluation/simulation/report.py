"""The report of a simulator: which roll-outs are made, what is counted in them, and which claims hold."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data import motion
from evaluation import intervals
from evaluation.metrics import realism
from evaluation.metrics.displacement import MOVING_DISTANCE
from evaluation.simulation import commands, scores
from evaluation.simulation.control import ACCELERATIONS, YAW_OFFSETS, control_of
from evaluation.simulation.scenarios import Scenarios

LEAST_SPEARMAN, LEAST_REALISM, MOST_WORSE = 0.9, 0.9, 0.05  # what the claims ask for
_LEAD = 2  # steps before now that accelerations need
_BOOTSTRAP = 1000
_EGOS = {"replay": commands.logged, "late": commands.late, "braking": commands.brake}


def roll_outs(rollouts: int, draws: int) -> int:
  """How often `report` calls `simulate`."""
  commanded = len(ACCELERATIONS) + len(YAW_OFFSETS) + len(_EGOS)
  return rollouts + draws * commanded + len(_EGOS) - 1  # a replayed ego among replayed others is the log


def report(
  scenarios: Scenarios, simulate, rollouts: int, draws: int, seed: int
) -> tuple[dict[str, Any], dict]:
  """world_model.json but for its provenance, and the points of the figure of control."""
  drawn = intervals.draw_scenes(scenarios.scene_C, _BOOTSTRAP, seed)
  nobody = commands.nobody(scenarios)
  free = np.stack([simulate(nobody, draw) for draw in range(rollouts)])
  control, points = control_of(scenarios, simulate, free[:draws], drawn)
  real = _realism(scenarios, free, drawn)
  ego = _given_ego(scenarios, simulate, free[:draws], draws, drawn)
  result = {
    "scenarios": len(scenarios),
    "scenes": len(np.unique(scenarios.scene_C)),
    "agents": int(scenarios.known_CxA.sum()),
    "worst_slices": real.pop("worst_slices"),
    "error": _errors(scenarios, free),
    "realism": real,
    "control": control,
    "ego": ego,
  }
  return _known(result | {"claims": _claims(result)}), points


def _known(value):
  """The same with None for NaN: what nothing counts for, such as a rank among equals."""
  if isinstance(value, dict):
    return {name: _known(part) for name, part in value.items()}
  if isinstance(value, list):
    return [_known(part) for part in value]
  return None if isinstance(value, float) and np.isnan(value) else value


def _errors(scenarios: Scenarios, free: np.ndarray) -> dict[str, Any]:
  """Mean displacement in m of agents that move, by seconds from now: of the mean roll-out and of constant velocity."""
  now, steps = scenarios.observed, _seconds(scenarios)[-1]
  log = scenarios.state_CxAxTxS[:, :, now : now + steps + 1, :2]
  keep = np.full((steps, *scenarios.known_CxA.shape), motion.KEEP)
  straight = motion.decode(scenarios.state_CxAxTxS[:, :, now], keep, scenarios.dt)[..., :2]
  forecasts = {
    "simulated": free[..., now : now + steps + 1, :2].mean(0),
    "constant_velocity": np.moveaxis(straight, 0, 2),
  }
  moving = scenarios.known_CxA & (
    np.hypot(*np.moveaxis(log[:, :, -1] - log[:, :, 0], -1, 0)) > MOVING_DISTANCE
  )
  found: dict[str, Any] = {"n_agents": int(moving.sum()), "by_domain": {}}
  for name, forecast in forecasts.items():
    error_CxAxT = np.hypot(*np.moveaxis(forecast - log, -1, 0))
    at = {"one_step": 1} | {f"{h}_s": step for h, step in enumerate(_seconds(scenarios), start=1)}
    found[name] = {key: float(error_CxAxT[moving][:, step].mean()) for key, step in at.items()}
    for domain in np.unique(scenarios.domain_C):
      kept = error_CxAxT[moving & (scenarios.domain_C == domain)[:, None]]
      if len(kept):
        found["by_domain"].setdefault(str(domain), {})[name] = float(kept[:, steps].mean())
  return found


def _realism(scenarios: Scenarios, free: np.ndarray, drawn: intervals.Draws) -> dict[str, Any]:
  """By second and of the whole, with the share of the first second that is left; constant velocity beside it."""
  seconds = [0, *_seconds(scenarios)]
  spans = [slice(_LEAD + 1 + a, _LEAD + 1 + b) for a, b in itertools.pairwise(seconds)]
  spans.append(slice(_LEAD + 1, _LEAD + 1 + seconds[-1]))
  since = scenarios.observed - _LEAD

  @jax.jit
  def score(simulated_RxAxTxS, log_AxTxS, size_Ax2, known_A, ground):
    def course(state):
      return scores.courses(state, size_Ax2, known_A, ground, scenarios.dt)

    return scores.likelihoods(jax.lax.map(course, simulated_RxAxTxS), course(log_AxTxS), known_A, spans)

  def pairs_of(futures):
    found = [
      score(
        futures[:, c, :, since:], scenarios.state_CxAxTxS[c, :, since:], scenarios.windows["size_Ax2"][c],
        scenarios.known_CxA[c], jax.tree.map(lambda part, c=c: part[c], scenarios.ground),
      )
      for c in range(len(scenarios))
    ]  # fmt: skip
    return jax.tree.map(lambda *values: np.stack([np.asarray(value, np.float64) for value in values]), *found)

  def over(pairs, keep_C):
    return float(
      scores.realism_of({name: (a[keep_C].sum(), n[keep_C].sum()) for name, (a, n) in pairs.items()})
    )

  every = np.ones(len(scenarios), bool)
  own = pairs_of(free)
  sums = [{name: (_draw(a, drawn), _draw(n, drawn)) for name, (a, n) in pairs.items()} for pairs in own]
  bands = [scores.realism_of(one) for one in sums]
  straight = pairs_of(np.broadcast_to(_straight(scenarios), free.shape))
  by_second = [over(pairs, every) for pairs in own[:-1]]
  whole = {name: (a.sum(), n.sum()) for name, (a, n) in own[-1].items()}
  slices = [
    {"slice": str(domain), "realism": over(own[-1], keep), "scenarios": int(keep.sum())}
    | {"left_of_first_second": over(own[-2], keep) / over(own[0], keep)}
    for domain in np.unique(scenarios.domain_C)
    for keep in [scenarios.domain_C == domain]
  ]
  return {
    "by_second": by_second,
    "by_second_ci95": [intervals.interval(band) for band in bands[:-1]],
    "whole": over(own[-1], every),
    "whole_ci95": intervals.interval(bands[-1]),
    "left_of_first_second": by_second[-1] / by_second[0],
    "left_ci95": intervals.interval(bands[-2] / bands[0]),
    "features": {name: float(np.exp(a / n)) if n else None for name, (a, n) in whole.items()},
    "features_by_second": {
      name: [float(np.exp(p[name][0].sum() / n)) if (n := p[name][1].sum()) else None for p in own[:-1]]
      for name in realism.FEATURES
    },
    "constant_velocity": {
      "by_second": [over(pairs, every) for pairs in straight[:-1]],
      "whole": over(straight[-1], every),
    },
    "worst_slices": sorted(slices, key=lambda row: row["realism"]),
  }


def _given_ego(scenarios: Scenarios, simulate, free, draws: int, drawn: intervals.Draws) -> dict[str, Any]:
  """Encounters of the ego by who drives: shares of scenarios, and of the others that leave the road."""
  now, steps = scenarios.observed, _seconds(scenarios)[-1]
  nobody, everybody = commands.nobody(scenarios), commands.everybody_logged(scenarios)
  courses = {"log": scenarios.state_CxAxTxS[None], "free": free}
  for name, ego_moves in _EGOS.items():
    ego = ego_moves(scenarios)
    forced = commands.told(nobody, scenarios, ego)
    courses[name] = np.stack([simulate(forced, draw) for draw in range(draws)])
    if name != "replay":
      courses[f"{name}_others_logged"] = simulate(commands.told(everybody, scenarios, ego), 0)[None]

  encounters = functools.partial(scores.encounters, dt=scenarios.dt)

  @jax.jit
  def judge(state_CxAxTxS):
    parts = (
      state_CxAxTxS,
      scenarios.windows["size_Ax2"],
      scenarios.ego_C,
      scenarios.known_CxA,
      scenarios.ground,
    )
    parts = jax.tree.map(jnp.asarray, parts)
    return jax.lax.map(lambda part: encounters(*part), parts)

  found: dict[str, Any] = {}
  shares: dict[str, dict[str, tuple]] = {}
  for name, states in courses.items():
    each = [judge(state[:, :, now : now + steps + 1]) for state in states]
    mean = {
      field: np.mean([np.asarray(getattr(e, field), float) for e in each], 0) for field in each[0]._fields
    }
    ones = np.ones(len(scenarios))
    shares[name] = {field: (mean[field], ones) for field in ("contact", "hit", "close")}
    shares[name]["off_road"] = mean["off_road"], mean["others"]
    found[name] = {
      field: {
        "share": float(over.sum() / under.sum()),
        "ci95": intervals.interval(drawn.ratio(over, under)),
        "by_domain": {
          str(d): float(over[keep].sum() / under[keep].sum())
          for d in np.unique(scenarios.domain_C)
          for keep in [scenarios.domain_C == d]
          if under[keep].sum()
        },
      }
      for field, (over, under) in shares[name].items()
    }
  pairs = {"replay": "log", "free": "log", "late": "late_others_logged", "braking": "braking_others_logged"}
  for name, less in pairs.items():
    for field, (over, under) in shares[name].items():
      there = drawn.ratio(over, under) - drawn.ratio(*shares[less][field])
      found[name][field]["less"] = less
      found[name][field]["difference"] = found[name][field]["share"] - found[less][field]["share"]
      found[name][field]["difference_ci95"] = intervals.interval(there)
  return found


def _claims(result: dict[str, Any]) -> list[dict[str, Any]]:
  """What is asked for, what was found with its interval, and the `answer` of `told`."""
  control, ego, realism_ = result["control"], result["ego"], result["realism"]
  claims = []
  for kind in ("accelerate", "steer"):
    found = control[kind]["a_second_later"]
    claims.append(
      (f"Spearman of {kind}, a second later", found["spearman"], found["ci95"], ">=", LEAST_SPEARMAN)
    )
  left = realism_["left_of_first_second"], realism_["left_ci95"]
  claims.append(("realism of the last second, of the first", *left, ">=", LEAST_REALISM))
  for name, fields, what, bound in (
    ("replay", ("contact", "hit", "close", "off_road"), "more than in the log", MOST_WORSE),
    ("late", ("contact",), "more than with others that replay", 0.0),
    ("braking", ("contact",), "more than with others that replay", 0.0),
  ):
    title = "ego replay" if name == "replay" else f"{name} ego"
    for field in fields:
      found = ego[name][field]
      pair = found["difference"], found["difference_ci95"]
      claims.append((f"{title}, {field}: {what}", *pair, "<=", bound))
  return [
    {"claim": name, "found": found, "ci95": ci95, "asked": f"{sign} {bound}"}
    | {"answer": told(found, ci95, sign, bound)}
    for name, found, ci95, sign, bound in claims
  ]


def told(found: float, ci95: list[float] | None, sign: str, bound: float) -> str:
  """One of "met", "not met", "open": where the interval has the bound inside and so allows both."""
  if ci95 and ci95[0] < bound < ci95[1]:
    return "open"
  return "met" if (found >= bound if sign == ">=" else found <= bound) else "not met"


def table(result: dict[str, Any]) -> str:
  """What the program prints: the worst slices first."""
  lines = [f"{'worst slices':<44}{'realism':>9}{'left':>8}{'n':>5}"]
  lines += [
    f"  {row['slice']:<42}{row['realism']:>9.3f}{row['left_of_first_second']:>8.2f}{row['scenarios']:>5}"
    for row in result["worst_slices"]
  ]
  fields = ("contact", "hit", "close", "off_road")
  lines += ["", f"{'who drives':<28}" + "".join(f"{field:>10}" for field in fields)]
  for name, values in result["ego"].items():
    lines.append(f"{name:<28}" + "".join(f"{_shown(values[field]['share']):>10}" for field in fields))
  lines += [
    "",
    *(
      f"{c['answer']:<8}{_shown(c['found']):>8} {_band(c['ci95']):<18}{c['asked']:<8} {c['claim']}"
      for c in result["claims"]
    ),
  ]
  return "\n".join(lines)


def _shown(value: float | None) -> str:
  return "-" if value is None else f"{value:.3f}"


def _band(ci95: list[float] | None) -> str:
  return "[{:.3f}, {:.3f}]".format(*ci95) if ci95 else ""


def _seconds(scenarios: Scenarios) -> list[int]:
  """Steps after which whole seconds have passed; the margin that accelerations need is left out."""
  rate = round(1 / scenarios.dt)
  return list(range(rate, scenarios.steps - _LEAD + 1, rate))


def _straight(scenarios: Scenarios) -> np.ndarray:
  """[C, A, T, S]: as logged until now, then at constant velocity."""
  now = scenarios.observed
  keep = np.full((scenarios.steps, *scenarios.known_CxA.shape), motion.KEEP)
  ahead = motion.decode(scenarios.state_CxAxTxS[:, :, now], keep, scenarios.dt)
  return np.concatenate([scenarios.state_CxAxTxS[:, :, :now], np.moveaxis(ahead, 0, 2)], 2)


def _draw(values_C: np.ndarray, drawn: intervals.Draws) -> np.ndarray:
  """float64 [R]: the sum in every draw of scenes."""
  return drawn.counts_RxS @ np.bincount(drawn.scene_N, values_C, minlength=drawn.counts_RxS.shape[1])
