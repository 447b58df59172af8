"""A checkpoint is restored bit for bit or not at all: planted damage, full disks, strays, other meshes."""

import json
import os
import pathlib
import resource
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data.errors import BadInput
from experiments import checkpoints as module
from experiments.checkpoints import Checkpoints

ONE = jax.sharding.SingleDeviceSharding(jax.devices()[0])
TX = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.stateless(lambda u, p: u))


def _state(step: int, width: int = 8):
  key = jax.random.key(step)
  params = {"w": jax.random.normal(key, (16, width)), "b": jnp.ones(width, jnp.bfloat16) * step}
  return jax.device_put({"params": params, "opt": TX.init(params), "step": jnp.int32(step), "key": key}, ONE)


def _spec(state, sharding=ONE):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)


def _bits(state) -> list[bytes]:
  leaves = jax.tree.leaves(state)
  return [np.asarray(jax.random.key_data(x) if "key" in str(x.dtype) else x).tobytes() for x in leaves]


def _same(a, b) -> bool:
  return jax.tree.structure(a) == jax.tree.structure(b) and _bits(a) == _bits(b)


SPEC = _spec(_state(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """A run directory with steps 10 and 20."""
  run = tmp_path_factory.mktemp("saved") / "run"
  saver = Checkpoints(run, keep=2)
  for step in (10, 20):
    saver.save(step, _state(step), {"samples": step * 3})
  saver.wait()
  return run


@pytest.fixture
def run(saved, tmp_path):
  """A copy of `saved` that a test may damage."""
  return shutil.copytree(saved, tmp_path / "run")


def _files(run: pathlib.Path, step: int) -> list[pathlib.Path]:
  arrays = sorted(p for p in (run / "checkpoints" / str(step)).rglob("*") if p.is_file())
  return [*arrays, run / "manifests" / f"{step}.json"]


def _flip(path: pathlib.Path, bit: int) -> None:
  content = bytearray(path.read_bytes())
  content[bit // 8 % len(content)] ^= 1 << bit % 8
  path.write_bytes(content)


def _falls_back_to_10(run: pathlib.Path) -> bool:
  reader = Checkpoints(run, keep=2)
  step, state, meta = reader.restore_newest(SPEC)
  moved = [p.name for p in (run / "quarantine").glob("*")] == ["20-0"]
  return (step, meta, reader.quarantined) == (10, {"samples": 30}, 1) and moved and _same(state, _state(10))


def test_the_newest_step_comes_back_bit_for_bit_with_its_meta(run):
  reader = Checkpoints(run, keep=2)
  step, state, meta = reader.restore_newest(SPEC)
  assert (step, meta, reader.quarantined, reader.steps()) == (20, {"samples": 60}, 0, [10, 20])
  assert _same(state, _state(20))
  assert _same(jax.random.split(state["key"]), jax.random.split(_state(20)["key"]))


def test_a_fresh_run_has_nothing_to_restore(tmp_path):
  assert Checkpoints(tmp_path, keep=1).restore_newest(SPEC) is None


def test_the_state_may_be_donated_as_soon_as_save_returns(tmp_path):
  state = jax.device_put({"w": jnp.arange(2**21, dtype=jnp.float32)}, ONE)  # 8 MiB: still being written below
  spec, wanted = _spec(state), np.asarray(state["w"]).copy()
  saver = Checkpoints(tmp_path, keep=1)
  saver.save(1, state, {})
  erase = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf * 0 - 1, x), donate_argnums=0)
  for _ in range(3):
    state = erase(state)
  jax.block_until_ready(state)
  _, restored, _ = saver.restore_newest(spec)
  assert np.array_equal(restored["w"], wanted)


def test_only_the_last_steps_are_kept(tmp_path):
  saver = Checkpoints(tmp_path, keep=2)
  for step in (1, 2, 3, 4):
    saver.save(step, _state(step), {})
  saver.wait()
  assert saver.steps() == [3, 4]
  assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["3", "4"]


def test_a_bit_flipped_in_any_file_is_never_loaded(run, saved):
  rng = np.random.default_rng(0)
  kinds = len(_files(run, 20))
  assert kinds >= 10
  for index in range(kinds):
    shutil.rmtree(run)
    shutil.copytree(saved, run)
    victim = _files(run, 20)[index]
    _flip(victim, int(rng.integers(8 * victim.stat().st_size)))
    assert _falls_back_to_10(run), victim


@pytest.mark.parametrize("damage", ["truncated", "deleted", "extra", "link", "missing", "renamed", "edited"])
def test_other_damage_falls_back_too(run, tmp_path, damage):
  data = max(_files(run, 20)[:-1], key=lambda p: p.stat().st_size)
  manifest = run / "manifests" / "20.json"
  if damage == "truncated":
    os.truncate(data, data.stat().st_size - 1)
  elif damage == "deleted":
    data.unlink()
  elif damage == "extra":
    (data.parent / "extra").write_text("x")
  elif damage == "link":
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
  elif damage == "missing":
    shutil.rmtree(run / "checkpoints" / "20")
  elif damage == "renamed":  # a whole good checkpoint under another step's name
    shutil.rmtree(run / "checkpoints" / "20")
    shutil.copytree(run / "checkpoints" / "10", run / "checkpoints" / "20")
    shutil.copy(run / "manifests" / "10.json", manifest)
  elif damage == "edited":  # well-formed, but not what was written
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"meta": {"samples": 61}}))
  assert _falls_back_to_10(run)


