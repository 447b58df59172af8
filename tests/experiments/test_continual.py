"""A run's loss on every record, and gates over them: equal weights pass, planted damage in one domain does not."""

import dataclasses
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import dataset_writer
from data.datasets import open_dataset
from data.errors import BadInput
from experiments import continual, per_record
from experiments.config import from_dict
from experiments.configs.motion import get_config
from experiments.evaluate import evaluate
from experiments.losses import Distillation, NextToken
from experiments.mesh import make_mesh
from experiments.run import Run
from experiments.task import make_task
from objectives import draws, metrics
from tests.data import tiny_datasets
from tests.worlds import straight_scene

WINDOWS, SCENE, DOMAINS, SPLITS = 150, 5, ("early", "late"), ("train", "validation")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """Fresh weights on windows of two domains, told apart by the kind of their agents."""
  out = tmp_path_factory.mktemp("continual") / "d"
  windows = tiny_datasets.numbered_windows(WINDOWS)
  for number, window in enumerate(windows):
    window["mask_TxA"][:] = True
    window["features_TxAxF"][:] *= 0.1
    window["domain"] = np.uint8(number >= WINDOWS // 2)
    window["type_A"][:] = window["domain"]
  scene = straight_scene()
  examples = [
    (split, scene, windows[first : first + SCENE]) for split in SPLITS for first in range(0, WINDOWS, SCENE)
  ]
  dataset_writer.write_dataset(out, examples, tiny_datasets.WINDOW, DOMAINS, SPLITS, {})
  dataset = open_dataset(out)
  config = from_dict(get_config("tiny").to_dict())
  task = make_task(config, dataset.config, len(DOMAINS))
  batch = task.to_batch(dataset.example())
  params = nn.unbox(jax.jit(task.init)(jax.random.key(0), batch))["params"]
  params["bias"] = params["bias"] + 0.1 * jax.random.normal(jax.random.key(1), params["bias"].shape)
  return Run(pathlib.Path("base"), {}, config, dataset, task, params)


def test_records_add_up_to_the_held_out_loss(run):
  losses = per_record.losses(run, "train")
  mesh = make_mesh(1, 1, 1, 1, jax.devices()[:1])
  whole = evaluate(run.task, run.dataset, mesh, run.params, "train")
  assert len(losses.sum_N) == WINDOWS
  assert losses.sum_N.sum() / losses.count_N.sum() == pytest.approx(whole["loss"], rel=1e-5)
  assert losses.unit_N.tolist() == (np.arange(WINDOWS) // SCENE).tolist()
  late = per_record.labels(run.dataset, "train")["domain"] == 1
  assert losses.sum_N[late].sum() / losses.count_N[late].sum() == pytest.approx(
    whole["by_slice"]["late"], rel=1e-5
  )


def test_every_record_has_noise_of_its_own_and_not_of_one_draw(run):
  """Of N(0, 1): 150 records, each the mean of some draws, so that their variance is less than a half."""

  def to_batch(stacked):
    rows = len(stacked["domain"])
    return {"real_B": np.ones(rows, bool), "position_B": stacked["position"]}

  def noise(params, batch, key):
    del params
    drawn = draws.normal(key, batch, batch["real_B"].astype(np.float32))
    return {"loss": metrics.weighted(drawn, batch["real_B"])}

  task = dataclasses.replace(run.task, held_out=noise, to_batch=to_batch)
  losses = per_record.losses(dataclasses.replace(run, task=task), "train")
  assert len(np.unique(losses.sum_N)) == WINDOWS and (losses.count_N == 1).all()
  assert 0.1 < losses.sum_N.var() < 0.5
  assert abs(losses.sum_N.mean()) < 5 * (0.25 / WINDOWS) ** 0.5


def test_what_a_run_has_lost_is_found_where_it_was_lost(run, monkeypatch):
  """One that knew agents of the early domain better, followed by one that does not."""
  knowing = dict(run.params)
  kick = jnp.sign(jax.random.normal(jax.random.key(5), run.params["type"][0].shape))
  knowing["type"] = run.params["type"].at[0].add(3.0 * kick)  # by chance nearer to the windows' moves
  runs = {
    "base": run,
    "knowing": Run(pathlib.Path("knowing"), {}, run.config, run.dataset, run.task, knowing),
  }
  monkeypatch.setattr(continual, "open_run", lambda name, dataset="": runs[name])
  allowed = {"domain=early": 0.0, "domain=late": 0.0}
  same = continual.compare("base", "base", allowed, "train", 0.95)
  assert not any(verdict.closed for verdict in same.values())
  lost = continual.compare("base", "knowing", allowed, "train", 0.95)
  assert lost["domain=early"].closed and lost["domain=early"].change > 0.5
  assert not lost["domain=late"].closed and lost["domain=late"].change == 0.0


def opened(monkeypatch, **runs):
  monkeypatch.setattr(continual, "open_run", lambda name, dataset="": runs[name])


def test_what_a_probe_reads_is_compared_where_losses_rank_nothing(run, monkeypatch):
  """Features that tell the domains apart, followed by none: all that is left is the first domain's name."""

  def features(embed):
    return dataclasses.replace(run, task=dataclasses.replace(run.task, ranks=False, embed=embed))

  opened(
    monkeypatch,
    telling=features(lambda params, batch: jax.nn.one_hot(batch["domain_B"], 2)),
    collapsed=features(lambda params, batch: jnp.zeros((len(batch["domain_B"]), 2))),
  )
  allowed = {"domain=early": 0.0, "domain=late": 0.0}
  found = continual.compare("collapsed", "telling", allowed, "validation", 0.95, (), "domain")
  assert found.keys() == {"domain in domain=early", "domain in domain=late"}
  late, early = found["domain in domain=late"], found["domain in domain=early"]
  assert (late.before, late.after, late.closed) == (0.0, 1.0, True)
  assert (early.before, early.after, early.closed) == (0.0, 0.0, False)
  with pytest.raises(BadInput, match="no target 'speed'; choose one of acceleration, agents"):
    continual.compare("collapsed", "telling", allowed, "validation", 0.95, (), "speed")


@pytest.mark.parametrize(
  ("changes", "words"),
  [(dict(ranks=False), "falls when features collapse"), (dict(compares=True), "none of a record alone")],
)
def test_losses_that_rank_no_runs_or_need_a_batch_open_no_gate(run, monkeypatch, changes, words):
  other = dataclasses.replace(run, task=dataclasses.replace(run.task, **changes))
  opened(monkeypatch, base=run, other=other)
  for pair in (("base", "other"), ("other", "base")):
    with pytest.raises(BadInput, match=rf"{words}.*--probe="):
      continual.compare(*pair, {"domain=early": 0.0}, "validation", 0.95)


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    (dict(family="codes"), "family is 'codes' of the one, 'motion' of the other"),
    (dict(objective="masked"), "objective is 'masked' of the one, 'next_token' of the other"),
    (dict(loss=NextToken(0.25)), "loss.z_weight is 0.25 of the one, 0.0001 of the other"),
  ],
)
def test_losses_of_another_kind_are_not_compared(run, monkeypatch, changes, words):
  other = dataclasses.replace(run, config=dataclasses.replace(run.config, **changes))
  runs = {"base": run, "other": other}
  monkeypatch.setattr(continual, "open_run", lambda name, dataset="": runs[name])
  with pytest.raises(BadInput, match=words):
    continual.compare("other", "base", {"domain=early": 0.0}, "train", 0.95)


def test_a_student_is_judged_as_what_it_follows(run, monkeypatch):
  loss = Distillation(
    "build/run", weight=0.5, features=0.0, temperature=2.0, z_weight=run.config.loss.z_weight
  )
  config = dataclasses.replace(run.config, objective="distillation", loss=loss)
  opened(monkeypatch, base=run, student=dataclasses.replace(run, config=config))
  found = continual.compare("student", "base", {"domain=early": 0.0}, "validation", 0.95)
  assert found["domain=early"].after == found["domain=early"].before
