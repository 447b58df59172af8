"""Argoverse 2 motion-forecasting scenarios (parquet and map JSON) to scenes.

B. Wilson et al., "Argoverse 2: Next Generation Datasets for Self-Driving Perception and Forecasting", NeurIPS
Datasets and Benchmarks 2021, arXiv:2301.00493. One directory per scenario holds `scenario_<id>.parquet` and
`log_map_archive_<id>.json`. 110 frames at 10 Hz in city coordinates.

The ego is the recording vehicle (track "AV") when present, else the focal track. The map gives neither speed
limits nor traffic lights: limits are defaults by lane type and signals are unknown. Tracks were built offline
from the whole recording, hence `label_horizon_s` is the length of the scenario.
"""

import json
import os
import pathlib

import numpy as np

from data import lanes as lane_geometry
from data.errors import BadInput
from data.schema import AgentType, Lanes, LaneType, Metadata, Scene, speed_regime, validate

DT = 0.1  # s
MATCH_DISTANCE = 3.0  # m
_MAX_STEPS = 100_000
_MAX_MAP_BYTES = 256 * 2**20
_FIX = "fetch the scenario again or take it out of the directory"
_COLUMNS = {
  "track_id": "string", "object_type": "string", "timestep": "int64", "position_x": "float64",
  "position_y": "float64", "heading": "float64", "velocity_x": "float64", "velocity_y": "float64",
  "scenario_id": "string", "focal_track_id": "string", "city": "string",
}  # fmt: skip
_OPTIONAL = {"start_timestamp": "float64", "map_id": "string"}
_AGENTS = {  # type, and the usual (length, width) in m: the data set gives no boxes
  "vehicle": (AgentType.CAR, 4.6, 2.0), "bus": (AgentType.BUS, 11.0, 2.8),
  "motorcyclist": (AgentType.MOTORCYCLE, 2.2, 0.9), "cyclist": (AgentType.BICYCLE, 1.8, 0.7),
  "riderless_bicycle": (AgentType.OTHER, 1.8, 0.7), "pedestrian": (AgentType.PEDESTRIAN, 0.6, 0.6),
}  # fmt: skip
_OTHER = (AgentType.OTHER, 1.0, 1.0)
_LANES = {  # type and default speed limit in m/s
  "VEHICLE": (LaneType.ROAD, 13.4), "BUS": (LaneType.ROAD, 13.4), "BIKE": (LaneType.BIKE, 8.0),
}  # fmt: skip


def find(directory: os.PathLike | str) -> list[pathlib.Path]:
  """All scenario parquet files below a directory, sorted; none raises BadInput."""
  paths = sorted(pathlib.Path(directory).rglob("scenario_*.parquet"))
  if not paths:
    raise BadInput("holds no scenario_*.parquet", directory, "give the motion-forecasting directory")
  return paths


def read(path: os.PathLike | str) -> Scene:
  """One scenario to one scene at 10 Hz; the map must lie beside it. BadInput names file, field and remedy."""
  path = pathlib.Path(path)
  rows = _read_table(path)
  scenario, city = str(rows["scenario_id"][0]), str(rows["city"][0])
  for name in ("scenario_id", "focal_track_id", "city"):
    if (rows[name] != rows[name][0]).any():
      raise BadInput(f"{name} changes within the file", path, _FIX)
  step = rows["timestep"]
  if step.min() < 0 or step.max() >= _MAX_STEPS:
    raise BadInput(f"timestep spans {step.min()} to {step.max()}", path, _FIX)
  # Tracks in the order of their first row, the ego first.
  names, first, agent = np.unique(rows["track_id"], return_index=True, return_inverse=True)
  order = first.argsort()
  ego = "AV" if "AV" in names else str(rows["focal_track_id"][0])
  order = np.array(sorted(order, key=lambda i: str(names[i]) != ego))
  if str(names[order[0]]) != ego:
    raise BadInput(f"focal_track_id {ego!r} has no row", path, _FIX)
  column = order.argsort()[agent.ravel()]
  steps, agents = int(step.max()) + 1, len(names)
  if len(np.unique(step * agents + column)) < len(step):
    raise BadInput("a track_id has two rows for one timestep", path, _FIX)

  position, velocity = np.zeros((2, steps, agents, 2), np.float32)
  heading, valid = np.zeros((steps, agents), np.float32), np.zeros((steps, agents), bool)
  position[step, column] = np.stack([rows["position_x"], rows["position_y"]], -1)
  velocity[step, column] = np.stack([rows["velocity_x"], rows["velocity_y"]], -1)
  heading[step, column], valid[step, column] = rows["heading"], True
  lanes = _read_lanes(path.with_name(f"log_map_archive_{path.stem.removeprefix('scenario_')}.json"))
  lane = np.full((steps, agents), -1, np.int32)
  lane[valid] = lane_geometry.match_lanes(position[valid], heading[valid], lanes, MATCH_DISTANCE)

  kinds = [_AGENTS.get(str(kind), _OTHER) for kind in rows["object_type"][first[order]]]
  identity = np.array([int(n) if str(n).isdigit() else -1 for n in names[order]], np.int64)
  map_id = str(rows["map_id"][0]) if "map_id" in rows else scenario
  start = float(rows["start_timestamp"][0]) * 1e-9 if "start_timestamp" in rows else 0.0
  metadata = Metadata(
    scene_id=scenario, source="argoverse2", domain=city, geography=city, route=f"{city}-{map_id}",
    map_id=f"{city}-{map_id}", recording=f"{city}-{map_id}", start_s=start, dt=DT,
    speed_regime=speed_regime(np.hypot(velocity[..., 0], velocity[..., 1])[valid]),
    label_horizon_s=round((steps - 1) * DT, 3),
  )  # fmt: skip
  scene = Scene(
    metadata, lanes, position, heading, velocity, valid, lane,
    size_Ax2=np.array([kind[1:] for kind in kinds], np.float32),
    type_A=np.array([kind[0] for kind in kinds], np.uint8), track_A=identity,
    route=np.zeros(0, np.int32), route_splits=np.zeros(agents + 1, np.int32),
    signal_TxL=np.zeros((steps, len(lanes)), np.uint8),
  )  # fmt: skip
  return validate(scene, path)


