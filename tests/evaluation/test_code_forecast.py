"""Forecasts of codes: scores counted by hand, nats of teacher forcing and of a model that knows nothing."""

import dataclasses

import jax
import numpy as np
import pytest

from evaluation.code_forecast import add_cells, picture, report, spread, table
from evaluation.codes.cell_scores import cell_pairs, cell_scores
from evaluation.codes.roll_outs import make_predict
from evaluation.codes.scores import CodeForecast, rows
from evaluation.codes.tables import CodeCounts
from models.codes import CodesModel
from models.codes_config import CodesConfig
from models.trunk_config import TrunkConfig
from tests.weights import drawn

N, T, S, V = 3, 3, 4, 11


def _trunk(steps, space):
  return TrunkConfig(
    width=16, layers=1, head_dim=8, mixing="full", state=0, chunk=0, causal=True, steps=steps, space=space,
    dtype="float32", scan=False, remat="none", block=0, adapter=0, prefix=0, heads=0, hidden=0,
  )  # fmt: skip


@pytest.fixture(scope="module")
def predicted():
  """(model, predict, parameters, codes, actions, likeliest, nats): of random parameters, one frame observed."""
  model, rng = CodesModel(CodesConfig(V, 2, _trunk(T, S + 1), _trunk(S, 1))), np.random.default_rng(0)
  codes, actions = rng.integers(0, V, (N, T, S)), rng.integers(0, 2, (N, T))
  batch = {"codes_BxTxS": codes, "actions_BxT": actions}
  params = drawn(model.init, batch)
  predict = make_predict(model, 1, samples=2)
  return model, predict, params, codes, actions, *predict(params, codes, actions, jax.random.key(0))


def test_nats_of_the_first_frame_are_those_of_teacher_forcing(predicted):
  model, _, params, codes, actions, likeliest, nats = predicted
  assert likeliest.shape == (N, T - 1, S) and nats.shape == (N, T - 1)
  logits = model.apply({"params": params}, {"codes_BxTxS": codes, "actions_BxT": actions})
  logs = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), codes[..., None], -1)[..., 0]
  np.testing.assert_allclose(nats[:, 0], -logs[:, 1].mean(-1), rtol=1e-5)
  assert (np.abs(nats[:, 1] + logs[:, 2].mean(-1)) > 1e-4).all()  # a later one is told after written frames


def test_a_model_that_knows_nothing_needs_all_nats_at_every_horizon(predicted):
  _, predict, params, codes, actions, *_ = predicted
  flat = jax.tree.map(np.zeros_like, params)
  _, nats = predict(flat, codes, actions, jax.random.key(0))
  np.testing.assert_allclose(nats, np.log(V), rtol=1e-5)


def _forecast() -> CodeForecast:
  """Two windows of two codes: frames 0 0, then 0 1 and 1 1; and 1 0, then 1 0 and 1 0."""
  codes = np.array([[[0, 0], [0, 1], [1, 1]], [[1, 0], [1, 0], [1, 0]]])
  likeliest = np.array([[[0, 1], [0, 1]], [[1, 0], [0, 0]]])
  nats = np.array([[0.5, 1.0], [0.1, 0.3]])
  # Unigrams of 1/4 and 3/4 with one more of each, half of the codes stay a frame, none two.
  training = CodeCounts(np.array([1, 5]), np.array([[[1, 1], [3, 3]], [[2, 0], [2, 0]]]))
  return CodeForecast(codes, 1, likeliest, nats, np.array([1, 0]), training)


def test_rows_are_counted_by_hand():
  first, second = rows(_forecast().scores(), np.ones(2, bool))
  assert first["frames"] == 1 and first["changed"] == 1 / 4
  assert first["model"] == {"accuracy": 1, "accuracy_changed": 1, "nats": pytest.approx(0.3)}
  assert first["copy"]["accuracy"] == 3 / 4
  stayed, moved = -np.log([0.5 * 0.25 + 0.5, 0.5 * 0.75])  # a 0 that stays, a 1 that was a 0
  one = -np.log(0.5 * 0.75 + 0.5)  # a 1 that stays
  assert first["copy"]["nats"] == pytest.approx((2 * stayed + moved + one) / 4)
  assert second["model"]["accuracy"] == 2 / 4 and second["model"]["accuracy_changed"] == 1 / 2
  assert second["unigrams"] == {
    "accuracy": 3 / 4,
    "nats": pytest.approx(-np.log([0.75, 0.75, 0.75, 0.25]).mean()),
  }
  assert second["copy"]["nats"] == pytest.approx(second["unigrams"]["nats"])  # nothing stays two frames
  alone = rows(_forecast().scores(), np.array([False, True]))[0]
  assert alone["changed"] == 0 and alone["model"]["accuracy_changed"] is None


