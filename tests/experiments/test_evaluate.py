"""The held-out loss against its definition, window by window, however the split is cut into batches."""

import dataclasses

import jax
import numpy as np
import pytest

from data import dataset_writer, datasets, motion
from data.errors import BadInput
from experiments import evaluate as evaluation
from experiments import mesh as meshes
from experiments.config import from_dict
from experiments.configs.motion import get_config
from experiments.task import make_task
from objectives import draws, metrics, next_token
from tests.data import tiny_datasets
from tests.worlds import straight_scene

DOMAINS = ("apron", "rural", "suburb", "highway")
COUNT = 13  # held-out windows: no batch below is filled by them


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
  """The dataset and its 13 held-out windows: nobody moves in "rural", "suburb" is in no window."""
  windows = tiny_datasets.numbered_windows(COUNT + 4)
  rng = np.random.default_rng(1)
  for number, window in enumerate(windows):
    window["tokens_TxA"][:] = rng.integers(0, motion.VOCABULARY, window["tokens_TxA"].shape)
    window["type_A"][:] = rng.integers(0, 8, window["type_A"].shape)
    window["domain"][...] = (0, 1, 3, 0)[number % 4]
    if window["domain"] == 1:
      window["moving_A"][:] = False
  examples = [("train", windows[COUNT:]), ("validation", windows[:COUNT])]
  out = tmp_path_factory.mktemp("held_out") / "dataset"
  dataset_writer.write_dataset(
    out,
    ((split, straight_scene(12, 3, dt=0.5), part) for split, part in examples),
    tiny_datasets.WINDOW, DOMAINS, ("train", "validation"), {},
  )  # fmt: skip
  return datasets.open_dataset(out), windows[:COUNT]


def _apply(variables, batch):
  """Logits that depend on the agent's type alone: (1 + type) times a table."""
  scale = 1.0 + batch["type_BxA"].astype(np.float32)
  shape = (*batch["tokens_BxTxA"].shape, motion.VOCABULARY)
  table = variables["params"]["table"]
  return jax.numpy.broadcast_to(scale[:, None, :, None] * table[None, None, None], shape)


TABLE = np.random.default_rng(2).normal(size=motion.VOCABULARY).astype(np.float32)
TASK = dataclasses.replace(
  make_task(from_dict(get_config("tiny").to_dict()), tiny_datasets.WINDOW, len(DOMAINS)),
  held_out=next_token.make_loss(_apply, 0.1, len(DOMAINS)),
)


def _mesh(devices: int):
  return meshes.make_mesh(devices, 1, 1, 1, jax.devices()[:devices])


def _expected(windows) -> dict[str, float]:
  """Slice to mean nats: every supervised move of every window counts once, in float64."""
  found: dict[str, list[float]] = {}
  for window in windows:
    domain = DOMAINS[int(window["domain"])]
    for t, a in np.argwhere(window["mask_TxA"]):
      logits = (1.0 + window["type_A"][a]) * TABLE.astype(np.float64)
      nats = np.log(np.exp(logits).sum()) - logits[window["tokens_TxA"][t, a]]
      moving = ["moving", f"moving/{domain}"] if window["moving_A"][a] else []
      for name in ["", domain, *moving]:
        found.setdefault(name, []).append(nats)
  return {name: float(np.mean(values)) for name, values in found.items()}


@pytest.mark.parametrize(("devices", "together"), [(1, 4), (1, 64), (8, 8), (8, 64)])
def test_every_held_out_move_counts_once(held_out, monkeypatch, devices, together):
  """Batches of 4, 13, 8 and 16: the last is filled up with nothing in all cases but the second."""
  monkeypatch.setattr(evaluation, "_RECORDS", together)
  dataset, windows = held_out
  found = evaluation.evaluate(TASK, dataset, _mesh(devices), {"table": TABLE}, "validation")
  expected = _expected(windows)
  assert found["loss"] == pytest.approx(expected.pop(""), rel=1e-5)
  assert found["by_slice"] == pytest.approx(expected, rel=1e-5)
  assert found["by_slice"].keys() == {
    "apron", "rural", "highway", "moving", "moving/apron", "moving/highway"
  }  # fmt: skip
  assert len({round(value, 3) for value in expected.values()}) == 6, "slices agree: nothing is compared"


def test_what_is_drawn_for_a_record_hangs_on_no_mesh_and_no_batch(held_out, monkeypatch):
  """Noise of the 13 windows, in batches of 13, 4 and 8, filled up or not, on one device and on eight."""

  def to_batch(stacked):
    return {"real_B": stacked["real"], "position_B": stacked["position"]}

  def noise(params, batch, key):
    del params
    drawn = draws.normal(key, batch, batch["real_B"].astype(np.float32)) + draws.times(key, batch)
    return {"loss": metrics.weighted(drawn, batch["real_B"])}

  task, found = dataclasses.replace(TASK, held_out=noise, to_batch=to_batch), []
  for devices, together in ((1, 64), (1, 4), (8, 8)):
    monkeypatch.setattr(evaluation, "_RECORDS", together)
    found.append(evaluation.evaluate(task, held_out[0], _mesh(devices), {}, "validation")["loss"])
  assert found[1:] == pytest.approx(found[:1] * 2, rel=1e-6)


def test_where_nobody_moves_there_is_no_slice_of_moving_agents(held_out):
  """A NaN in its place could not be written, and would lose the run at its end."""

  def to_batch(stacked):
    batch = TASK.to_batch(stacked)
    return batch | {"moving_BxA": np.zeros_like(batch["moving_BxA"])}

  still = dataclasses.replace(TASK, to_batch=to_batch)
  found = evaluation.evaluate(still, held_out[0], _mesh(1), {"table": TABLE}, "validation")
  assert found["by_slice"].keys() == {"apron", "rural", "highway"} and found["loss"] > 0


def test_intersections_over_unions_are_reported_as_their_mean_over_classes(held_out):
  """Class 2 never occurs, and in "later_iou" no class does."""

  def loss_fn(params, batch, key):
    both, either = jax.numpy.asarray([1.0, 3.0, 0.0]), jax.numpy.asarray([4.0, 4.0, 0.0])
    return TASK.held_out(params, batch, key) | {"iou": (both, either), "later_iou": (0 * both, 0 * either)}

  task = dataclasses.replace(TASK, held_out=loss_fn)
  found = evaluation.evaluate(task, held_out[0], _mesh(1), {"table": TABLE}, "validation")
  assert found["by_slice"]["iou"] == pytest.approx((1 / 4 + 3 / 4) / 2)
  assert "later_iou" not in found["by_slice"]


def test_a_loss_that_is_not_finite_is_refused(held_out):
  with pytest.raises(BadInput, match=r"the loss is nan.*check the split"):
    evaluation.evaluate(TASK, held_out[0], _mesh(1), {"table": TABLE * np.nan}, "validation")


def test_a_split_that_is_not_there_is_refused(held_out):
  with pytest.raises(BadInput, match=r"split 'tune' holds no windows.*train, validation"):
    evaluation.evaluate(TASK, held_out[0], _mesh(1), {"table": TABLE}, "tune")
