"""A fit read back is the fit that was written; and one sentence for every way it may not be."""

import json
import pathlib

import numpy as np
import pytest

from data.errors import BadInput
from scaling import analysis, table
from scaling.advice import fitted
from scaling.fitting import isoflop, parametric
from scaling.fitting.bootstrap import Resampling
from tests.scaling import ladder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  return ladder.fit(tmp_path_factory.mktemp("fit"), ladder.motion())


@pytest.fixture
def copy(written, tmp_path):
  """fit.json and draws.csv in a directory of their own, fit.json changed by a function."""

  def make(change=lambda values: None):
    for name in ("fit.json", "draws.csv"):
      (tmp_path / name).write_bytes((written.parent / name).read_bytes())
    values = json.loads((tmp_path / "fit.json").read_text())
    change(values)
    (tmp_path / "fit.json").write_text(json.dumps(values))
    return tmp_path / "fit.json"

  return make


def test_law_draws_and_reach_are_those_of_the_fit(written):
  found, values = fitted.read(written), json.loads(written.read_text())
  runs = table.read_runs(written.parent / "runs.csv")
  assert found.law.alpha == values["approach3"]["alpha"] and len(found.draws.E) == 200
  assert found.resampling == Resampling(len(runs), 5, "case")
  interval = found.resampling.interval(found.draws.beta, found.law.beta)
  assert interval == pytest.approx(values["approach3"]["ci95"]["beta"], rel=1e-12)
  assert found.ranges["flops"] == (runs.flops.min(), runs.flops.max())
  assert found.ranges["params"] == (runs.params.min(), runs.params.max())
  assert found.noise == pytest.approx(0.003, rel=0.5) and found.about["n_runs"] == len(runs)


def test_the_ladder_of_the_results_is_read_with_its_own_intervals():
  path = pathlib.Path(__file__).resolve().parents[3] / "results" / "ladder" / "fit.json"
  found, values = fitted.read(path), json.loads(path.read_text())["approach3"]
  runs = table.read_runs(path.with_name("runs.csv"))
  assert found.ranges["tokens"] == (runs.tokens.min(), runs.tokens.max())
  for name in fitted.COEFFICIENTS:
    drawn, estimate = getattr(found.draws, name), getattr(found.law, name)
    assert found.resampling.interval(drawn, estimate) == pytest.approx(values["ci95"][name], rel=1e-9)
    assert np.std(drawn, ddof=1) == pytest.approx(values["standard_error"][name], rel=1e-9)
  law = parametric.fit(runs.params, runs.tokens, runs.loss, found.about["loss"])
  # The same seed, the same laws.
  again = analysis.resample(law, runs, found.resampling.way, len(found.draws.E), 0)
  assert again.alpha == pytest.approx(found.draws.alpha, rel=1e-3)


def test_the_lines_of_approach_2_are_whole_again(written):
  """fit.json holds exponents and minima; the intercept is that of the line through them."""
  found = fitted.read(written)
  iso = isoflop.fit(table.read_runs(written.parent / "runs.csv"), 200, 0)
  for name in ("params", "tokens", "loss"):
    line, original = found.lines[name], getattr(iso, name)
    assert line(1e13) == pytest.approx(original(1e13), rel=1e-9)
    assert line.spread(1e13) == pytest.approx(original.spread(1e13), rel=1e-9)


def test_draws_that_were_changed_or_lost_are_refused(copy):
  path = copy()
  draws = path.with_name("draws.csv")
  draws.write_text(draws.read_text().replace("1", "2", 1))
  with pytest.raises(BadInput, match=r"draws\.csv: does not belong to fit\.json: its digest is another"):
    fitted.read(path)
  draws.unlink()
  with pytest.raises(BadInput, match=r"draws\.csv: is missing, and intervals come from it"):
    fitted.read(path)


def _refused(values):
  for name in fitted.COEFFICIENTS:
    values["approach3"][name] = None
  values["approach3"]["refusals"] = [{"refusal": "OneRay", "what": "all runs have 20 tokens per parameter"}]


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda v: v.update(draws=None), r"fitted without draws \(--bootstrap=0\)"),
    (lambda v: v.update(approach3=None), "holds no parametric law"),
    (_refused, "holds no parametric law: all runs have 20 tokens per parameter; widen the table"),
    (lambda v: v.pop("ranges"), "has no 'ranges': it was written by an older scaling.fit"),
    (lambda v: v.pop("table_sha256"), "has no 'table_sha256'; give the fit.json of scaling.fit"),
    (lambda v: v.update(params_convention="total"), "counts N as total, our configs as non_embedding"),
    (lambda v: v["approach3"].update(alpha=-0.1), "approach3.alpha is -0.1, no positive number"),
    (lambda v: v["approach3"].update(E=float("inf")), "approach3.E is inf, no positive number"),
  ],
)
def test_what_cannot_be_prescribed_from_is_refused_in_one_sentence(copy, change, words):
  with pytest.raises(BadInput, match=words) as caught:
    fitted.read(copy(change))
  assert "\n" not in str(caught.value)


def test_files_of_other_kinds_are_refused(tmp_path):
  for text, words in (("{}", "has no 'approach2'"), ("[]", "holds a list"), ("x", "not readable as JSON")):
    (tmp_path / "fit.json").write_text(text)
    with pytest.raises(BadInput, match=words):
      fitted.read(tmp_path / "fit.json")
  with pytest.raises(BadInput, match="no such file"):
    fitted.read(tmp_path / "none.json")
