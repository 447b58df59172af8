"""What is written down while training: every step once, the same numbers for TensorBoard."""

import builtins
import struct

import jax.numpy as jnp
import pytest

from data.errors import BadInput
from experiments import journal as journal_module
from experiments.journal import Journal
from experiments.run_directory import RunDirectory

CONFIG = {"seed": 1}


def _values(loss: float, finite: float = 1.0) -> dict[str, float]:
  return {"loss": loss, "moving": 2 * loss, "tokens": 10.0, "gradient_norm": 0.5, "finite": finite}


def _rate(step: int) -> float:
  return step / 8


def _shown(folder) -> dict[str, dict[int, float]]:
  """{name: {step: value}} as TensorBoard shows them: a file hides steps from its purge step on in earlier ones."""
  event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2", reason="needs the board extra")
  shown: dict[str, dict[int, float]] = {}
  for path in sorted(folder.iterdir(), key=lambda path: int(path.suffix[1:])):
    content, at = path.read_bytes(), 0
    while at < len(content):  # length, its checksum, the event, its checksum
      (size,) = struct.unpack_from("<Q", content, at)
      event = event_pb2.Event.FromString(content[at + 12 : at + 12 + size])
      at += 12 + size + 4
      if event.session_log.status == event_pb2.SessionLog.START:
        shown = {name: {s: v for s, v in of.items() if s < event.step} for name, of in shown.items()}
      for value in event.summary.value:
        shown.setdefault(value.tag, {})[event.step] = value.simple_value
  return shown


def test_tensorboard_shows_what_metrics_hold_also_after_going_back(tmp_path):
  with RunDirectory.open(tmp_path, CONFIG) as run:
    journal = Journal(run, 1, _rate, tensorboard=True)
    journal.resume(0)
    for step in (1, 2, 3, 4):
      journal.step(step, 10.0 * step, _values(1 / step, finite=step != 2))
    journal.close()
    journal.resume(2)
    journal.step(3, 30.0, _values(0.25))
    journal.close()
    metrics = run.read_metrics()
  assert [(record["step"], record.get("loss")) for record in metrics] == [(1, 1.0), (2, None), (3, 0.25)]
  assert metrics[1]["event"] == "non-finite step skipped"
  shown = _shown(tmp_path / "tb")
  assert shown.keys() == {"loss", "moving", "tokens", "gradient_norm", "learning_rate"}
  for name, values in shown.items():
    assert values == {record["step"]: record[name] for record in metrics if "loss" in record}


def test_the_rank_of_features_is_worked_out_where_it_is_written(tmp_path, monkeypatch):
  rank, asked = journal_module._rank, []
  monkeypatch.setattr(journal_module, "_rank", lambda gram: asked.append(1) or rank(gram))
  with RunDirectory.open(tmp_path, CONFIG) as run:
    journal = Journal(run, 2, _rate, tensorboard=False)
    for step in (1, 2, 3, 4):
      journal.step(step, 10.0 * step, _values(1 / step), jnp.diag(jnp.arange(8.0) < step) * 3.0)
    metrics = run.read_metrics()
  assert [(record["step"], record["feature_rank"]) for record in metrics] == [
    (2, pytest.approx(2, rel=1e-5)), (4, pytest.approx(4, rel=1e-5)),
  ] and len(asked) == 2  # fmt: skip


def test_every_so_many_steps_are_logged_and_the_last_loss_is_known(tmp_path):
  with RunDirectory.open(tmp_path, CONFIG) as run:
    journal = Journal(run, 3, _rate, tensorboard=False)
    journal.resume(0)
    for step in range(1, 8):
      journal.step(step, 10.0 * step, _values(1 / step))
    assert [record["step"] for record in run.read_metrics()] == [3, 6]
  assert run.read_metrics()[0] == {
    "step": 3, "tokens": 30.0, "learning_rate": 0.25, "loss": 1 / 3, "moving": 2 / 3, "gradient_norm": 0.5
  }  # fmt: skip
  assert journal.loss == 1 / 7
  assert not (tmp_path / "tb").exists()


def test_without_the_board_extra_it_is_refused(tmp_path, monkeypatch):
  whole = builtins.__import__

  def without(name, *rest):
    if name == "tensorboardX":
      raise ImportError
    return whole(name, *rest)

  monkeypatch.setattr(builtins, "__import__", without)
  with (
    RunDirectory.open(tmp_path, CONFIG) as run,
    pytest.raises(BadInput, match="tensorboardX is not installed; install the board extra"),
  ):
    Journal(run, 1, _rate, tensorboard=True).resume(0)
