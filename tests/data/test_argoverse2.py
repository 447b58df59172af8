"""Argoverse 2 reader: generated scenarios with known answers, planted faults, and one real scenario."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from data import argoverse2
from data.errors import BadInput
from data.schema import AgentType, LaneType

IDENTITY = "00000000-1111-2222-3333-444444444444"


def rows(track, kind, steps, y, speed, focal="7"):
  return [
    {
      "track_id": track, "object_type": kind, "timestep": t, "position_x": -900.0 + speed * t * 0.1,
      "position_y": y, "heading": 0.0, "velocity_x": speed, "velocity_y": 0.0, "scenario_id": IDENTITY,
      "focal_track_id": focal, "city": "testville", "map_id": 42, "start_timestamp": 5e9,
    }
    for t in steps
  ]  # fmt: skip


def line(y, x=(-1000, -800)):
  return [{"x": x[0], "y": y, "z": 1.0}, {"x": x[1], "y": y, "z": 1.0}]


def segment(identity, y, x=(-1000, -800), kind="VEHICLE", half=1.75, **changes):
  return {
    "id": identity, "centerline": line(y, x), "left_lane_boundary": line(y + half, x),
    "right_lane_boundary": line(y - half, x), "lane_type": kind, "is_intersection": False,
    "left_neighbor_id": None, "right_neighbor_id": None, "successors": [], "predecessors": [],
  } | changes  # fmt: skip


SEGMENTS = [
  segment(10, 0, left_neighbor_id=11, right_neighbor_id=14, successors=[12, 99]),
  segment(11, 3.5, right_neighbor_id=10, left_neighbor_id=13),
  segment(12, 0, (-800, -700), is_intersection=True),
  segment(13, 7, (-800, -1000), half=-1.75, left_neighbor_id=11),  # oncoming
  segment(14, -3, kind="BIKE", left_neighbor_id=10, half=1.0),
]
TRACKS = [
  *rows("7", "vehicle", range(20), 0.2, 10.0),
  *rows("8", "pedestrian", range(5, 9), 30.0, 1.0),
  *rows("AV", "vehicle", range(20), 3.5, 5.0),
]


@pytest.fixture
def write(tmp_path):
  def make(tracks=TRACKS, segments=SEGMENTS):
    path = tmp_path / f"scenario_{IDENTITY}.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(tracks), path)
    lanes = {str(s.get("id")): s for s in segments}
    (tmp_path / f"log_map_archive_{IDENTITY}.json").write_text(json.dumps({"lane_segments": lanes}))
    return path

  return make


def test_a_scenario_has_its_closed_form(write, tmp_path):
  assert argoverse2.find(write().parent) == [write()]
  scene = argoverse2.read(write())
  assert scene.track_A.tolist() == [-1, 7, 8]  # the recording vehicle first; its name is no number
  assert scene.type_A.tolist() == [AgentType.CAR, AgentType.CAR, AgentType.PEDESTRIAN]
  assert scene.valid_TxA.sum(0).tolist() == [20, 20, 4] and scene.valid_TxA[5:9, 2].all()
  expected = np.stack([-900 + 0.5 * np.arange(20), np.full(20, 3.5)], -1)
  np.testing.assert_allclose(scene.position_TxAx2[:, 0], expected, atol=1e-4)
  np.testing.assert_allclose(scene.velocity_TxAx2[3, :2], [[5, 0], [10, 0]])
  assert scene.lane_TxA[0].tolist() == [1, 0, -1]
  metadata = scene.metadata
  assert (metadata.domain, metadata.map_id, metadata.dt) == ("testville", "testville-42", 0.1)
  assert metadata.start_s == pytest.approx(5.0) and metadata.label_horizon_s == pytest.approx(1.9)

  lanes = scene.lanes
  assert lanes.left_L.tolist() == [1, -1, -1, -1, -1]  # neither the oncoming nor the bike lane
  assert lanes.right_L.tolist() == [-1, 0, -1, -1, -1]
  assert lanes.road_L[0] == lanes.road_L[1] and len(set(lanes.road_L.tolist())) == 4
  assert lanes.successor_Ex2.tolist() == [[0, 2]]
  road, junction, bike = LaneType.ROAD, LaneType.JUNCTION, LaneType.BIKE
  assert lanes.type_L.tolist() == [road, road, junction, road, bike]
  np.testing.assert_allclose(lanes.width_L, [3.5, 3.5, 3.5, 3.5, 2.0], rtol=1e-5)


def test_without_the_recording_vehicle_the_focal_track_is_the_ego(write):
  tracks = [*rows("8", "bus", range(20), 3.5, 5.0), *rows("7", "vehicle", range(9), 0.0, 10.0)]
  assert argoverse2.read(write(tracks)).track_A.tolist() == [7, 8]


def test_centrelines_are_made_of_the_bounds_where_the_map_has_none(write):
  bare = [{name: value for name, value in s.items() if name != "centerline"} for s in SEGMENTS]
  scene = argoverse2.read(write(segments=bare))
  np.testing.assert_allclose(scene.lanes.points(1)[[0, -1]], [[-1000, 3.5], [-800, 3.5]], atol=1e-3)


def change(tracks, **values):
  return [tracks[0] | values, *tracks[1:]]


@pytest.mark.parametrize(
  ("tracks", "says"),
  [
    (change(TRACKS, position_x=float("nan")), "position_x holds nulls, NaN"),
    (change(TRACKS, heading=None), "heading holds nulls"),
    (change(TRACKS, object_type=None), "object_type holds nulls"),
    (change(TRACKS, timestep=1), "two rows for one timestep"),
    (change(TRACKS, timestep=10**9), "timestep spans"),
    (change(TRACKS, city="elsewhere"), "city changes"),
    ([row for row in TRACKS if row["track_id"] == "8"], "focal_track_id '7' has no row"),
    ([{k: v for k, v in row.items() if k != "velocity_y"} for row in TRACKS], "no column velocity_y"),
    (rows("7", "vehicle", range(20), 0, 0.0), "no agent moves"),
  ],
)  # fmt: skip
def test_bad_tracks_are_refused_by_name(write, tracks, says):
  with pytest.raises(BadInput, match=says) as error:
    argoverse2.read(write(tracks))
  assert f"scenario_{IDENTITY}.parquet" in str(error.value)


@pytest.mark.parametrize(
  ("segments", "says"),
  [
    ([], "lane_segments is empty"),
    ([{"id": 1}], "entry 0: a field is missing"),
    ([segment(1, 0) | {"left_lane_boundary": line(float("nan"))}], "two distinct finite points"),
    ([segment(1, 0) | {"successors": ["north"]}], "malformed"),
    ([segment(1, 0) | {"is_intersection": False, "id": None}], "malformed"),
  ],
)
def test_bad_maps_are_refused_by_name(write, segments, says):
  with pytest.raises(BadInput, match=says) as error:
    argoverse2.read(write(segments=segments))
  assert f"log_map_archive_{IDENTITY}.json" in str(error.value)


def test_damaged_and_absent_files_are_refused(write, tmp_path):
  path, map_path = write(), tmp_path / f"log_map_archive_{IDENTITY}.json"
  map_path.write_text(map_path.read_text()[:-20])
  with pytest.raises(BadInput, match="no lane_segments"):
    argoverse2.read(path)
  map_path.unlink()
  with pytest.raises(BadInput, match="map not readable"):
    argoverse2.read(path)
  path.write_bytes(path.read_bytes()[:-50])
  with pytest.raises(BadInput, match="not readable as parquet"):
    argoverse2.read(path)
  with pytest.raises(BadInput, match="not readable as parquet"):
    argoverse2.read(tmp_path / "scenario_absent.parquet")
  with pytest.raises(BadInput, match=r"no scenario_\*\.parquet"):
    argoverse2.find(tmp_path / "nowhere")


def test_the_real_scenario_has_the_published_counts(shared_data):
  """2,434 rows, 58 tracks, 7 of them complete, 17 that move more than 3 m, 71 lane segments."""
  (path,) = argoverse2.find(shared_data("av2/motion-forecasting"))
  scene = argoverse2.read(path)
  assert scene.valid_TxA.shape == (110, 58) and scene.valid_TxA.sum() == 2434
  assert (scene.valid_TxA.all(0)).sum() == 7 and len(scene.lanes) == 71
  ends = [scene.position_TxAx2[scene.valid_TxA[:, a], a][[0, -1]] for a in range(58)]
  assert sum(np.hypot(*(last - first)) > 3 for first, last in ends) == 17
  assert (scene.lane_TxA[:, 0] >= 0).all()  # the recording vehicle stays on the map
