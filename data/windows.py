"""Training windows: fixed-shape pieces of a scene, agents packed into slots.

A window holds `steps` moves of up to `agents` agents. The agents of a scene are cut into groups of
neighbours (ego first, then by distance); several small groups share a window so that few slots stay empty,
and nobody sees across groups. Each group has its own frame: origin and heading of its ego at the start.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from data import context, lanes, motion, paths, pushes, records
from data.errors import BadInput
from data.schema import LaneType, Scene, Signal

Window = dict[str, np.ndarray]

PATH_MARGIN = 110.0  # m beyond what the initial speed covers: acceleration and look-ahead
MOVING = 2.0  # m an agent must travel in the window to be reported as moving


@dataclasses.dataclass(frozen=True)
class WindowConfig:
  """Attributes:
  dt: seconds per move. steps: moves. agents: slots. points: path points. stops: signals kept per path.
  phases: windows start at this many different frames of a token period (logs faster than the tokens).
  least_moves: an agent with fewer in a window gets no slot there and is not seen by the others.
  """

  kind: ClassVar[str] = "windows"

  dt: float
  steps: int
  agents: int
  points: int
  stops: int
  phases: int
  least_moves: int

  @property
  def parts(self) -> dict[str, records.Spec]:
    """Kind of record to the arrays it holds, name to (shape, dtype); units as in data.context and data.motion.

    Training reads "windows" alone; "rollouts" holds what a roll-out needs besides, of the same windows.
    """
    t, a, p, q = self.steps, self.agents, self.points, self.stops
    return {
      "windows": {
        "tokens_TxA": ((t, a), np.int16),
        "valid_TxA": ((t, a), np.bool_),  # the agent is there and seen by others
        "mask_TxA": ((t, a), np.bool_),  # its move exists and is supervised
        "moving_A": ((a,), np.bool_),
        "features_TxAxF": ((t, a, context.FEATURES), np.float16),
        "group_A": ((a,), np.uint8),  # 0: empty slot
        "type_A": ((a,), np.uint8),
        "domain": ((), np.uint8),
        "scene": ((), np.int32),  # which records belong together, see data.datasets: never a model's input
      },
      "rollouts": {
        "agent_A": ((a,), np.int32),  # its column in the scene
        "state_TxAxS": ((t, a, motion.STATE), np.float32),
        "truth_TxAx2": ((t + 1, a, 2), np.float32),  # logged positions, not quantised
        "size_Ax2": ((a, 2), np.float32),
        "path_AxPx2": ((a, p, 2), np.float32),
        "spacing_A": ((a,), np.float32),
        "limit_AxP": ((a, p), np.float16),
        "junction_AxP": ((a, p), np.uint8),
        "stop_AxQ": ((a, q), np.float32),
        "signal_TxAxQ": ((t, a, q), np.uint8),
      },
    }

  @property
  def spec(self) -> records.Spec:
    """Every array of a window, over all parts."""
    return {name: kind for part in self.parts.values() for name, kind in part.items()}

  def tokens(self, window: Window) -> int:
    """Supervised moves."""
    return int(window["mask_TxA"].sum())


def windows_of(scene: Scene, config: WindowConfig, domain: int, pushed: float = 0.0) -> list[Window]:
  """Cuts a scene into windows; a scene shorter than one window gives one, partly masked.

  pushed: share of agents that data.pushes moves aside now and then, for training.
  """
  stride = round(config.dt / scene.metadata.dt)
  if stride < 1 or abs(stride * scene.metadata.dt - config.dt) > 1e-6:
    raise BadInput(
      f"metadata.dt {scene.metadata.dt} s does not divide the token period {config.dt} s",
      scene.metadata.scene_id,
      "choose a period that is a multiple of the log's",
    )
  windows = []
  for phase in range(min(config.phases, stride)):
    frames = np.arange(phase * stride // min(config.phases, stride), len(scene.valid_TxA), stride)
    velocity_TxAx2, scene_id = scene.velocity_TxAx2[frames], scene.metadata.scene_id
    moves = motion.encode(
      scene.position_TxAx2[frames],
      scene.heading_TxA[frames],
      velocity_TxAx2,
      scene.valid_TxA[frames],
      config.dt,
      pushes.draw(scene_id, np.hypot(velocity_TxAx2[..., 0], velocity_TxAx2[..., 1]), pushed)
      if pushed
      else None,
    )
    rows = [
      row
      for start in range(0, max(len(frames) - config.least_moves, 1), config.steps)
      for row in _rows(scene, frames, moves, start, config)
    ]
    windows += _pack(rows, config, domain)
  return windows


def surroundings(window: Window, step_axis: bool = True) -> context.Surroundings:
  """The context arrays of stacked windows [N, ...]; `step_axis` adds the broadcasting time axis."""

  def still(value):
    return value[:, None] if step_axis else value

  return context.Surroundings(
    size=still(window["size_Ax2"]),
    group=still(window["group_A"]),
    path=still(window["path_AxPx2"]),
    spacing=still(window["spacing_A"]),
    limit=still(window["limit_AxP"].astype(np.float32)),
    junction=still(window["junction_AxP"]),
    stop=still(window["stop_AxQ"]),
    signal=window["signal_TxAxQ"],
  )


def groups(position_Nx2: np.ndarray, size: int) -> list[np.ndarray]:
  """Cuts N positions into spatially compact index groups of at most `size`.

  The first group holds agent 0 and its nearest; the rest is bisected along its longer axis into nearly
  equal parts, so that leaders and followers mostly stay together.
  """
  order = np.hypot(*(position_Nx2 - position_Nx2[0]).T).argsort(kind="stable")
  rest = [np.sort(order[size:])]
  done = [order[:size]]
  while rest:
    part = rest.pop()
    if len(part) <= size:
      if len(part):
        centre = position_Nx2[part].mean(0)
        ego = part[np.hypot(*(position_Nx2[part] - centre).T).argmin()]
        done.append(part[np.hypot(*(position_Nx2[part] - position_Nx2[ego]).T).argsort(kind="stable")])
      continue
    points = position_Nx2[part]
    axis = int(np.ptp(points, 0).argmax())
    pieces = -(-len(part) // size)
    cut = len(part) * (pieces // 2) // pieces
    along = part[points[:, axis].argsort(kind="stable")]
    rest += [along[:cut], along[cut:]]
  return done


def _rows(scene, frames, moves, start, config) -> list[Window]:
  """The groups of one time slice, as unpacked windows with as many slots as agents."""
  span = slice(start, start + config.steps)
  mask, valid = moves.mask_TxA[span], scene.valid_TxA[frames[span]]
  agents = np.flatnonzero(valid.any(0) & (mask.sum(0) >= min(config.least_moves, len(mask))))
  if not len(agents):
    return []
  first = valid[:, agents].argmax(0)
  place = moves.state_TxAxS[start + first, agents, :2]
  return [
    _row(scene, frames, moves, start, agents[members], first[members], config)
    for members in groups(place, config.agents)
  ]


def _row(scene, frames, moves, start, agents, first, config) -> Window:
  steps, count = config.steps, len(agents)
  here = frames[start : start + steps]
  row = {}
  for name, (shape, dtype) in config.spec.items():
    axis = _agent_axis(name)
    row[name] = np.zeros([count if i == axis else n for i, n in enumerate(shape)], dtype)
  length = len(here)
  state = moves.state_TxAxS[start : start + length, agents]
  mask = moves.mask_TxA[start : start + length, agents]
  valid = scene.valid_TxA[here][:, agents]
  ego = state[first[0], 0]
  row["tokens_TxA"][:length] = moves.tokens_TxA[start : start + length, agents]
  row["valid_TxA"][:length], row["mask_TxA"][:length] = valid, mask
  row["state_TxAxS"][:length] = np.where(valid[..., None], _to_frame(state, ego), 0)
  after = frames[start : start + steps + 1]
  truth = _to_frame_points(scene.position_TxAx2[after][:, agents], ego)
  row["truth_TxAx2"][: len(after)] = np.where(scene.valid_TxA[after][:, agents, None], truth, 0)
  travelled = (mask * state[..., motion.SPEED]).sum(0) * config.dt
  row["moving_A"][:] = travelled > MOVING
  row["agent_A"][:], row["type_A"][:] = agents, scene.type_A[agents]
  row["size_Ax2"][:] = scene.size_Ax2[agents]
  row["stop_AxQ"][:] = context.FAR
  for slot, (agent, t) in enumerate(zip(agents, first, strict=True)):
    _path_into(row, slot, scene, here, agent, t, state[t, slot], ego, config)
  return row


def _path_into(row, slot, scene, here, agent, t, state, ego, config):
  """Fills the planned path of one agent, known from its lane and route at its first move."""
  lane = int(scene.lane_TxA[here[t], agent])
  if lane < 0 or scene.lanes.type_L[lane] == LaneType.WALK:
    return
  route = scene.route[scene.route_splits[agent] : scene.route_splits[agent + 1]]
  wanted = PATH_MARGIN + float(state[motion.SPEED]) * config.steps * config.dt
  path = lanes.follow(scene.lanes, lane, state[:2], route, wanted, scene.type_A[agent])
  if path.length < 2.0:
    return
  signal_TxL = scene.signal_TxL[here]
  planned = paths.sample(scene.lanes, path, (signal_TxL != Signal.NONE).any(0), config.points, config.stops)
  row["path_AxPx2"][slot] = _to_frame_points(planned.xy_Px2, ego)
  row["spacing_A"][slot] = planned.spacing
  row["limit_AxP"][slot], row["junction_AxP"][slot] = planned.limit_P, planned.junction_P
  row["stop_AxQ"][slot] = planned.stop_Q
  shown = planned.light_Q >= 0
  row["signal_TxAxQ"][: len(here), slot, shown] = signal_TxL[:, planned.light_Q[shown]]


def _pack(rows: list[Window], config: WindowConfig, domain: int) -> list[Window]:
  """First fit, largest first: groups into windows, then the features of all windows at once."""
  bins: list[list[Window]] = []
  for row in sorted(rows, key=lambda r: -len(r["type_A"])):
    need = len(row["type_A"])
    home = next((b for b in bins if sum(len(r["type_A"]) for r in b) + need <= config.agents), None)
    if home is None:
      bins.append([row])
    else:
      home.append(row)
  windows = [_join(b, config, domain) for b in bins]
  for start in range(0, len(windows), 16):  # bounds the memory of the pairwise geometry
    chunk = windows[start : start + 16]
    stacked = {name: np.stack([w[name] for w in chunk]) for name in chunk[0]}
    seen = context.features(stacked["state_TxAxS"], stacked["valid_TxA"], surroundings(stacked))
    for window, value in zip(chunk, seen, strict=True):
      window["features_TxAxF"] = value.astype(np.float16)
  return windows


def _join(rows: list[Window], config: WindowConfig, domain: int) -> Window:
  window: Window = {name: np.zeros(shape, dtype) for name, (shape, dtype) in config.spec.items()}
  window["domain"] = np.asarray(domain, np.uint8)
  window["stop_AxQ"][:] = context.FAR
  slot = 0
  for number, row in enumerate(rows, start=1):
    into = slice(slot, slot + len(row["type_A"]))
    for name, (shape, _) in config.spec.items():
      axis = _agent_axis(name)
      if axis is not None and shape:
        window[name][(slice(None),) * axis + (into,)] = row[name]
    window["group_A"][into] = number
    slot = into.stop
  return window


def _agent_axis(name: str) -> int | None:
  """Where the agents are in an array named by its axes."""
  axes = name.rpartition("_")[2].split("x")
  return axes.index("A") if "A" in axes else None


def _to_frame(state, ego):
  turned = state.copy()
  turned[..., :2] = _to_frame_points(state[..., :2], ego)
  turned[..., motion.HEADING] = motion.wrap(state[..., motion.HEADING] - ego[motion.HEADING])
  return turned


def _to_frame_points(points, ego):
  cos, sin = np.cos(ego[motion.HEADING]), np.sin(ego[motion.HEADING])
  offset = points - ego[:2]
  return np.stack([offset @ [cos, sin], offset @ [-sin, cos]], -1).astype(np.float32)
