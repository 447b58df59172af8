"""Every config file with every variant: what it means, that its sweep spends what it says, and its mistakes."""

import collections
import dataclasses
import itertools
import pathlib
import re
import runpy
import subprocess
import sys

import pytest

from data import build
from data.clips import ClipConfig
from data.codes import CodesConfig
from data.errors import BadInput
from experiments import ahead, losses
from experiments import config as configs
from experiments.configs import driving, isoflop, markov, motion, motion_drive, perception, tokeniser
from experiments.task import make_task
from scaling.fitting import isoflop as profiles
from scaling.sweeps import trials
from tests.data import random_clips

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = pathlib.Path("experiments/configs")
VARIANTS = {
  "markov": ("", "tiny"),
  "motion": ("", "tiny", "w8", "w32", "w512", "w4096"),
  "motion_ablation": ("", "tiny"),
  "motion_demo": ("", "tiny", "larger"),
  "motion_dreams": ("", "with", "without", "tiny"),
  "motion_drive": ("", "tiny"),
  "motion_ladder": ("", "tiny", "larger"),
  "motion_plan": ("", "tiny", "1b", "8b", "70b"),
  "motion_rate": ("", "tiny"),
  "motion_us101": ("", "tiny"),
  "motion_distil": ("", "tiny"),
  "perception": ("", "tiny", *(name + size for name in perception.OBJECTIVES for size in ("", ":tiny"))),
  "driving": ("", "tiny", *(name + size for name in driving.NAMES for size in ("", ":tiny"))),
  "driving_distil": ("", "tiny"),
  "codes": ("", "tiny", "commavq", "bev"),
  "edge": ("", "tiny"),
  "tokeniser": ("", "tiny", *(name + size for name in tokeniser.NAMES for size in ("", ":tiny"))),
}
RECORDS = {  # of the families that read no windows of agents
  "perception": random_clips.TINY,
  "bev_tokeniser": random_clips.TINY,
  "codes": CodesConfig(steps=4, places=8, codes=16, actions=3),
}
FLEETS = {"fleet"}  # configurations of federated runs: tests/experiments/test_federation.py
LADDERS = ("motion_demo", "motion_ladder")
CASES = [(name, variant) for name, known in VARIANTS.items() for variant in known]
SWEEPS = [
  case
  for case in CASES
  if case[0] in ("markov", "motion_ablation", "motion_demo", "motion_drive", "motion_ladder", "motion_rate")
]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
  monkeypatch.chdir(ROOT)


def path(name: str) -> str:
  return str(FOLDER / f"{name}.py")


def resolved(name: str, variant: str, overrides: dict) -> configs.Train:
  space = runpy.run_path(path(name))
  made = space["get_config"](variant)
  made.update_from_flattened_dict(overrides)
  return configs.from_dict(made.to_dict())


def shape(config: configs.Train, steps: int = build._WINDOW_STEPS.default):
  """The model's own configuration, which counts parameters and FLOPs: what the row of a run is made from."""
  # The teacher, a finished run, does not change the student's shape.
  if config.objective == "distillation":
    config = dataclasses.replace(config, objective="next_token", loss=losses.NextToken(config.loss.z_weight))
  if config.objective == "policy_distillation":
    own = {field.name: getattr(config.loss, field.name) for field in dataclasses.fields(losses.MultiTask)}
    config = dataclasses.replace(config, objective="multi_task", loss=losses.MultiTask(**own))
  window = dataclasses.replace(ahead.WINDOW, steps=steps, agents=build._WINDOW_AGENTS.default)
  return make_task(config, RECORDS.get(config.family, window), 7).model.config