def test_what_is_still_is_told_by_the_observed_frames_alone():
  codes = np.zeros((3, 4, 10), int)
  codes[1, 1, 0] = codes[2, 1, :2] = 1  # one code in ten changes, and two
  codes[0, 2:] = 1
  forecast = dataclasses.replace(_forecast(), codes_NxTxS=codes, observed=2)
  assert forecast.still_N().tolist() == [True, True, False]
  assert not dataclasses.replace(forecast, observed=1).still_N().any()


def test_the_tables_of_the_training_split_are_told_by_horizon_and_added_up_piece_by_piece():
  frames = np.array([[[0, 1], [0, 0], [1, 1]], [[0, 1], [0, 0], [1, 1]]])
  for pieces in ([frames], [frames[:1], frames[1:]]):
    counts = CodeCounts.of(pieces, 2, 2)
    np.testing.assert_allclose(np.exp(counts.log_unigram_V), [7 / 14, 7 / 14])
    np.testing.assert_allclose(counts.stays_K, [1 / 4, 1 / 2])
    np.testing.assert_array_equal(counts.pairs_KxVx2, [[[2, 2], [4, 0]], [[0, 0], [2, 2]]])


def test_scores_and_cells_of_pieces_are_those_of_all_windows():
  rng, whole = np.random.default_rng(0), _forecast()
  views = {name: rng.integers(0, 11, (2, 2, 4, 4)) for name in ("truth", "model", "copy")}
  parts, cells, together = [], {}, {}
  for n in range(2):
    one = dataclasses.replace(
      whole, codes_NxTxS=whole.codes_NxTxS[n : n + 1], likeliest_NxKxS=whole.likeliest_NxKxS[n : n + 1],
      nats_NxK=whole.nats_NxK[n : n + 1], domain_N=whole.domain_N[n : n + 1],
    )  # fmt: skip
    parts.append(one.scores())
    add_cells(cells, {name: view[n : n + 1] for name, view in views.items()}, parts[-1])
  add_cells(together, views, whole.scores())
  for name, value in whole.scores().items():
    np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), value)
  for part in together:
    for name in ("model", "copy"):
      np.testing.assert_array_equal(cells[part][name], together[part][name])
  assert cells.keys() == together.keys()
  expected = cell_scores(cell_pairs(views["model"][1, 1], views["truth"][1, 1]))
  assert cell_scores(cells["by_domain", 0]["model"][1]) == expected


def test_a_report_names_the_worst_and_splits_by_domain():
  rng = np.random.default_rng(0)
  names = ("truth", "model", "copy", "copy_moved")
  views = {name: rng.integers(0, 11, (2, 2, 4, 4)) for name in names} | {
    "reconstruction": np.zeros((2, 2, 4, 4), int)
  }
  scores, seen = _forecast().scores(), {}
  add_cells(seen, views, scores)
  found = report(scores, seen, ("rural", "suburb"), np.array([4, 9]))
  assert found["windows"] == 2 and found["by_domain"]["suburb"]["windows"] == 1
  assert found["by_domain"]["suburb"]["horizons"][1]["model"]["accuracy"] == 1 / 2
  assert [one["window"] for one in found["worst"]] == [9, 4]
  assert [one["less_than_copy"] for one in found["worst"]] == [1 / 2, -1 / 2]
  cells = found["horizons"][1]["cells"]["reconstruction"]
  assert cells["accuracy"] == (views["truth"][:, 1] == 0).mean()
  assert found["by_past"].keys() == {"changing"}
  assert "suburb, frame +2" in table(found) and "frame +1: copy_moved" in table(found)
  shown = spread(scores["margin_N"])
  theirs, shown_views = ({name: value[shown] for name, value in found.items()} for found in (scores, views))
  figure = picture(theirs, shown_views, ("rural", "suburb"))
  assert len(figure.axes) == 4 * 4 * 2
  titles = [text.get_text() for text in figure.texts]
  assert titles[0] == "rural: 50 points worse" and titles[-1] == "suburb: 50 points better"
  assert {axes.get_ylabel() for axes in figure.axes} >= {"truth", "last frame\nseen"}
