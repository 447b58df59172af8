"""A release on its way to a fleet, stage after stage: canary, groups, everybody. Pure functions of counts and time.

At every look of a stage the events of the vehicles that carry the release are counted (federated/health.py). Worse than
accepted, at any metric: it is stopped, and every vehicle is wanted back at the version it had. Within the margin at all
of them: the next stage begins, with new counts. Still open at the last look: stopped, as a doubt that was not settled.

The risk of a plan is shared out over stages, looks and metrics. So a release at the accepted rates is called worse, and
one beyond a margin leaves the canaries, with probability `risk` at most, whatever the fleet's size (Bonferroni).
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

from data.errors import BadInput
from federated.health import Limit, verdict
from federated.registry import Vehicle


@dataclasses.dataclass(frozen=True)
class Plan:
  """stages: (name, vehicles that join in it), the fleet once. interval: seconds between looks, `looks` at most."""

  release: int
  stages: tuple[tuple[str, frozenset[str]], ...]
  limits: Mapping[str, Limit]
  risk: float
  looks: int
  interval: float


@dataclasses.dataclass(frozen=True)
class Rollout:
  """before: the version of each vehicle when it began. since: when the stage did, seconds. looked: looks of it."""

  plan: Plan
  before: Mapping[str, int]
  since: float
  stage: int = 0
  looked: int = 0
  status: Literal["running", "stopped", "done"] = "running"
  reason: str = ""


def stages(
  vehicles: Sequence[Vehicle], shares: Mapping[str, float], release: int
) -> tuple[tuple[str, frozenset[str]], ...]:
  """Vehicles by stage: {"canary": 0.01, "group": 0.2, ...}, the shares of the fleet that join; the last has the rest.

  Every stage has a vehicle of each platform, rig and region as long as there are any, so that the canaries see what
  the fleet will. Who is a canary changes from release to release.
  """
  if not shares or min(shares.values()) <= 0 or sum(shares.values()) > 1 + 1e-9:
    raise BadInput(
      f"shares of the fleet are {dict(shares)}", "rollout stages", "give shares above 0, 1 in all"
    )
  kinds: dict[tuple[str, str, str], list[str]] = {}
  for vehicle in vehicles:
    kinds.setdefault((vehicle.platform, vehicle.rig, vehicle.region), []).append(vehicle.name)
  joined: dict[str, set[str]] = {name: set() for name in shares}
  *first, last = shares
  for names in kinds.values():
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{release}/{name}".encode()).digest())
    for stage in first:
      taken = max(1, round(shares[stage] * len(names)))
      joined[stage] |= set(drawn[:taken])
      drawn = drawn[taken:]
    joined[last] |= set(drawn)
  return tuple((name, frozenset(own)) for name, own in joined.items() if own)


def begin(plan: Plan, before: Mapping[str, int], now: float) -> Rollout:
  """Raises BadInput for stages that do not part the fleet, and for vehicles that have the release or a newer one."""
  named = [name for _, own in plan.stages for name in own]
  if sorted(named) != sorted(before):
    odd = sorted(set(named) ^ set(before)) or sorted({name for name in named if named.count(name) > 1})
    raise BadInput(f"{odd[0]} is not in exactly one stage", f"release {plan.release}", "deal the fleet once")
  for name, version in before.items():
    if version >= plan.release:
      raise BadInput(f"{name} has version {version} already", f"release {plan.release}", "leave it out")
  if not plan.limits or plan.looks < 1 or not 0 < plan.risk < 0.5:
    what = f"{len(plan.limits)} limits, {plan.looks} looks at a risk of {plan.risk:g}"
    raise BadInput(what, f"release {plan.release}", "give a limit, a look and a risk between 0 and 0.5")
  return Rollout(plan, before, now)


def carriers(rollout: Rollout) -> frozenset[str]:
  """Vehicles that are to carry the release."""
  if rollout.status == "stopped":
    return frozenset()
  return frozenset().union(*(own for _, own in rollout.plan.stages[: rollout.stage + 1]))


def wanted(rollout: Rollout, vehicle: str) -> int:
  """The version that a vehicle is to have now: what it polls for, whenever it is reached."""
  return rollout.plan.release if vehicle in carriers(rollout) else rollout.before[vehicle]


def look(rollout: Rollout, counts: Mapping[str, tuple[int, int]], now: float) -> Rollout:
  """The roll-out after a look at {metric: (events, trials)} of the carriers since the stage began.

  Too early, or no longer running: as it was. Raises BadInput for a metric that is missing.
  """
  plan = rollout.plan
  if rollout.status != "running" or now < rollout.since + (rollout.looked + 1) * plan.interval:
    return rollout
  for name in plan.limits:
    if name not in counts:
      raise BadInput(f"says nothing of {name}", f"release {plan.release}", "count every metric of the plan")
  name, risk = plan.stages[rollout.stage][0], plan.risk / (len(plan.stages) * plan.looks * len(plan.limits))
  found = {metric: verdict(limit, *counts[metric], risk) for metric, limit in plan.limits.items()}
  told = f"{name}, look {rollout.looked + 1}: " + "; ".join(f"{m} {why}" for m, (_, why) in found.items())
  said = {one for one, _ in found.values()}
  if "worse" in said:
    return dataclasses.replace(rollout, status="stopped", reason=f"worse in {told}")
  if said == {"fine"}:
    if rollout.stage + 1 == len(plan.stages):
      return dataclasses.replace(rollout, status="done", reason=f"fine in {told}")
    return dataclasses.replace(
      rollout, stage=rollout.stage + 1, looked=0, since=now, reason=f"fine in {told}"
    )
  if rollout.looked + 1 == plan.looks:
    return dataclasses.replace(rollout, status="stopped", reason=f"unsettled in {told}")
  return dataclasses.replace(rollout, looked=rollout.looked + 1, reason=f"open in {told}")