def test_damage_is_loud(run, caplog):
  _flip(_files(run, 20)[0], 5)
  Checkpoints(run, keep=2).restore_newest(SPEC)
  assert "checkpoint 20" in caplog.text
  assert "is damaged: 1 files differ from the manifest, the first is _CHECKPOINT_METADATA" in caplog.text


def test_when_none_is_good_no_run_starts_afresh_now_or_later(run):
  for step in (10, 20):
    _flip(_files(run, step)[1], 77)
  for _ in range(2):
    with pytest.raises(BadInput, match="no checkpoint is left"):
      Checkpoints(run, keep=2).restore_newest(SPEC)
  assert len(list((run / "quarantine").iterdir())) == 2


def test_a_reader_of_another_processs_run_moves_nothing(run):
  _flip(_files(run, 20)[1], 77)
  before = sorted(run.rglob("*"))
  step, _, _ = Checkpoints(run, keep=1, read_only=True).restore_newest(SPEC)
  assert step == 10
  assert sorted(run.rglob("*")) == before


def test_stray_directories_are_no_steps_and_no_obstacle(run, caplog):
  (run / "checkpoints" / "99").mkdir()
  # Committed, killed before its manifest.
  shutil.copytree(run / "checkpoints" / "20", run / "checkpoints" / "30")
  (run / "checkpoints" / "40.orbax-checkpoint-tmp").mkdir()  # killed while writing
  saver = Checkpoints(run, keep=2)
  assert saver.restore_newest(SPEC)[0] == 20
  assert [f"checkpoints/{name} has no manifest" in caplog.text for name in (20, 30, 99)] == [
    False,
    True,
    True,
  ]
  assert not (run / "checkpoints" / "40.orbax-checkpoint-tmp").exists()
  saver.save(99, _state(99), {})
  saver.wait()
  assert saver.steps() == [20, 99]
  # 30 was ours, and unfinished.
  assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["20", "99"]
  step, state, _ = saver.restore_newest(SPEC)
  assert step == 99 and _same(state, _state(99))


