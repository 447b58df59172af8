"""Axes that records lack are those of their own scenes, and nothing is guessed where scenes cannot be told apart."""

import dataclasses

import numpy as np
import pytest

from data import scene_labels
from data.datasets import open_dataset
from data.errors import BadInput
from tests.data import tiny_datasets

WEATHERS = ("snow", "", "clear", "snow", "clear", "rain")


def examples(without_windows=()):
  for number, (split, scene, windows) in enumerate(tiny_datasets.scene_examples(len(WEATHERS))):
    metadata = dataclasses.replace(scene.metadata, weather=WEATHERS[number])
    there = [] if number in without_windows else windows * (number + 1)
    yield split, dataclasses.replace(scene, metadata=metadata), there


def test_every_record_has_the_weather_of_its_scene(tmp_path):
  tiny_datasets.write(tmp_path / "made", examples())
  dataset = open_dataset(tmp_path / "made")
  for split in ("train", "validation"):
    labels, names = scene_labels.of_records(dataset, split, ["weather", "domain"])
    told = [names["weather"][code] for code in labels["weather"]]
    assert told == [WEATHERS[scene] or "unknown" for scene in labels["scene"]]
    assert len(np.unique(labels["scene"])) == 3 and names["domain"] == ("straight",)


def test_what_cannot_be_told_is_refused_by_name(tmp_path):
  tiny_datasets.write(tmp_path / "made", examples(without_windows=(2,)))
  dataset = open_dataset(tmp_path / "made")
  with pytest.raises(BadInput, match="3 scenes of train are stored and 2 have records"):
    scene_labels.of_records(dataset, "train", ["weather"])
  with pytest.raises(BadInput, match=r"neither records nor scenes carry 'wether'.*choose of .*weather"):
    scene_labels.of_records(dataset, "validation", ["wether"])