@pytest.mark.parametrize("name", ["perception", "driving", "tokeniser"])
def test_every_model_of_clips_has_a_short_and_small_variant(name):
  """Steps on the clips of results/clips; the time that they take: results/objectives."""
  clips = ClipConfig(
    rig="pair", steps=4, step_seconds=0.5, image_height=32, image_width=64, beams=16, azimuths=64, grid=64, cell_m=1.0,
    rear_m=16.0, boxes=16, futures=6, elements=32, element_points=8,
  )  # fmt: skip
  for variant in VARIANTS[name]:
    if "tiny" in variant:
      config = resolved(name, variant, {})
      task = make_task(config, clips, 7)
      steps = config.tokens / (config.data.batch_windows * (task.tokens or clips.steps * clips.grid**2))
      assert 20 < steps < 200 and task.model.config.non_embedding_params() < 1e6


def test_every_config_is_tested_here():
  holding = {p.stem for p in (ROOT / FOLDER).glob("*.py") if "def get_config" in p.read_text()}
  assert holding == VARIANTS.keys() | FLEETS
  assert {name for name, _ in SWEEPS} == {n for n in holding if "sweep" in runpy.run_path(path(n))}


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_every_variant_is_a_run(name, variant):
  config = resolved(name, variant, {})
  if config.family == "motion" and name != "motion_plan":  # whose depths give the sizes they are named for
    assert config.model.layers == motion.depth(config.model.width)
  assert shape(config).non_embedding_params() > 0
  if variant == "tiny" and config.family == "motion":
    assert config.tokens <= 100_000


@pytest.mark.parametrize(("name", "variant"), SWEEPS)
def test_every_point_spends_its_budget_on_the_ladders_rule(name, variant):
  expanded = trials.expand(path(name), variant, {}, "experiments.train")
  known = name == "markov"  # a source of its own: other windows, another rate
  for trial in expanded:
    config = resolved(name, variant, trial.overrides)
    width, tokens = config.model.width, config.tokens
    cost = (shape(config, markov.STEPS) if known else shape(config)).flops_per_token()
    assert tokens * cost == pytest.approx(trial.flops, rel=1e-4)
    assert config.model.layers == (motion_drive.LAYERS if name == "motion_drive" else motion.depth(width))
    assert config.model.head_dim == motion.head_dim(width)
    assert config.data.batch_windows == (markov.BATCH if known else motion.batch_windows(tokens))
    if name != "motion_rate":
      rate = markov.learning_rate if known else motion.learning_rate
      assert config.optimizer.learning_rate == pytest.approx(rate(tokens))
    assert f"--config.tokens={tokens}" in trial.argv and f"--config={path(name)}" in trial.argv[0]
  if variant == "tiny":
    assert sum(trial.flops for trial in expanded) < 2e10