def test_a_state_moves_between_meshes(tmp_path):
  mesh = jax.make_mesh((2, 4), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
  wanted = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
  places = [jax.P("a", "b"), jax.P("b"), jax.P()]
  shardings = [*(jax.NamedSharding(mesh, place) for place in places), ONE]
  saver = Checkpoints(tmp_path, keep=9)
  for step, sharding in enumerate(shardings):
    saver.save(step, {"w": jax.device_put(wanted, sharding)}, {})
  saver.wait()
  for _ in shardings:
    for sharding in shardings:
      _, state, _ = saver.restore_newest(_spec({"w": wanted}, sharding))
      assert state["w"].sharding == sharding and np.array_equal(state["w"], wanted)
    newest = saver.steps()[-1]
    (tmp_path / "manifests" / f"{newest}.json").unlink()


def test_a_state_that_is_not_finite_is_not_saved(tmp_path):
  saver = Checkpoints(tmp_path, keep=1)
  state = _state(1)
  state["params"]["b"] = state["params"]["b"].at[3].set(jnp.nan)
  with pytest.raises(FloatingPointError, match=r"\['params'\]\['b'\] is not finite"):
    saver.save(1, state, {})
  with pytest.raises(ValueError, match="JSON compliant"):
    saver.save(1, _state(1), {"loss": float("nan")})
  saver.wait()
  assert saver.steps() == [] and not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize("change", ["shape", "dtype", "fewer", "more"])
def test_the_state_of_another_program_is_refused_and_left_alone(run, change):
  spec = _spec(_state(0, width=4 if change == "shape" else 8))
  if change == "dtype":
    spec["params"]["w"] = jax.ShapeDtypeStruct((16, 8), jnp.bfloat16, sharding=ONE)
  if change == "fewer":
    del spec["params"]["b"]
  if change == "more":
    spec["extra"] = spec["step"]
  with pytest.raises(BadInput, match="the program expects"):
    Checkpoints(run, keep=2).restore_newest(spec)
  assert Checkpoints(run, keep=2).restore_newest(SPEC)[0] == 20


def test_too_little_space_is_refused_before_writing(tmp_path, monkeypatch):
  monkeypatch.setattr(module, "_SPARE", 1e15)
  saver = Checkpoints(tmp_path, keep=1)
  with pytest.raises(BadInput, match="MiB free"):
    saver.save(1, _state(1), {})
  assert not list((tmp_path / "checkpoints").iterdir())


def _poll_until_it_raises(saver: Checkpoints, error: type, match: str) -> None:
  with pytest.raises(error, match=match):
    while saver._saving is not None:
      saver.poll()


def test_a_save_that_fails_in_the_background_is_raised_by_poll(run):
  big = jax.device_put({"w": jax.random.normal(jax.random.key(0), (2**19,))}, ONE)
  saver = Checkpoints(run, keep=2)
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limit[1]))  # no file of this process may pass 1 MiB
  try:
    saver.save(30, big, {})
    _poll_until_it_raises(saver, RuntimeError, "the checkpoint of step 30 could not be saved")
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  step, state, _ = Checkpoints(run, keep=2).restore_newest(SPEC)
  assert step == 20 and _same(state, _state(20))


def test_a_disk_that_fills_up_is_named_and_the_steps_before_stay_good(tmp_path, monkeypatch):
  disk = tmp_path / "disk"
  disk.mkdir()
  mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
  try:
    subprocess.run(mount, check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError):
    pytest.skip("mounting a small tmpfs is not permitted here")
  try:
    monkeypatch.setattr(module, "_SPARE", 0)  # as if the space had gone after the check
    saver = Checkpoints(disk, keep=2)
    saver.save(1, _state(1), {})
    big = jax.device_put({"w": jax.random.normal(jax.random.key(0), (2**21,))}, ONE)
    saver.save(2, big, {})
    _poll_until_it_raises(saver, BadInput, "no space left for step 2; free some space")
    step, state, _ = Checkpoints(disk, keep=2).restore_newest(SPEC)
    assert step == 1 and _same(state, _state(1))
  finally:
    subprocess.run(["umount", "-l", str(disk)], check=True)
