"""Reports open offline, and text stays text."""

import re

import pytest

from data.errors import BadInput
from scaling.report import Figure, Section, Table, write_report

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")


def test_report_is_self_contained_and_escaped(tmp_path):
  (tmp_path / "a.png").write_bytes(PNG)
  table = Table(("name", "value"), [["<b>", 1234567], ["tiny", 1.5e-9], ["none", None]], "a & b")
  section = Section("S <1>", ["x < y"], [table, Figure(tmp_path / "a.png", 'the "alt"')], ["beware <script>"])
  page = write_report(tmp_path / "report.html", "T <t>", [section], "lead", "foot").read_text()
  assert "<script" not in page and "<b>" not in page and "S &lt;1&gt;" in page
  assert "1&#8239;234&#8239;567" in page and "10<sup>-9</sup>" in page and "&ndash;" in page
  assert re.findall(r'(?:src|href)="(?!data:image/png;base64,)', page) == []
  assert "http" not in page and "prefers-color-scheme: dark" in page


def test_missing_figure_leaves_no_report(tmp_path):
  for name, content in (("absent.png", None), ("text.png", b"no picture")):
    if content:
      (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=name):
      write_report(tmp_path / "report.html", "T", [Section("S", (), [Figure(tmp_path / name, "alt")])])
  assert not (tmp_path / "report.html").exists()
