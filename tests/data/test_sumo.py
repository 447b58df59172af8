"""Simulated worlds: same job same bytes, sane driving, lanes, lights and routes that agree with the tracks."""

import concurrent.futures
import dataclasses
import hashlib
import multiprocessing
import sys
import tempfile

import numpy as np
import pytest

from data import schema, sumo, sumo_networks
from data.errors import BadInput
from data.schema import AgentType, LaneType, Signal

libsumo = pytest.importorskip("libsumo", reason="needs the extra `sim`")
pytest.importorskip("sumo", reason="needs the extra `sim`")

STEPS, DT = 120, 0.5


def digest(scene):
  sha = hashlib.sha256(repr(scene.metadata).encode())
  for name, value in schema.arrays(scene).items():
    sha.update(name.encode() + value.tobytes())
  return sha.hexdigest()


def digest_of(job):
  return digest(sumo.simulate(job))


@pytest.fixture(scope="module")
def jobs():
  return {job.domain: job for job in sumo.plan(3, 1, STEPS, DT, 0.1)}


@pytest.fixture(scope="module")
def scenes(jobs):
  return {domain: sumo.simulate(job) for domain, job in jobs.items()}


def vehicles(scene):
  return scene.valid_TxA & (scene.type_A != AgentType.PEDESTRIAN)


def speeds(scene):
  return np.hypot(scene.velocity_TxAx2[..., 0], scene.velocity_TxAx2[..., 1])


def test_plan_is_stable_and_varied():
  jobs = sumo.plan(5, 60, STEPS, DT, 0.1)
  assert jobs == sumo.plan(5, 60, STEPS, DT, 0.1)
  assert set(sumo.plan(5, 2, STEPS, DT, 0.1, ("rural",))) <= set(jobs)
  assert len({job.seed for job in jobs + sumo.plan(6, 60, STEPS, DT, 0.1)}) == 2 * len(jobs)
  assert 0.24 < np.mean([job.traffic_side == "left" for job in jobs]) < 0.36
  assert {job.weather for job in jobs} == {"clear", "rain", "snow", "fog"}
  assert len({job.density for job in jobs}) > 100


def test_weathers_that_are_asked_for_take_turns_and_bring_their_friction():
  jobs = sumo.plan(5, 4, STEPS, DT, 0.1, ("rural", "apron"), ("clear", "snow"))
  assert [job.weather for job in jobs] == ["clear", "snow"] * 4
  assert all((job.friction <= 0.5) == (job.weather == "snow") for job in jobs)


def test_plan_refuses_what_it_does_not_know():
  with pytest.raises(BadInput, match="urban_grid"):
    sumo.plan(0, 1, STEPS, DT, 0.1, ("urban",))
  with pytest.raises(BadInput, match=r"unknown weather 'hail'.*snow"):
    sumo.plan(0, 1, STEPS, DT, 0.1, weathers=("hail",))


@pytest.mark.parametrize("dt", [0.0, -0.5, 0.0333, 0.001])
def test_dt_must_be_whole_milliseconds(jobs, dt):
  with pytest.raises(BadInput, match="dt"):
    sumo.simulate(dataclasses.replace(jobs["rural"], dt=dt))


def test_same_job_same_bytes_in_any_order_and_process(jobs, scenes):
  first, other = jobs["urban_grid"], jobs["roundabout"]
  assert [digest_of(j) for j in (first, other, first)] == [
    digest(scenes[j.domain]) for j in (first, other, first)
  ]
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
    assert pool.submit(digest_of, first).result() == digest(scenes["urban_grid"])
  assert digest_of(dataclasses.replace(first, seed=first.seed + 7)) != digest(scenes["urban_grid"])


