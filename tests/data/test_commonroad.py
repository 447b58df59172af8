"""CommonRoad reader: hand-written scenarios with known answers, planted faults, and the real US-101 logs."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from data import commonroad
from data.errors import BadInput
from data.schema import AgentType, LaneType, Signal
from data.windows import WindowConfig
from evaluation.forecast import report
from evaluation.forecasting import baselines
from evaluation.forecasting.cases import make_cases
from evaluation.metrics import displacement
from tests.data.us101 import read_scenes


def points(*xy):
  return "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x, y in xy)


def lanelet(identity, y, inside="", x=(0, 10, 100), half=1.75):
  left, right = points(*((v, y + half) for v in x)), points(*((v, y - half) for v in x))
  bounds = f"<leftBound>{left}</leftBound><rightBound>{right}</rightBound>"
  return f'<lanelet id="{identity}">{bounds}{inside}</lanelet>'


def state(tag, step, x, y, heading=0.0, speed: float | None = 10.0):
  velocity = "" if speed is None else f"<velocity><exact>{speed}</exact></velocity>"
  return (
    f"<{tag}><position><point><x>{x}</x><y>{y}</y></point></position>"
    f"<orientation><exact>{heading}</exact></orientation><time><exact>{step}</exact></time>{velocity}</{tag}>"
  )


BOX = "<shape><rectangle><length>4.5</length><width>1.8</width></rectangle></shape>"


def car(identity, states, tag="obstacle", kind="car", shape=BOX, role="<role>dynamic</role>"):
  trajectory = f"<trajectory>{''.join(states[1:])}</trajectory>" if states[1:] else ""
  return f'<{tag} id="{identity}">{role}<type>{kind}</type>{shape}{states[0]}{trajectory}</{tag}>'


def drive(steps, y=0.0, first=0, speed: float | None = 10.0):
  """1 m per 0.1 s along x."""
  tags = ["initialState"] + ["state"] * (steps - 1)
  return [state(tag, first + i, float(i), y, speed=speed) for i, tag in enumerate(tags)]


def scenario(body, version="2018b", benchmark="USA_Test101-7_2_T-1", dt="0.1"):
  return (
    f'<?xml version="1.0" encoding="utf-8"?><commonRoad benchmarkID="{benchmark}" timeStepSize="{dt}" '
    f'commonRoadVersion="{version}">{body}</commonRoad>'
  )


@pytest.fixture
def read(tmp_path):
  def parse(text):
    path = tmp_path / "scenario.xml"
    path.write_text(text, encoding="utf-8")
    return commonroad.read(path)

  return parse


ROAD = (
  lanelet(11, 0, '<successor ref="13"/><adjacentLeft ref="12" drivingDir="same"/>')
  + lanelet(
    12, 3.5, '<adjacentRight ref="11" drivingDir="same"/><adjacentLeft ref="14" drivingDir="opposite"/>'
  )
  + lanelet(13, 0, '<predecessor ref="11"/><successor ref="99"/>', x=(100, 150))
  + lanelet(14, 7, x=(100, 10, 0), half=-1.75)
)


def test_a_2018b_scenario_has_its_closed_form(read):
  scene = read(scenario(ROAD + car(500, drive(4, y=3.5, first=2)) + car(501, drive(12))))
  assert scene.metadata.scene_id == "USA_Test101-7_2_T-1" and scene.metadata.dt == 0.1
  assert (scene.metadata.domain, scene.metadata.recording) == ("test101", "USA_Test101")
  assert scene.metadata.map_id == "USA_Test101-7" and scene.metadata.label_horizon_s > 0
  assert scene.track_A.tolist() == [501, 500]  # the longest track is the ego
  assert scene.valid_TxA.sum(0).tolist() == [12, 4] and scene.valid_TxA[:, 1].nonzero()[0].tolist() == [
    2,
    3,
    4,
    5,
  ]
  np.testing.assert_allclose(
    scene.position_TxAx2[:, 0], np.stack([np.arange(12), np.zeros(12)], -1), atol=1e-6
  )
  np.testing.assert_allclose(scene.velocity_TxAx2[:, 0], np.tile([10.0, 0.0], (12, 1)), atol=1e-6)
  np.testing.assert_allclose(scene.size_Ax2, np.tile([4.5, 1.8], (2, 1)), rtol=1e-6)
  assert (scene.lane_TxA[:, 0] == 0).all() and scene.lane_TxA[2:6, 1].tolist() == [1] * 4

  lanes = scene.lanes
  np.testing.assert_allclose(lanes.points(0), np.stack([np.arange(0, 101, 2), np.zeros(51)], -1), atol=1e-5)
  np.testing.assert_allclose(lanes.points(3)[[0, -1]], [[100, 7], [0, 7]], atol=1e-5)
  np.testing.assert_allclose(lanes.width_L, 3.5, rtol=1e-6)
  assert lanes.successor_Ex2.tolist() == [[0, 2]]  # lanelet 99 is outside the scenario
  assert lanes.left_L.tolist() == [1, -1, -1, -1] and lanes.right_L.tolist() == [-1, 0, -1, -1]
  assert lanes.road_L[0] == lanes.road_L[1] and len(set(lanes.road_L.tolist())) == 3
  assert (lanes.speed_limit_L == 29).all() and not scene.signal_TxL.any()


def test_headings_turn_velocities_and_absent_speeds_come_from_positions(read):
  north = [state("initialState", 0, 50, 0, np.pi / 2, 4.0), state("state", 1, 50, 2, np.pi / 2, 4.0)]
  scene = read(scenario(ROAD + car(1, drive(5, speed=None)) + car(2, north)))
  np.testing.assert_allclose(np.hypot(*scene.velocity_TxAx2[:, 0].T), 10.0, rtol=1e-5)
  np.testing.assert_allclose(scene.velocity_TxAx2[:2, 1], [[0, 4], [0, 4]], atol=1e-6)
  assert scene.lane_TxA[0, 1] == -1  # across the road


def test_2020a_brings_signs_lights_types_and_weather(read):
  beside = '<adjacentRight ref="11" drivingDir="same"/>'  # said on one side only
  road = (
    lanelet(11, 0, '<laneletType>urban</laneletType><trafficSignRef ref="7"/>')
    + lanelet(12, 3.5, f'<laneletType>urban</laneletType>{beside}<trafficLightRef ref="8"/>')
    + lanelet(13, 7)
    + lanelet(14, 11, "<laneletType>sidewalk</laneletType>")
  )
  sign = (
    '<trafficSign id="7"><trafficSignElement><trafficSignID>274</trafficSignID>'
    "<additionalValue>8.33</additionalValue></trafficSignElement></trafficSign>"
  )
  cycle = "".join(
    f"<cycleElement><duration>{n}</duration><color>{c}</color></cycleElement>"
    for n, c in ((3, "red"), (1, "redYellow"), (2, "green"), (1, "yellow"))
  )
  light = f'<trafficLight id="8"><cycle>{cycle}<timeOffset>1</timeOffset></cycle></trafficLight>'
  crossing = (
    '<intersection id="9"><incoming id="10"><incomingLanelet ref="12"/><successorsStraight ref="13"/>'
    "</incoming></intersection>"
  )
  weather = "<weather>heavy_rain</weather><timeOfDay>night</timeOfDay>"
  place = f"<location><environment>{weather}</environment></location>"
  parked = car(3, [state("initialState", 0, 30, 7)], "staticObstacle", "parkedVehicle", role="")
  walker = car(
    4,
    drive(3, y=11),
    "dynamicObstacle",
    "pedestrian",
    "<shape><circle><radius>.3</radius></circle></shape>",
    "",
  )
  body = (
    place
    + road
    + sign
    + light
    + crossing
    + parked
    + walker
    + car(5, drive(9), "dynamicObstacle", "bus", role="")
  )
  scene = read(scenario(body, "2020a", "C-GBR_Dover-1_1_T-1"))
  assert scene.track_A.tolist() == [5, 3, 4]
  assert scene.type_A.tolist() == [AgentType.BUS, AgentType.CAR, AgentType.PEDESTRIAN]
  assert scene.valid_TxA.sum(0).tolist() == [9, 9, 3] and not scene.velocity_TxAx2[:, 1].any()
  np.testing.assert_allclose(scene.size_Ax2[2], [0.6, 0.6], rtol=1e-6)
  np.testing.assert_allclose(scene.lanes.speed_limit_L, [8.33, 13.9, 29, 2], rtol=1e-6)
  assert scene.lanes.type_L.tolist() == [LaneType.ROAD, LaneType.ROAD, LaneType.JUNCTION, LaneType.WALK]
  assert (scene.metadata.weather, scene.metadata.light, scene.metadata.traffic_side) == (
    "rain",
    "night",
    "left",
  )
  y, r, g = Signal.YELLOW, Signal.RED, Signal.GREEN
  assert scene.signal_TxL[:, 1].tolist() == [y, r, r, r, r, g, g, y, r]  # the cycle starts one step late
  assert not scene.signal_TxL[:, [0, 2, 3]].any() and scene.lanes.road_L.tolist() == [0, 0, 2, 3]


def test_far_coordinates_get_a_local_origin_and_keep_centimetres(read):
  near = scenario(ROAD + car(1, drive(9)))
  far = re.sub(r"<x>([^<]*)</x>", lambda x: f"<x>{float(x[1]) + 691_000.25}</x>", near)
  scene = read(far)
  assert np.abs(scene.position_TxAx2).max() < 1e4
  steps = np.diff(scene.position_TxAx2[:, 0, 0])
  assert len(steps) == 8 and (scene.lane_TxA[:, 0] == 0).all()
  np.testing.assert_allclose(steps, 1.0, atol=1e-3)


BOMB = '<!DOCTYPE b [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>'
GOOD = scenario(ROAD + car(500, drive(12)))


@pytest.mark.parametrize(
  ("text", "says"),
  [
    (GOOD.replace("<commonRoad", BOMB + "<commonRoad").replace("car</type>", "&b;</type>"), "DTD"),
    (GOOD.replace("<commonRoad", OUTSIDE + "<commonRoad").replace("car</type>", "&e;</type>"), "DTD"),
    (GOOD[: len(GOOD) // 2], "not well-formed"),
    ("", "not well-formed"),
    ("<OpenDRIVE/>", "root element is <OpenDRIVE>"),
    (GOOD.replace('Version="2018b"', 'Version="2017a"'), "commonRoadVersion is '2017a'"),
    (GOOD.replace("USA_Test101-7_2_T-1", "somewhere"), "benchmarkID 'somewhere'"),
    (GOOD.replace('Size="0.1"', 'Size="0"'), "timeStepSize"),
    (GOOD.replace("<x>3.0</x>", "<x>nan</x>"), "obstacle 500, state 3, position x: nan"),
    (GOOD.replace("<x>3.0</x>", "<x>1e400</x>"), "inf is not a finite number"),
    (GOOD.replace("<x>3.0</x>", ""), "state 3, position x: 'nothing' is not a number"),
    (GOOD.replace("<exact>10.0</exact>", "<exact>fast</exact>"), "velocity: 'fast' is not a number"),
    (GOOD.replace("<time><exact>5</exact></time>", ""), "state 5: has no <time>"),
    (GOOD.replace("<exact>5</exact>", "<exact>4</exact>"), "time steps"),
    (GOOD.replace("<exact>11</exact>", "<exact>11000000</exact>"), "spans 11000001 time steps"),
    (GOOD.replace(BOX, ""), "obstacle 500: has no <shape>"),
    (GOOD.replace("<width>1.8", "<width>0"), "size_Ax2"),
    (GOOD.replace("<point><x>10</x><y>1.75</y></point>", "", 1), "lanelet 11: bounds have 2 and 3 points"),
    (GOOD.replace('id="12"', 'id="11"'), "same id"),
    (scenario(ROAD), "no dynamic obstacle"),
    (scenario(car(500, drive(12))), "no lanelet"),
    (scenario(ROAD + car(1, [state("initialState", 0, 5, 0)])), "no agent moves"),
  ],
)  # fmt: skip
def test_bad_scenarios_are_refused_by_name(read, tmp_path, text, says):
  with pytest.raises(BadInput) as error:
    read(text)
  assert says in str(error.value) and str(tmp_path / "scenario.xml") in str(error.value)
  assert error.value.remedy


def test_huge_files_and_missing_ones_are_refused(tmp_path):
  huge = tmp_path / "huge.xml"
  with open(huge, "wb") as file:
    file.truncate(300 * 2**20)  # sparse: takes no space
  with pytest.raises(BadInput, match="larger than 256 MiB"):
    commonroad.read(huge)
  with pytest.raises(BadInput, match=r"absent\.xml: not readable"):
    commonroad.read(tmp_path / "absent.xml")


def test_find_is_sorted_and_leaves_out_files_without_tracks(tmp_path):
  for name in ("B_T-1.xml", "A_T-1.xml", "A_S-1.xml", "notes.txt"):
    (tmp_path / name).touch()
  assert [path.name for path in commonroad.find(tmp_path)] == ["A_T-1.xml", "B_T-1.xml"]
  with pytest.raises(BadInput, match=r"no CommonRoad \*\.xml"):
    commonroad.find(tmp_path / "nowhere")


def test_us101_counts_and_constant_velocity(shared_data):
  """2,314 trajectories, 140,111 states. Constant velocity over 3 s: 1.13 / 2.64 m on the 1,200 tracks with
  61 states, 1.15 / 2.68 m on the 1,160 that move (published with the files)."""
  scenes = read_scenes(shared_data("ngsim_us101"))
  lengths = np.concatenate([scene.valid_TxA.sum(0) for scene in scenes])
  assert (lengths >= 2).sum() == 2314 and lengths[lengths >= 2].sum() == 140_111
  assert all((scene.lane_TxA[scene.valid_TxA] >= 0).mean() > 0.99 for scene in scenes)
  tracks = [
    scene.position_TxAx2[scene.valid_TxA[:, a], a][:61]
    for scene in scenes
    for a in np.flatnonzero(scene.valid_TxA.sum(0) >= 61)
  ]
  position_TxAx2 = jnp.asarray(np.stack(tracks, 1))
  truth = position_TxAx2[31:].swapaxes(0, 1)
  valid = jnp.ones(truth.shape[:2], bool)
  forecast = baselines.constant_velocity(position_TxAx2[:31], lookback=5, steps=30)[None]
  everyone = displacement.forecast_errors(forecast, truth, valid, jnp.ones(len(truth), bool))
  moving = displacement.forecast_errors(
    forecast, truth, valid, displacement.moving(position_TxAx2[30], truth, valid)
  )
  assert [int(count) for _, count in (everyone["minADE"], moving["minADE"])] == [1200, 1160]
  rounded = [
    round(float(pairs[name][0] / pairs[name][1]), 2)
    for pairs in (everyone, moving)
    for name in ("minADE", "minFDE")
  ]
  assert rounded == [1.13, 2.64, 1.15, 2.68]

  # The forecast program scores the same tracks: the first six seconds of every scene.
  window = WindowConfig(dt=0.5, steps=12, agents=16, points=16, stops=1, phases=1, least_moves=4)
  cases = make_cases(scenes, window, observed_s=3.0, horizon_s=3.0, pieces=1)
  perfect = cases.truth_BxAxNx2[None]
  result = report(cases, perfect, perfect, perfect)
  found = [
    result[part]["constant_velocity"][name] for part in ("all", "moving") for name in ("minADE_1", "minFDE_1")
  ]
  assert [round(value, 2) for value in found] == rounded and cases.left_out == 0
  assert (result["all"]["n_agents"], result["moving"]["n_agents"]) == (1200, 1160)