def _read_table(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Columns by name, cast and free of nulls and NaN."""
  import pyarrow
  import pyarrow.parquet

  try:
    file = pyarrow.parquet.ParquetFile(path)
    known = set(file.schema_arrow.names)
    if missing := [name for name in _COLUMNS if name not in known]:
      raise BadInput(f"has no column {missing[0]}", path, _FIX)
    wanted = _COLUMNS | {name: kind for name, kind in _OPTIONAL.items() if name in known}
    if file.metadata.num_rows > _MAX_STEPS * 100:
      raise BadInput(f"holds {file.metadata.num_rows} rows", path, _FIX)
    table = file.read(columns=list(wanted))
    columns = {name: table[name].cast(kind).combine_chunks() for name, kind in wanted.items()}
  except BadInput:
    raise
  except (OSError, pyarrow.ArrowException) as error:
    raise BadInput(f"not readable as parquet ({str(error).splitlines()[0]})", path, _FIX) from None
  if not len(table):
    raise BadInput("holds no row", path, _FIX)
  rows = {}
  for name, column in columns.items():
    rows[name] = column.to_numpy(zero_copy_only=False)
    bad = column.null_count or (rows[name].dtype.kind == "f" and not np.isfinite(rows[name]).all())
    if bad:
      raise BadInput(f"column {name} holds nulls, NaN or infinity", path, _FIX)
  return rows


def _read_lanes(path: pathlib.Path) -> Lanes:
  """Lane segments in file order. Neighbours that run the other way or are of another kind do not count."""
  try:
    if path.stat().st_size > _MAX_MAP_BYTES:
      raise BadInput(f"larger than {_MAX_MAP_BYTES >> 20} MiB", path, _FIX)
    segments = list(json.loads(path.read_text(encoding="utf-8"))["lane_segments"].values())
  except OSError as error:
    raise BadInput(f"map not readable ({error.strerror})", path, "put it beside the scenario") from None
  except (
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    json.JSONDecodeError,
    UnicodeDecodeError,
  ) as error:
    raise BadInput(f"holds no lane_segments ({type(error).__name__})", path, _FIX) from None
  if not segments:
    raise BadInput("lane_segments is empty", path, _FIX)
  index: dict[int, int] = {}
  centres, width, kind, limit, links = [], [], [], [], []
  for i, segment in enumerate(segments):
    try:
      lane = int(segment["id"])
      left, right = (_polyline(segment[f"{side}_lane_boundary"]) for side in ("left", "right"))
      lane_type, default = _LANES.get(segment["lane_type"], (LaneType.OTHER, 13.4))
      kind.append(
        LaneType.JUNCTION if segment["is_intersection"] and lane_type == LaneType.ROAD else lane_type
      )
      beside = [segment["left_neighbor_id"], segment["right_neighbor_id"]]
      links.append(([int(s) for s in segment["successors"]], [-1 if n is None else int(n) for n in beside]))
      given = segment.get("centerline")
      left, right = (lane_geometry.resample(side, 16).astype(np.float64) for side in (left, right))
      centres.append((_polyline(given) if given else (left + right) / 2).astype(np.float32))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
      where = f"{path}: lane_segments entry {i}"
      raise BadInput(f"a field is missing or malformed ({error})", where, _FIX) from None
    index[lane] = i
    width.append(max(float(np.median(np.hypot(*(left - right).T))), 0.1))
    limit.append(default)
  neighbours = np.full((2, len(segments)), -1, np.int32)
  road = np.arange(len(segments), dtype=np.int32)
  for i, (_, beside) in enumerate(links):
    for side, j in enumerate(index.get(lane, -1) for lane in beside):
      along = (centres[i][-1] - centres[i][0]) @ (centres[j][-1] - centres[j][0])
      if j >= 0 and along > 0 and kind[i] == kind[j]:
        neighbours[side, i] = j
        road[road == road[j]] = road[i]
  successor = [(i, index[s]) for i, (onward, _) in enumerate(links) for s in onward if s in index]
  return Lanes(
    xy_Nx2=np.concatenate(centres), splits=np.cumsum([0, *map(len, centres)]).astype(np.int32),
    width_L=np.array(width, np.float32), speed_limit_L=np.array(limit, np.float32),
    type_L=np.array(kind, np.uint8), road_L=road,
    successor_Ex2=np.array(successor, np.int32).reshape(-1, 2), left_L=neighbours[0], right_L=neighbours[1],
  )  # fmt: skip


def _polyline(points: list[dict]) -> np.ndarray:
  """float64 [n >= 2, 2] m; ValueError where it is not finite or has no length."""
  xy = np.array([[float(point["x"]), float(point["y"])] for point in points])
  if len(xy) < 2 or not np.isfinite(xy).all() or not np.ptp(xy, axis=0).any():
    raise ValueError("a polyline needs two distinct finite points")
  return xy