@pytest.mark.parametrize(("name", "variant"), [case for case in SWEEPS if case[0] in LADDERS])
def test_a_ladder_can_have_minima_inside_and_a_larger_run_beyond(name, variant):
  sizes = collections.defaultdict(set)
  for trial in trials.expand(path(name), variant, {}, "experiments.train"):
    sizes[trial.flops].add(trial.overrides["model.width"])
  if variant == "larger":
    fitted = trials.expand(path(name), "", {}, "experiments.train")
    assert [len(widths) for widths in sizes.values()] == [1]
    assert max(sizes) >= 3 * max(trial.flops for trial in fitted)
    run = resolved(name, variant, {})
    (width,) = sizes[max(sizes)]
    assert (run.model.width, run.tokens) == (width, isoflop.tokens(width, max(sizes)))
    return
  assert len(sizes) >= (2 if variant == "tiny" else 3)
  assert all(len(widths) >= (3 if variant == "tiny" else 5) for widths in sizes.values())
  budgets = sorted(sizes)
  assert all(b > 1.5 * profiles.SAME_BUDGET * a for a, b in itertools.pairwise(budgets))
  middles = [sorted(sizes[b])[len(sizes[b]) // 2] for b in budgets]
  assert middles == sorted(middles)  # the optimum grows with compute


def test_what_the_learning_rates_are_judged_on_is_not_what_the_ladder_is():
  rate, ladder = (resolved(name, "", {}) for name in ("motion_rate", "motion_ladder"))
  assert rate.data.dataset == ladder.data.dataset and rate.data.eval_split != ladder.data.eval_split
  points = collections.defaultdict(set)
  for trial in trials.expand(path("motion_rate"), "", {}, "experiments.train"):
    points[trial.overrides["model.width"], trial.overrides["tokens"]].add(
      trial.overrides["optimizer.learning_rate"]
    )
  assert len(points) >= 4 and len({frozenset(rates) for rates in points.values()}) == 1


def test_the_ablations_are_points_of_the_ladder():
  """Nothing but what is hidden tells them from runs of the ladder."""
  ladder = [t.overrides for t in trials.expand(path("motion_ladder"), "", {}, "experiments.train")]
  ablations = [t.overrides for t in trials.expand(path("motion_ablation"), "", {}, "experiments.train")]
  assert {o["data.blind_to"] for o in ablations} == {"map", "agents"}
  for overrides in ablations:
    assert {key: value for key, value in overrides.items() if key != "data.blind_to"} in ladder
  assert resolved("motion_ablation", "", {}) == resolved("motion_ladder", "", {})


def test_the_prediction_that_the_ladder_documents_is_of_its_larger_run():
  said = (ROOT / path("motion_ladder")).read_text()
  given = {name: float(value) for name, value in re.findall(r"--predict_(\w+)=([\d.e]+)", said)}
  run = resolved("motion_ladder", "larger", {})
  assert given["params"] == shape(run).non_embedding_params() and given["tokens"] == run.tokens
  assert given["flops"] == pytest.approx(run.tokens * shape(run).flops_per_token(), rel=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_expectations_are_references_to_results(name):
  """A figure in a docstring goes stale; a folder of results is made anew."""
  said = runpy.run_path(path(name))["__doc__"]
  folders = re.findall(r"results/([\w.]+\w)", said)
  assert folders and all((ROOT / "results" / folder).exists() for folder in folders)
  assert not re.search(r"\d+(?:\.\d+)? (?:nats|%|minutes)", said)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("function", ["get_config", "sweep"])
def test_no_mistyped_variant_is_taken_for_another(name, function):
  space = runpy.run_path(path(name))
  if function in space:
    for variant in ("tinny", "largr", "wide", "w0", "w-8"):
      with pytest.raises(BadInput, match=f"{name}.py: has no variant '{variant}'") as caught:
        space[function](variant)
      assert variant != "tinny" or caught.value.remedy == "did you mean 'tiny'?"


@pytest.mark.parametrize(
  ("flag", "words"),
  [
    ("--config=experiments/configs/motion_rate.py:tinny", "did you mean 'tiny'?"),
    ("--config=experiments/configs/motion_ladder.py:largr", "did you mean 'larger'?"),
    ("--config=experiments/configs/motion.py:wide", "take one such as tiny, w8"),
    ("--engine=snakemake", "should be one of <local|serial|skypilot|jobset>"),
    ("--engine=jobset", "names no resources; give trial.resources in its point, or --resources for all"),
    ("--config.data.dataset=none", "none/dataset.json: no such file; make the dataset"),
    ("--points=none.json", "none.json: no such file; give --points=FILE.json"),
    ("--config.seed=7", "--config.seed: sets every trial to 7, but sweep point"),
  ],
)
def test_a_mistake_ends_the_sweep_before_it_begins(tmp_path, flag, words):
  config = [] if flag.startswith("--config=") else [f"--config={path('motion_rate')}"]
  command = [sys.executable, "-m", "scaling.sweep", *config, flag, f"--workdir={tmp_path / 'w'}"]
  done = subprocess.run(command, capture_output=True, text=True, timeout=60)
  assert done.returncode == 2 and words in done.stderr and done.stdout == ""
  assert not (tmp_path / "w").exists()
