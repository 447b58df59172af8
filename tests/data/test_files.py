"""Where results may go."""

import os

import pytest

from data.errors import BadInput
from data.files import require_directory


def test_a_place_for_results(tmp_path):
  for place in (tmp_path, tmp_path / "new", tmp_path / "new" / "deeper"):
    assert require_directory(place, "--out") == place
  assert list(tmp_path.iterdir()) == []
  (tmp_path / "file").touch()
  for place in (tmp_path / "file", tmp_path / "file" / "below"):
    with pytest.raises(BadInput, match="file: is a file; give a directory as --out"):
      require_directory(place, "--out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_to(tmp_path):
  tmp_path.chmod(0o500)
  with pytest.raises(BadInput, match="cannot be written to"):
    require_directory(tmp_path / "new", "--out")
