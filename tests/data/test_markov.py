"""The source of known entropy by itself: its closed form, its contexts, what ignoring them costs."""

import dataclasses
import pathlib
import statistics
import subprocess
import sys

import numpy as np
import pytest

from data import dataset_writer, datasets, markov, reader
from data.errors import BadInput
from data.windows import WindowConfig

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLES = 0
WINDOW = WindowConfig(dt=0.5, steps=8, agents=4, points=8, stops=1, phases=1, least_moves=4)


def draw(domain: str, shape: tuple[int, int, int], seed: int = 1) -> np.ndarray:
  return markov.sample(domain, TABLES, np.random.default_rng(seed), shape)


def nats(logs: np.ndarray, tokens: np.ndarray) -> np.ndarray:
  return -np.take_along_axis(logs, tokens[..., None].astype(np.int64), -1)[..., 0]


def error_of(values: np.ndarray) -> float:
  return float(values.std() / np.sqrt(values.size))


@pytest.mark.parametrize("domain", markov.DOMAINS)
def test_the_entropy_is_that_of_a_tilted_normal(domain):
  """H = ln Z - s E[q], which the sum over p does not use."""
  s = markov.DOMAINS[domain].sharpness
  q = np.array([statistics.NormalDist().inv_cdf((r + 0.5) / markov.V) for r in range(markov.V)])
  tilted = np.exp(s * q)
  expected = np.log(tilted.sum()) - s * (tilted * q).sum() / tilted.sum()
  assert markov.entropy(domain) == pytest.approx(expected, rel=1e-12)
  assert 0 < markov.entropy(domain) < np.log(markov.V)


@pytest.mark.parametrize("domain", markov.DOMAINS)
def test_every_context_permutes_one_distribution(domain):
  logs = markov.log_probabilities(domain, TABLES, draw(domain, (3, 6, 3)))
  wanted = np.log(np.sort(markov.probabilities(domain)))
  assert np.allclose(np.sort(logs, axis=-1), wanted, rtol=1e-6)


@pytest.mark.parametrize("domain", markov.DOMAINS)
def test_a_long_stream_costs_its_entropy_and_no_less(domain):
  tokens = draw(domain, (60, 16, 16))
  cost = nats(markov.log_probabilities(domain, TABLES, tokens), tokens)
  assert abs(cost.mean() - markov.entropy(domain)) < 4 * error_of(cost)
  assert abs(cost[:, 0].mean() - markov.entropy(domain)) < 4 * error_of(cost[:, 0]), "the first step as well"


@pytest.mark.parametrize(
  ("domain", "read"),
  [
    ("order_0", set()),
    ("order_1", {(4, 2)}),
    ("order_2", {(4, 2), (3, 2)}),
    ("coupled", {(4, 2), (5, 1)}),
  ],
)
def test_a_token_depends_on_its_context_and_on_nothing_else(domain, read):
  tokens = draw(domain, (1, 7, 4))
  before = markov.log_probabilities(domain, TABLES, tokens)[0, 5, 2]
  found = set()
  for t, a in np.ndindex(7, 4):
    other = tokens.copy()
    other[0, t, a] = (other[0, t, a] + 100) % markov.V
    if (markov.log_probabilities(domain, TABLES, other)[0, 5, 2] != before).any():
      found.add((t, a))
  assert found == read


def test_frequencies_of_the_stream_are_the_stated_ones():
  """Counts of next tokens after the most frequent last token, against the truth: chi-square."""
  tokens = draw("order_1", (400, 16, 16))
  last, after = tokens[:, :-1].ravel(), tokens[:, 1:].ravel()
  context = np.bincount(last).argmax()
  counts = np.bincount(after[last == context], minlength=markov.V)
  row = markov.log_probabilities("order_1", TABLES, np.full((1, 2, 1), context, np.int16))[0, 1, 0]
  expected = np.exp(row.astype(np.float64)) * counts.sum()
  common = expected > 5
  square = ((counts - expected)[common] ** 2 / expected[common]).sum()
  freedom = common.sum()
  assert counts.sum() > 2000 and abs(square - freedom) < 5 * np.sqrt(2 * freedom)


def test_ignoring_the_past_costs_the_entropy_of_the_stationary_distribution():
  """Of a chain of order 1: unigrams cost H(pi), pi P = pi, above the entropy rate H by a closed form."""
  every = np.tile(np.arange(markov.V, dtype=np.int16)[:, None, None], (1, 2, 1))
  table = np.exp(markov.log_probabilities("order_1", TABLES, every)[:, 1, 0].astype(np.float64))
  pi = np.full(markov.V, 1 / markov.V)
  for _ in range(200):
    pi = pi @ table / (pi @ table).sum()
  tokens = draw("order_1", (500, 100, 2))[:, 20:].ravel()
  cost = -np.log(pi[tokens])
  assert abs(cost.mean() + (pi * np.log(pi)).sum()) < 0.01
  assert cost.mean() > markov.entropy("order_1") + 0.5


@pytest.mark.parametrize(
  ("domain", "axis", "worth"), [("order_1", 1, 1.0), ("order_2", 1, 0.5), ("coupled", 2, 0.5)]
)
def test_a_wrong_context_costs_more(domain, axis, worth):
  """The truth given another window's past (axis 1) or neighbours (axis 2) instead of its own."""
  tokens = draw(domain, (60, 16, 16))
  strange = np.roll(tokens, 1, axis=0)
  t, a = slice(2, None), slice(1, None)
  # Contexts of the step t, agent a from `mixed`: own past or neighbours are those of another window.
  if axis == 1:
    logs = markov.log_probabilities(domain, TABLES, strange)
  else:
    mixed = tokens.copy()
    mixed[:, :, 0::2] = strange[:, :, 0::2]
    logs, a = markov.log_probabilities(domain, TABLES, mixed), slice(1, None, 2)
  cost = nats(logs, tokens)[:, t, a]
  assert cost.mean() > markov.entropy(domain) + worth


