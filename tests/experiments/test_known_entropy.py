"""Tokens of known entropy through the ordinary path: dataset, reader, loss accounting, training, fit."""

import csv
import dataclasses
import itertools
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import dataset_writer, datasets, markov
from data.windows import WindowConfig
from experiments import evaluate as evaluation
from experiments import mesh as meshes
from experiments.config import from_dict
from experiments.configs import markov as markov_config
from experiments.loop import train
from experiments.preemption import StopSignal
from experiments.run_directory import RunDirectory
from experiments.task import make_task
from objectives import next_token
from scaling import analysis, table

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "known_entropy"
TABLES = 0
DOMAINS = tuple(markov.DOMAINS)


def write(out: pathlib.Path, domains: tuple[str, ...], steps: dict[str, int]) -> datasets.Dataset:
  """A dataset with a stream of `steps` moves per domain and split."""
  window = WindowConfig(dt=0.5, steps=8, agents=16, points=64, stops=2, phases=1, least_moves=4)
  examples = [
    (split, None, markov.windows(dataclasses.replace(job, steps=steps[split]), window, domains.index(job.domain)))
    for number, split in enumerate(steps)
    for job in markov.plan(0, len(steps), 8, 0.5, domains)[number :: len(steps)]
  ]  # fmt: skip
  notes = {"source": "markov", "arguments": {"seed": TABLES}}
  notes["entropy"] = {domain: markov.entropy(domain) for domain in domains}
  dataset_writer.write_dataset(out, examples, window, domains, tuple(steps), notes, ("windows",))
  return datasets.open_dataset(out)


VALUES = markov_config.get_config().to_dict()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
  return write(tmp_path_factory.mktemp("mixed") / "dataset", DOMAINS, {"train": 8, "validation": 8 * 120})


def truth(params, batch):
  """ln P as logits, up to a constant that the loss must not see."""
  del params

  def look(tokens_BxTxA, type_BxA):
    found = np.zeros((*tokens_BxTxA.shape, markov.V), np.float32)
    for domain in DOMAINS:
      rows = type_BxA[:, 0] == markov.agent_type(domain)
      found[rows] = markov.log_probabilities(domain, TABLES, tokens_BxTxA[rows])
    return found + 3.0

  shape = jax.ShapeDtypeStruct((*batch["tokens_BxTxA"].shape, markov.V), jnp.float32)
  return jax.pure_callback(look, shape, batch["tokens_BxTxA"], batch["type_BxA"])


def held_out(dataset: datasets.Dataset, apply) -> dict:
  task = make_task(from_dict(VALUES), dataset.config, len(dataset.domains))
  task = dataclasses.replace(task, held_out=next_token.make_loss(apply, 1e-4, len(dataset.domains)))
  mesh = meshes.make_mesh(1, 1, 1, 1, jax.devices()[:1])
  return evaluation.evaluate(task, dataset, mesh, {}, "validation")


def error_of(domain: str, count: int) -> float:
  """Standard error of the mean of -ln p over `count` independent ranks."""
  p = markov.probabilities(domain)
  return float(np.sqrt(((p * np.log(p) ** 2).sum() - markov.entropy(domain) ** 2) / count))


def test_the_true_probabilities_cost_the_entropy_in_the_ordinary_held_out_loss(mixed):
  found = held_out(mixed, truth)
  each = mixed.manifest["splits"]["validation"]["tokens"] // len(DOMAINS)
  errors = {domain: error_of(domain, each) for domain in DOMAINS}
  for domain in DOMAINS:
    assert abs(found["by_slice"][domain] - markov.entropy(domain)) < 4 * errors[domain]
  expected = np.mean([markov.entropy(domain) for domain in DOMAINS])
  assert abs(found["loss"] - expected) < 4 * np.linalg.norm(list(errors.values())) / len(DOMAINS)
  assert set(found["by_slice"]) == set(DOMAINS), "nobody moves in this source"


@pytest.mark.parametrize("fault", ["time", "agents"])
def test_a_loss_that_reads_the_wrong_token_is_seen(mixed, fault):
  """Targets one step or one slot off cost far more than the entropy: the oracle above would notice."""
  axis = 1 if fault == "time" else 2

  def shifted(params, batch):
    return jnp.roll(truth(params, batch), 1, axis=axis)

  found = held_out(mixed, shifted)["by_slice"]
  assert all(found[domain] > markov.entropy(domain) + 0.5 for domain in DOMAINS if domain != "order_0")


