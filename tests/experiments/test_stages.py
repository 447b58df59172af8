"""Stages against a real little program (json.tool): what is skipped, resumed, redone and reported."""

import dataclasses
import json

import pytest

from data.errors import BadInput
from experiments import stages
from experiments.stages import Stage, StageFailed


@pytest.fixture
def stage(tmp_path):
  (tmp_path / "in.json").write_text("[1, 2]")
  (tmp_path / "out").mkdir()
  out = tmp_path / "out" / "out.json"
  argv = ("json.tool", "--compact", str(tmp_path / "in.json"), str(out))
  return Stage("compact", "compact JSON", argv, (tmp_path / "in.json",), (out,), out)


def test_a_second_call_runs_nothing(stage, tmp_path):
  assert stages.run(stage, tmp_path / "stamps")
  assert (tmp_path / "out" / "out.json").read_text() == "[1,2]\n"
  written = (tmp_path / "out" / "out.json").stat().st_mtime_ns
  assert not stages.run(stage, tmp_path / "stamps")
  assert (tmp_path / "out" / "out.json").stat().st_mtime_ns == written
  assert stages.seconds_of(stage, tmp_path / "stamps") > 0


def test_presence_without_a_stamp_is_not_enough(stage, tmp_path):
  (tmp_path / "out" / "out.json").write_text("made by somebody")
  assert stages.run(stage, tmp_path / "stamps")
  assert (tmp_path / "out" / "out.json").read_text() == "[1,2]\n"


@pytest.mark.parametrize("change", ["input", "output", "missing", "command"])
def test_any_change_makes_it_again(stage, tmp_path, change):
  stages.run(stage, tmp_path / "stamps")
  if change == "input":
    (tmp_path / "in.json").write_text("[1, 3]")
  elif change == "output":
    (tmp_path / "out" / "out.json").write_text("[9]")
  elif change == "missing":
    (tmp_path / "out" / "out.json").unlink()
  else:
    argv = ("json.tool", "--tab", *stage.argv[2:])
    stage = dataclasses.replace(stage, argv=argv)
  assert not stages.is_valid(stage, tmp_path / "stamps")
  assert stages.run(stage, tmp_path / "stamps")
  expected = {"input": "[1,3]\n", "command": "[\n\t1,\n\t2\n]\n"}.get(change, "[1,2]\n")
  assert (tmp_path / "out" / "out.json").read_text() == expected


def test_everything_made_from_other_inputs_goes_and_the_rest_stays(stage, tmp_path):
  stage = dataclasses.replace(stage, directory=tmp_path / "out")
  kept = tmp_path / "out" / "checkpoint"
  kept.write_text("1")
  stages.run(stage, tmp_path / "stamps")
  assert kept.exists()  # no stamp yet: an interrupted program may resume from it
  stage.outputs[0].write_text("altered")
  stages.run(stage, tmp_path / "stamps")
  assert kept.exists()  # same inputs: only the altered output is made again
  (tmp_path / "in.json").write_text("[7]")
  with pytest.raises(StageFailed):  # json.tool makes no directory
    stages.run(stage, tmp_path / "stamps")
  assert not kept.exists()


def test_what_an_interrupted_attempt_made_of_other_inputs_goes(stage, tmp_path):
  (tmp_path / "stamps").mkdir()
  record = {"fingerprint": "other", "seconds": 1.0}
  (tmp_path / "stamps" / "compact.unfinished.json").write_text(json.dumps(record))
  stage = dataclasses.replace(stage, directory=tmp_path / "elsewhere")
  stage.directory.mkdir()
  stages.run(stage, tmp_path / "stamps")
  assert not stage.directory.exists()


def test_a_program_that_ends_well_without_its_output_is_bad(stage, tmp_path):
  stage = dataclasses.replace(stage, outputs=(tmp_path / "out" / "other.json",))
  with pytest.raises(BadInput, match=r"other\.json: stage 'compact' did not make it"):
    stages.run(stage, tmp_path / "stamps")
  assert not stages.is_valid(stage, tmp_path / "stamps")


def test_a_failing_program_passes_on_its_exit_code_and_message(stage, tmp_path, capfd):
  (tmp_path / "in.json").write_text("[1,")
  with pytest.raises(StageFailed, match="exit code 1") as failure:
    stages.run(stage, tmp_path / "stamps")
  assert failure.value.code == 1
  assert "Expecting value" in capfd.readouterr().err
  assert not stages.is_valid(stage, tmp_path / "stamps")


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("ended", [True, False])
def test_time_of_earlier_attempts_at_the_same_work_counts(stage, tmp_path, same, ended):
  record = {"fingerprint": stage.fingerprint() if same else "other", "seconds": 100.0, "outputs": {}}
  (tmp_path / "stamps").mkdir()
  name = "compact.json" if ended else "compact.unfinished.json"
  (tmp_path / "stamps" / name).write_text(json.dumps(record))
  stage = dataclasses.replace(stage, directory=tmp_path / "other")
  stages.run(stage, tmp_path / "stamps")
  assert (stages.seconds_of(stage, tmp_path / "stamps") > 100) == same


def test_digest_of_a_directory_sees_names_and_content(tmp_path):
  (tmp_path / "d").mkdir()
  (tmp_path / "d" / "a").write_text("1")
  first = stages.digest(tmp_path / "d")
  (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
  renamed = stages.digest(tmp_path / "d")
  (tmp_path / "d" / "b").write_text("2")
  assert len({first, renamed, stages.digest(tmp_path / "d")}) == 3
  assert stages.digest(tmp_path / "absent") == ""
