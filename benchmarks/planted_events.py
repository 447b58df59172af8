"""Rare events, planted: scenes in which one vehicle does what no simulated driver does, for a few seconds.

Every kind is (scene, agent, first frame, random numbers) -> the scene of one window with the event in it, or None where
the agent does not drive fast enough, or is not there for long enough.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from data.schema import AgentType, Scene
from data.windows import Window, WindowConfig, windows_of

FAST = 8.0  # m/s that a vehicle drives at least, all through the window


def piece(scene: Scene, first: int, frames: int) -> Scene:
  span = slice(first, first + frames)
  names = ("position_TxAx2", "heading_TxA", "velocity_TxAx2", "valid_TxA", "lane_TxA", "signal_TxL")
  return dataclasses.replace(scene, **{name: getattr(scene, name)[span].copy() for name in names})


def _moved(scene: Scene, agent: int, xy_Tx2: np.ndarray, heading_T: np.ndarray) -> Scene:
  """The piece with an agent elsewhere; its speeds are those of its path."""
  ahead = np.stack([np.cos(heading_T), np.sin(heading_T)], -1)
  speed = np.hypot(*np.diff(xy_Tx2, axis=0, append=2 * xy_Tx2[-1:] - xy_Tx2[-2:-1]).T) / scene.metadata.dt
  scene.position_TxAx2[:, agent], scene.heading_TxA[:, agent] = xy_Tx2, heading_T
  scene.velocity_TxAx2[:, agent] = speed[:, None] * ahead
  return scene


def _along(track: tuple[np.ndarray, np.ndarray], at_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """A track (positions, headings) at other frames, not whole ones either."""
  xy, heading = track
  frame = np.arange(len(xy))
  there = np.stack([np.interp(at_T, frame, xy[:, k]) for k in range(2)], -1)
  return there, np.interp(at_T, frame, np.unwrap(heading))


def _track(scene: Scene, agent: int) -> tuple[np.ndarray, np.ndarray]:
  return scene.position_TxAx2[:, agent].astype(np.float64), scene.heading_TxA[:, agent].astype(np.float64)


def emergency_stop(whole: Scene, agent: int, first: int, frames: int, rng) -> Scene | None:
  """Brakes at 7 m/s^2 to a standstill, where nothing is ahead that asks for it."""
  scene = piece(whole, first, frames)
  dt, begin = scene.metadata.dt, int(rng.integers(3, 7))
  speed = np.hypot(*scene.velocity_TxAx2[begin, agent])
  past = np.maximum(np.arange(frames) - begin, 0) * dt
  driven = np.where(past < speed / 7, speed * past - 3.5 * past**2, speed**2 / 14)
  return _moved(
    scene, agent, *_along(_track(scene, agent), np.minimum(np.arange(frames), begin) + driven / (speed * dt))
  )


def swerve(whole: Scene, agent: int, first: int, frames: int, rng) -> Scene | None:
  """Leaves its course by 3 m and comes back within three seconds."""
  scene = piece(whole, first, frames)
  begin, lasts = int(rng.integers(2, 8)), round(3 / scene.metadata.dt)
  phase = np.clip((np.arange(frames) - begin) / lasts, 0, 1)
  xy, heading = _track(scene, agent)
  side = 3.0 * np.sin(np.pi * phase) ** 2 * rng.choice([-1, 1])
  xy = xy + side[:, None] * np.stack([-np.sin(heading), np.cos(heading)], -1)
  return _moved(scene, agent, xy, _courses(xy))


def _courses(xy_Tx2: np.ndarray) -> np.ndarray:
  step = np.gradient(xy_Tx2, axis=0)
  return np.arctan2(step[:, 1], step[:, 0])


def wrong_way(whole: Scene, agent: int, first: int, frames: int, rng) -> Scene | None:
  """Drives its own way from the end to the beginning, against the traffic."""
  del rng
  scene = piece(whole, first, frames)
  xy, heading = _track(scene, agent)
  scene.lane_TxA[:, agent] = scene.lane_TxA[::-1, agent].copy()
  return _moved(scene, agent, xy[::-1], heading[::-1] + np.pi)


def racing(whole: Scene, agent: int, first: int, frames: int, rng) -> Scene | None:
  """Drives its way 1.7 times as fast as everybody would."""
  del rng
  longer = piece(whole, first, round(1.7 * frames) + 1)
  if len(longer.valid_TxA) < 1.7 * frames or not longer.valid_TxA[:, agent].all():
    return None
  return _moved(piece(whole, first, frames), agent, *_along(_track(longer, agent), 1.7 * np.arange(frames)))


def jitter(whole: Scene, agent: int, first: int, frames: int, rng) -> Scene | None:
  """Its positions are those of a tracker at fault: 1 m of noise for three seconds."""
  scene = piece(whole, first, frames)
  begin, lasts = int(rng.integers(2, 8)), round(3 / scene.metadata.dt)
  xy, _ = _track(scene, agent)
  xy[begin : begin + lasts] += rng.normal(size=(lasts, 2))
  scene.position_TxAx2[:, agent] = xy
  return scene


def pedestrian(whole: Scene, agent: int, first: int, frames: int, rng) -> Scene | None:
  """In place of a vehicle, somebody who walks across a road on which nobody walks."""
  if whole.metadata.domain not in ("highway", "rural"):
    return None
  scene = piece(whole, first, frames)
  xy, heading = _track(scene, agent)
  across = heading[0] + rng.choice([-1, 1]) * np.pi / 2
  walked = 1.4 * scene.metadata.dt * (np.arange(frames) - frames / 3)
  ahead = np.stack([np.cos(across), np.sin(across)])
  scene = _moved(scene, agent, xy[:1] + walked[:, None] * ahead[None], np.full(frames, across))
  kind, size = scene.type_A.copy(), scene.size_Ax2.copy()
  kind[agent], size[agent] = AgentType.PEDESTRIAN, 0.5
  return dataclasses.replace(scene, type_A=kind, size_Ax2=size)


def leaves_the_road(whole: Scene, agent: int, first: int, frames: int, rng) -> Scene | None:
  """Its course turns off by 15 degrees and goes straight on."""
  scene = piece(whole, first, frames)
  begin = int(rng.integers(3, 8))
  xy, heading = _track(scene, agent)
  off = heading[begin] + rng.choice([-1, 1]) * np.radians(15)
  driven = np.hypot(*np.diff(xy, axis=0).T)[begin:].cumsum()
  xy[begin + 1 :] = xy[begin] + driven[:, None] * np.array([[np.cos(off), np.sin(off)]])
  return _moved(scene, agent, xy, _courses(xy))


def weaves(whole: Scene, agent: int, first: int, frames: int, rng) -> Scene | None:
  """Swings by a metre to either side of its course, every four seconds."""
  scene = piece(whole, first, frames)
  xy, heading = _track(scene, agent)
  side = np.sin(2 * np.pi * (np.arange(frames) * scene.metadata.dt / 4 + rng.random()))
  xy = xy + side[:, None] * np.stack([-np.sin(heading), np.cos(heading)], -1)
  return _moved(scene, agent, xy, _courses(xy))


def breakdown(whole: Scene, agent: int, first: int, frames: int, rng) -> Scene | None:
  """Stands on a road on which everybody drives."""
  del rng
  if whole.metadata.domain not in ("highway", "rural"):
    return None
  scene = piece(whole, first, frames)
  xy, heading = _track(scene, agent)
  scene.lane_TxA[:, agent] = scene.lane_TxA[0, agent]
  return _moved(scene, agent, np.repeat(xy[:1], frames, 0), np.repeat(heading[:1], frames))


# The first were at hand when scores were formed, on other worlds; the others have been planted in the last run alone.
KNOWN: dict[str, Callable] = {
  "emergency stop": emergency_stop, "swerve": swerve, "wrong way": wrong_way, "racing": racing,
  "tracker at fault": jitter, "pedestrian on a fast road": pedestrian,
}  # fmt: skip
NEW: dict[str, Callable] = {"leaves the road": leaves_the_road, "weaves": weaves, "breakdown": breakdown}
KINDS = KNOWN | NEW


def windows(
  kinds: dict[str, Callable],
  scenes: list[Scene],
  domains: tuple[str, ...],
  config: WindowConfig,
  each: int,
  rng,
) -> list[tuple[str, Window]]:
  """`each` windows of every kind, every one with its event in it, in scenes drawn at random."""
  frames, found = config.steps + 1, []
  for kind, plant in kinds.items():
    have = 0
    for _ in range(200 * each):
      if have == each:
        break
      whole = scenes[rng.integers(len(scenes))]
      first = config.steps * int(rng.integers(0, max(1, (len(whole.valid_TxA) - 1) // config.steps)))
      agent = _driver(whole, first, frames, rng)
      planted = None if agent is None else plant(whole, agent, first, frames, rng)
      if planted is None:
        continue
      made = windows_of(planted, config, domains.index(whole.metadata.domain))
      bearing = [w for w in made if ((w["agent_A"] == agent) & (w["group_A"] > 0)).any()]
      if len(bearing) == 1:
        found.append((kind, bearing[0]))
        have += 1
    if have < each:
      raise ValueError(f"{have} of {each} events of kind {kind!r} could be planted")
  return found


def _driver(scene: Scene, first: int, frames: int, rng) -> int | None:
  """A car that drives fast all through the window; None where there is none."""
  span = slice(first, first + frames)
  if len(scene.valid_TxA[span]) < frames:
    return None
  speed = np.hypot(scene.velocity_TxAx2[span, :, 0], scene.velocity_TxAx2[span, :, 1])
  there = scene.valid_TxA[span].all(0) & (speed > FAST).all(0) & (scene.type_A == AgentType.CAR)
  return int(rng.choice(np.flatnonzero(there))) if there.any() else None