def test_temporary_files_are_removed_also_after_a_failure(jobs, tmp_path, monkeypatch):
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  sumo.simulate(dataclasses.replace(jobs["highway"], steps=8))
  monkeypatch.setattr(sumo, "record", lambda *_: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    sumo.simulate(jobs["highway"])
  assert not list(tmp_path.iterdir())
  assert not libsumo.simulation.isLoaded()


def test_missing_simulator_names_the_remedy(jobs, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setitem(sys.modules, "libsumo", None)
    with pytest.raises(BadInput, match="make env"):
      sumo.simulate(jobs["highway"])
  monkeypatch.setattr(sumo_networks.importlib.util, "find_spec", lambda _: None)
  with pytest.raises(BadInput, match="make env"):
    sumo.simulate(jobs["highway"])


@pytest.mark.parametrize("domain", sumo.DOMAINS)
def test_world_is_populated_and_moves(scenes, domain):
  scene = scenes[domain]
  assert 30 <= vehicles(scene).sum(1).mean() <= 210
  assert (scene.valid_TxA.sum(0) >= sumo.MIN_FRAMES).all()
  assert (speeds(scene)[vehicles(scene)] < 0.3).mean() < 0.5
  assert scene.type_A[0] == AgentType.CAR
  cars = scene.valid_TxA[:, scene.type_A == AgentType.CAR].sum(0)
  assert cars[0] == cars.max()
  kinds = set(scene.type_A.tolist())
  assert (AgentType.PEDESTRIAN in kinds) == (domain in ("urban_grid", "suburb"))
  assert (AgentType.SERVICE in kinds) == (domain == "apron")
  assert scene.metadata.operation == ("airport" if domain == "apron" else "road")


@pytest.mark.parametrize("domain", sumo.DOMAINS)
def test_motion_stays_within_physics(scenes, domain):
  scene = scenes[domain]
  pair = vehicles(scene)[1:] & vehicles(scene)[:-1]
  speed = speeds(scene)
  assert np.percentile(np.abs(np.diff(speed, axis=0))[pair] / DT, 99.9) < 8.0
  turn = (np.diff(scene.heading_TxA, axis=0) + np.pi) % (2 * np.pi) - np.pi
  lateral = np.abs(turn) / DT * 0.5 * (speed[1:] + speed[:-1])
  assert np.percentile(lateral[pair], 99) < 6.0
  mean_velocity = 0.5 * (scene.velocity_TxAx2[1:] + scene.velocity_TxAx2[:-1])
  drift = np.diff(scene.position_TxAx2, axis=0) - mean_velocity * DT
  assert np.percentile(np.hypot(drift[..., 0], drift[..., 1])[pair], 99) < 0.8


@pytest.mark.parametrize("domain", sumo.DOMAINS)
def test_vehicles_are_on_their_lanes_and_point_along_them(scenes, domain):
  scene, lanes = scenes[domain], scenes[domain].lanes
  assert (scene.lane_TxA[vehicles(scene)] >= 0).all()
  offset, error = [], []
  short = scene.size_Ax2[:, 0] < 6.0
  for lane in np.unique(scene.lane_TxA[vehicles(scene)]):
    here = vehicles(scene) & (scene.lane_TxA == lane) & short
    points = lanes.points(lane).astype(float)
    # The centre trails the front bumper, so it may still lie behind the first point.
    lead = points[0] - points[1]
    points = np.concatenate([points[:1] + 3 * lead / np.hypot(*lead), points])
    step = np.diff(points, axis=0)
    apart = scene.position_TxAx2[here][:, None] - points[:-1]
    share = np.clip((apart * step).sum(-1) / (step**2).sum(-1), 0, 1)
    distance = np.linalg.norm(apart - share[..., None] * step, axis=-1)
    nearest = distance.argmin(-1)
    offset.append(distance.min(-1, initial=np.inf) / lanes.width_L[lane])
    course = np.arctan2(step[:, 1], step[:, 0])[nearest]
    error.append(np.cos(scene.heading_TxA[here] - course))
  assert np.percentile(np.concatenate(offset), 97) < 0.5  # lane changes reach further
  assert np.percentile(np.concatenate(error), 3) > np.cos(0.5)


@pytest.mark.parametrize("domain", sumo.DOMAINS)
def test_routes_hold_every_road_driven_in_order(scenes, domain):
  scene = scenes[domain]
  for agent in np.flatnonzero(scene.type_A != AgentType.PEDESTRIAN):
    route = scene.route[scene.route_splits[agent] : scene.route_splits[agent + 1]].tolist()
    lane = scene.lane_TxA[scene.valid_TxA[:, agent], agent]
    roads = scene.lanes.road_L[lane[scene.lanes.type_L[lane] != LaneType.JUNCTION]]
    driven = [int(r) for k, r in enumerate(roads) if k == 0 or r != roads[k - 1]]
    rest = iter(route)
    assert all(road in rest for road in driven), (agent, driven, route)


def test_lights_are_obeyed(scenes):
  """Entering a turning path whose own light is red would mean that lights and links are mixed up."""
  scene = scenes["urban_grid"]
  lane, valid = scene.lane_TxA, vehicles(scene)
  assert {int(s) for s in np.unique(scene.signal_TxL)} == {int(s) for s in Signal}
  junction = scene.lanes.type_L[lane] == LaneType.JUNCTION
  enters = valid[1:] & valid[:-1] & junction[1:] & ~junction[:-1]
  frame, agent = np.nonzero(enters)
  shown = scene.signal_TxL[frame, lane[frame + 1, agent]]
  assert len(shown) > 100
  assert (shown != Signal.NONE).mean() > 0.5
  assert (shown == Signal.RED).mean() < 0.02
  # A lane shows what its straight link shows.
  straight = np.flatnonzero((scene.signal_TxL[0] > 0) & (scene.lanes.type_L == LaneType.ROAD))
  starts, ends = scene.lanes.successor_Ex2.T
  assert all(
    (scene.signal_TxL[:, ends[starts == k]] == scene.signal_TxL[:, k, None]).all(0).any() for k in straight
  )


def test_the_first_in_line_waits_just_before_the_stop_line(scenes):
  scene = scenes["urban_grid"]
  frame, agent = np.nonzero(vehicles(scene) & (speeds(scene) < 0.1))
  lane = scene.lane_TxA[frame, agent]
  red = scene.signal_TxL[frame, lane] == Signal.RED
  ends = np.array([scene.lanes.points(k)[-1] for k in lane[red]])
  heading = scene.heading_TxA[frame, agent][red]
  ahead = np.stack([np.cos(heading), np.sin(heading)], -1)
  front = scene.position_TxAx2[frame, agent][red] + 0.5 * scene.size_Ax2[agent[red], :1] * ahead
  left = ((ends - front) * ahead).sum(-1)
  assert len(left) > 50
  assert left.min() > -0.3 and (left < 3.0).mean() > 0.15


def test_metadata_is_complete_and_true(scenes, jobs):
  identities = set()
  for domain, scene in scenes.items():
    meta, job = scene.metadata, jobs[domain]
    assert (meta.seed, meta.weather, meta.friction, meta.dt) == (job.seed, job.weather, job.friction, job.dt)
    assert (meta.driver_noise, meta.traffic_side, meta.light) == (0.1, job.traffic_side, job.light)
    assert meta.source == "sumo" and meta.label_source == "simulator" and "SUMO" in meta.map_version
    assert meta.geography == f"synthetic:{domain}" and meta.density > 0
    identities |= {meta.scene_id, meta.map_id}
    assert not any(value == "" for value in dataclasses.asdict(meta).values())
  assert len(identities) == 2 * len(scenes)
  assert "red_light_stop" in scenes["urban_grid"].metadata.rare_events
  assert "red_light_stop" not in scenes["highway"].metadata.rare_events


def test_a_slippery_road_changes_driving(jobs):
  dry, wet = (sumo.simulate(dataclasses.replace(jobs["rural"], friction=f, light="day")) for f in (1.0, 0.35))
  driving = [speeds(scene)[vehicles(scene)] for scene in (dry, wet)]
  assert np.percentile(driving[1], 95) < 0.85 * np.percentile(driving[0], 95)
  gains = []
  for scene in (dry, wet):
    pair = vehicles(scene)[1:] & vehicles(scene)[:-1]
    gains.append(np.percentile(np.diff(speeds(scene), axis=0)[pair] / DT, 99.5))
  assert gains[1] < 0.85 * gains[0]


def test_without_noise_the_simulator_rolls_no_dice(jobs, monkeypatch):
  """The simulator's own seed matters only through driver noise; map and demand come from ours."""
  options = sumo._options

  def with_seed(seed):
    def replaced(*arguments):
      chosen = options(*arguments)
      chosen[chosen.index("--seed") + 1] = str(seed)
      return chosen

    return replaced

  digests = {}
  for noise in (0.0, 0.8):
    for seed in (1, 2):
      monkeypatch.setattr(sumo, "_options", with_seed(seed))
      digests[noise, seed] = digest_of(dataclasses.replace(jobs["ring_radial"], driver_noise=noise))
  assert digests[0.0, 1] == digests[0.0, 2]
  assert digests[0.8, 1] != digests[0.8, 2]