def test_only_coupled_agents_know_of_each_other():
  """Of a pair's joint law, what the neighbour adds: the best table over `before` helps where it should."""
  gain = {}
  for domain in ("order_1", "coupled"):
    tokens = draw(domain, (4000, 8, 8))
    before, here = tokens[:, :, :-1].ravel(), tokens[:, :, 1:].ravel()
    half = len(here) // 2
    joint = np.bincount(before[:half] * np.int64(markov.V) + here[:half], minlength=markov.V**2)
    joint = joint.reshape(markov.V, markov.V)
    single = (joint.sum(0) + 1) / (joint.sum() + markov.V)
    table = (joint + 500 * single) / (joint.sum(1, keepdims=True) + 500)
    cost = -np.log(table[before[half:], here[half:]])
    gain[domain] = (-np.log(single[here[half:]]) - cost).mean()
  assert gain["order_1"] < 0 and gain["coupled"] > 0.1, gain


def test_a_stream_depends_on_its_seed_and_number_alone():
  few, many = markov.plan(7, 2, 32, 0.5), markov.plan(7, 3, 32, 0.5)
  assert set(few) < set(many) and len({job.seed for job in many}) == len(many) == 3 * len(markov.DOMAINS)
  job = few[-1]
  one, again = markov.windows(job, WINDOW, 1), markov.windows(job, WINDOW, 1)
  other = markov.windows(dataclasses.replace(job, seed=job.seed + 1), WINDOW, 1)
  assert len(one) == 4
  assert all((a["tokens_TxA"] == b["tokens_TxA"]).all() for a, b in zip(one, again, strict=True))
  assert all((a["tokens_TxA"] != b["tokens_TxA"]).any() for a, b in zip(one, other, strict=True))


def test_windows_say_nothing_but_tokens_domain_and_type():
  (job,) = markov.plan(0, 1, 8, 0.5, domains=("coupled",))
  (window,) = markov.windows(job, WINDOW, 2)
  assert window["mask_TxA"].all() and window["valid_TxA"].all() and not window["features_TxAxF"].any()
  assert (window["group_A"] == 1).all() and (window["type_A"] == markov.agent_type("coupled")).all()
  assert window["domain"] == 2 and not window["moving_A"].any()
  assert window["tokens_TxA"].min() >= 0 and window["tokens_TxA"].max() < markov.V


def test_a_stream_shorter_than_a_window_is_refused():
  (job,) = markov.plan(0, 1, 7, 0.5, domains=("order_0",))
  with pytest.raises(BadInput, match="7 steps make no window of 8"):
    markov.windows(job, WINDOW, 0)


def test_its_dataset_has_no_logs_and_says_so_and_its_streams_are_scenes(tmp_path):
  jobs = markov.plan(0, 2, 16, 0.5, domains=("order_0",))
  examples = [("train", None, markov.windows(job, WINDOW, 0)) for job in jobs]
  notes = {"source": "markov"}
  out = tmp_path / "dataset"
  dataset_writer.write_dataset(out, examples, WINDOW, ("order_0",), ("train",), notes, ("windows",))
  dataset = datasets.open_dataset(out)
  assert dataset.manifest["splits"]["train"] == {"scenes": 2, "windows": 4, "tokens": 128}
  assert reader.labels(reader.RecordSource(dataset, "train", ["scene"]), ["scene"])["scene"].tolist() == [
    0,
    0,
    1,
    1,
  ]
  assert sorted(p.name for p in out.iterdir()) == ["dataset.json", "windows"]
  with pytest.raises(BadInput, match="holds no scenes: markov makes none; choose a dataset made from logs"):
    list(dataset.scenes("train"))
  with pytest.raises(BadInput, match="holds no rollouts"):
    dataset.records("rollouts", "train")


def run(module: str, *arguments: str, code: int) -> str:
  command = [sys.executable, "-m", module, *arguments]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
  assert done.returncode == code, done.stdout + done.stderr
  return done.stdout + done.stderr


def test_data_build_makes_it_whatever_the_workers_and_an_audit_refuses_it(tmp_path):
  options = ["--source=markov", "--scenes_per_domain=3", "--steps=16", "--window_steps=8"]
  for workers in ("1", "2"):
    said = run("data.build", *options, f"--workers={workers}", f"--out={tmp_path / workers}", code=0)
    assert (
      said.count("fractions cannot be kept: asked for train 80%, tune 6%, validation 14%; 12 scenes") == 1
    )
  dataset, other = (datasets.open_dataset(tmp_path / workers) for workers in ("1", "2"))
  assert dataset.manifest == other.manifest, "files, hashes and all"
  assert dataset.domains == tuple(sorted(markov.DOMAINS))
  assert dataset.manifest["notes"]["entropy"] == {name: markov.entropy(name) for name in markov.DOMAINS}
  moves = len(markov.DOMAINS) * 16 * 16  # in a stream of every domain
  assert [c["tokens"] for c in dataset.manifest["splits"].values()] == [moves] * 3
  said = run("data.audit", f"--dataset={dataset.path}", code=2)
  assert "holds no scenes" in said and "Traceback" not in said
  said = run("data.build", *options, "--input=logs", f"--out={tmp_path / 'no'}", code=2)
  assert "--input" in said and not (tmp_path / "no").exists()
  said = run("data.build", "--source=markov", "--steps=8", f"--out={tmp_path / 'no'}", code=2)
  assert "8 steps make no window of 16" in said and not (tmp_path / "no").exists()