def test_a_small_model_comes_down_to_the_entropy_and_not_below(tmp_path, setup_on):
  domains = ("order_0", "order_1")
  dataset = write(tmp_path / "dataset", domains, {"train": 8 * 1200, "validation": 8 * 150})
  values = VALUES | {"tokens": 400_000}
  values["data"] = VALUES["data"] | {"dataset": str(dataset.path), "batch_windows": 8}
  values["optimizer"] = VALUES["optimizer"] | {"learning_rate": 0.02}
  with RunDirectory.open(tmp_path / "run", values) as directory:
    row = train(directory, setup_on(1, from_dict(values), dataset), StopSignal())
  each = dataset.manifest["splits"]["validation"]["tokens"] // 2
  for domain, excess in (("order_0", 0.01), ("order_1", 0.06)):
    above = row["loss_by_slice"][domain] / markov.entropy(domain) - 1
    noise = 3 * error_of(domain, each) / markov.entropy(domain)
    assert -noise < above < excess + noise, (domain, above)


def ladder(dataset: datasets.Dataset, path: pathlib.Path) -> dict:
  """A run table that lies on a law without noise, E the entropy; the law."""
  law = {"E": np.mean([markov.entropy(domain) for domain in DOMAINS]), "A": 30.0, "B": 50.0}
  law |= {"alpha": 0.5, "beta": 0.4, "ci95": {"E": [law["E"] - 0.1, law["E"] + 0.1]}}
  with open(path, "w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, table.COLUMNS)
    writer.writeheader()
    for n, d in itertools.product((1e3, 1e4), (1e5, 1e6)):
      loss = law["E"] + law["A"] * n ** -law["alpha"] + law["B"] * d ** -law["beta"]
      slices = json.dumps(dict.fromkeys(DOMAINS, loss))
      row = {
        "run_id": f"{n}-{d}",
        "config_hash": f"{n}-{d}",
        "params": n,
        "tokens": d,
        "flops": 6 * n * d,
        "loss": loss,
      }
      row |= {"loss_by_slice": slices, "split_fingerprint": f"{dataset.fingerprint}/validation"}
      writer.writerow(dict.fromkeys(table.COLUMNS, "x") | {"params_convention": "non_embedding"} | row)
  return law


def test_a_law_is_compared_with_the_truth_of_its_own_dataset(mixed, tmp_path):
  fit = {"approach3": ladder(mixed, tmp_path / "runs.csv")}
  (tmp_path / "fit.json").write_text(json.dumps(fit))
  given = [f"--dataset={mixed.path}", f"--runs={tmp_path / 'runs.csv'}", f"--fit={tmp_path / 'fit.json'}"]

  def run(split: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.known_entropy", *given, f"--split={split}"]
    return subprocess.run(
      [*command, f"--out={tmp_path}"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )

  done = run("validation")
  assert done.returncode == 0 and "inside" in done.stdout, done.stdout + done.stderr
  found = json.loads((tmp_path / "known_entropy.json").read_text())
  assert found["error_percent"] == pytest.approx(0, abs=1e-9) and found["inside_ci95"]
  assert found["entropy"] == pytest.approx(np.mean([markov.entropy(domain) for domain in DOMAINS]))
  measured = held_out(mixed, truth)
  assert found["loss_of_the_truth"] == pytest.approx(measured["loss"], rel=1e-5)
  assert found["loss_of_the_truth_by_domain"] == pytest.approx(measured["by_slice"], rel=1e-5)
  assert (tmp_path / "known_entropy.png").stat().st_size > 10_000
  other = run("train")
  assert other.returncode == 2 and "not on" in other.stderr and "Traceback" not in other.stderr


@pytest.mark.parametrize("name", ["runs", "seed1", "seed2"])
def test_the_fitted_irreducible_loss_is_the_entropy(name):
  """Of the stored ladders: within 2 %, the truth inside the interval, and nearer than the best run came."""
  found = analysis.analyse([RESULTS / f"{name}.csv"], "huber", 400, 0, 0)
  expected = float(np.mean([markov.entropy(domain) for domain in DOMAINS]))
  law = analysis.as_json(found)["approach3"]
  assert law["E"] == pytest.approx(expected, rel=0.02)
  low, high = law["ci95"]["E"]
  assert low <= expected <= high and high - low < 0.05 * expected
  assert abs(law["E"] - expected) < found.fitted.loss.min() - expected


def test_the_first_ladder_missed_and_is_kept():
  found = analysis.analyse([RESULTS / "first.csv"], "huber", 0, 0, 0)
  expected = float(np.mean([markov.entropy(domain) for domain in DOMAINS]))
  assert analysis.as_json(found)["approach3"]["E"] == pytest.approx(0.961 * expected, rel=0.002)
