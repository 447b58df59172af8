"""A street scene for sensor tests: two lanes, a junction with a light, a crossing, a sidewalk, traffic of all kinds."""

import dataclasses

import numpy as np

from data.schema import AgentType, Lanes, LaneType, Metadata, Scene, Signal

STEPS, DT = 16, 0.5
# (type, start x, y, speed x, length, width); the ego is the first.
_AGENTS = (
  (AgentType.CAR, 0.0, 0.0, 8.0, 4.5, 1.8),
  (AgentType.CAR, 22.0, 0.0, 7.0, 4.2, 1.8),
  (AgentType.BUS, 12.0, 3.5, 9.0, 11.0, 2.5),
  (AgentType.BICYCLE, -9.0, 3.5, 6.0, 1.8, 0.6),
  (AgentType.PEDESTRIAN, 14.0, -4.0, 1.0, 0.5, 0.5),
  (AgentType.TRUCK, -25.0, 0.0, 8.0, 9.0, 2.4),
)


def town(**metadata) -> Scene:
  """Everybody drives along +x; the ego's neighbours stay within the grid."""
  t = DT * np.arange(STEPS)[:, None]
  kind, x, y, speed, length, width = (np.array(column) for column in zip(*_AGENTS, strict=True))
  position = np.stack([x + speed * t, y + 0 * t], -1).astype(np.float32)
  count = len(_AGENTS)
  runs = [
    ((-150, 0), (60, 0)), ((-150, 3.5), (60, 3.5)), ((60, 0), (80, 0)), ((80, 0), (300, 0)),
    ((-150, -4), (300, -4)), ((25, -5), (25, 6)),
  ]  # fmt: skip
  lanes = Lanes(
    xy_Nx2=np.array(runs, np.float32).reshape(-1, 2), splits=np.arange(0, 13, 2, dtype=np.int32),
    width_L=np.array([3.5, 3.5, 3.5, 3.5, 2, 3], np.float32), speed_limit_L=np.full(6, 14, np.float32),
    type_L=np.array([LaneType.ROAD, LaneType.ROAD, LaneType.JUNCTION, LaneType.ROAD, LaneType.WALK, LaneType.WALK],
                    np.uint8),
    road_L=np.array([0, 0, 1, 2, 3, 4], np.int32), successor_Ex2=np.array([(0, 2), (2, 3)], np.int32),
    left_L=np.array([1, -1, -1, -1, -1, -1], np.int32), right_L=np.array([-1, 0, -1, -1, -1, -1], np.int32),
  )  # fmt: skip
  signal = np.zeros((STEPS, 6), np.uint8)
  signal[:, 0] = Signal.RED
  values = {
    "scene_id": "town", "source": "test", "domain": "town", "geography": "", "route": "", "map_id": "town",
    "recording": "town", "start_s": -1.0, "dt": DT, "weather": "clear", "light": "day",
  } | metadata  # fmt: skip
  lane_A = np.array([0, 0, 1, 1, 4, 0], np.int32)
  return Scene(
    Metadata(**values), lanes, position, np.zeros((STEPS, count), np.float32),
    np.tile(np.stack([speed, 0 * speed], -1).astype(np.float32), (STEPS, 1, 1)), np.ones((STEPS, count), bool),
    np.tile(lane_A, (STEPS, 1)), np.stack([length, width], -1).astype(np.float32), kind.astype(np.uint8),
    np.arange(count, dtype=np.int64), np.zeros(0, np.int32), np.zeros(count + 1, np.int32), signal,
  )  # fmt: skip


def moved(scene: Scene, angle: float, offset: tuple[float, float]) -> Scene:
  """The same scene turned about the origin by `angle` rad and shifted."""
  cos, sin = np.cos(angle), np.sin(angle)
  turn = np.array([[cos, sin], [-sin, cos]])
  return dataclasses.replace(
    scene,
    lanes=dataclasses.replace(
      scene.lanes, xy_Nx2=(scene.lanes.xy_Nx2 @ turn + np.array(offset)).astype(np.float32)
    ),
    position_TxAx2=(scene.position_TxAx2 @ turn + np.array(offset)).astype(np.float32),
    velocity_TxAx2=(scene.velocity_TxAx2 @ turn).astype(np.float32),
    heading_TxA=(scene.heading_TxA + angle).astype(np.float32),
  )
