"""Reports open offline, text stays text, and a browser shows them whole: light and dark, on a phone and on a desk."""

import html
import json
import re
import shutil
import subprocess

import pytest

from data.errors import BadInput
from scaling import report
from scaling.report import Figure, Page, Section, Table, write_report
from tests.scaling.test_figures import contrast

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 300"><rect width="700" height="300" fill="#888"/></svg>'
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def test_report_is_self_contained_and_escaped(tmp_path):
  (tmp_path / "a.png").write_bytes(PNG)
  table = Table(("name", "value"), [["<b>", 1234567], ["tiny", 1.5e-9], ["none", None]], "a & b")
  section = Section("S <1>", ["x < y"], [table, Figure(tmp_path / "a.png", 'the "alt"')], ["beware <script>"])
  page = write_report(tmp_path / "report.html", "T <t>", [section], "lead", "foot").read_text()
  assert "<script" not in page and "<b>" not in page and "S &lt;1&gt;" in page
  assert "1&#8239;234&#8239;567" in page and "10<sup>-9</sup>" in page and "&ndash;" in page
  assert re.findall(r'(?:src|href)="(?!data:image/)', page) == []
  assert "http" not in page and "url(" not in page and "@import" not in page


def test_a_picture_is_a_png_or_an_svg(tmp_path):
  for name, content in (("a.png", PNG), ("a.svg", SVG.encode())):
    (tmp_path / name).write_bytes(content)
    page = write_report(
      tmp_path / "r.html", "T", [Section("S", (), [Figure(tmp_path / name, "alt")])]
    ).read_text()
    assert f"data:image/{'png' if name == 'a.png' else 'svg+xml'};base64," in page


def test_a_page_keeps_to_its_frame(tmp_path):
  (tmp_path / "a.html").write_text('<script>alert("here")</script>')
  page = write_report(
    tmp_path / "r.html", "T", [Section("S", (), [Page(tmp_path / "a.html", "moves")])]
  ).read_text()
  assert "<script" not in page and 'sandbox="allow-scripts" srcdoc="&lt;script&gt;alert(&quot;' in page
  with pytest.raises(BadInput, match=r"b\.html"):
    write_report(tmp_path / "s.html", "T", [Section("S", (), [Page(tmp_path / "b.html", "absent")])])


def test_missing_figure_leaves_no_report(tmp_path):
  for name, content in (("absent.png", None), ("text.png", b"no picture")):
    if content:
      (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=name):
      write_report(tmp_path / "report.html", "T", [Section("S", (), [Figure(tmp_path / name, "alt")])])
  assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out(theme):
  rules = re.findall(r":root \{(.*?)\}", report.STYLE, re.DOTALL)
  assert len(rules) == 2  # of the page as it is, and where dark is preferred
  colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", rules[theme == "dark"]))
  for text, ground in (("ink", "page"), ("soft", "page"), ("note", "note-page")):
    assert contrast(colours[text], colours[ground]) >= 4.5, (theme, text)


# Asked of the page inside frames, which may be narrower than a browser's window may.
PROBE = """<script>
addEventListener("load", () => setTimeout(() => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, style = frame.contentWindow.getComputedStyle(page.body);
    return {width: frame.clientWidth, needs: page.documentElement.scrollWidth, ink: style.color,
      ground: style.backgroundColor, broken: [...page.images].filter(i => !i.naturalWidth).length,
      pictures: page.images.length, outside: [...page.querySelectorAll("h1,h2,p,li,figcaption,footer,.scroll")]
        .filter(e => e.getBoundingClientRect().right > frame.clientWidth + 1).length};
  });
  document.body.setAttribute("data-found", JSON.stringify(found));
}, 200));
</script>"""


def browse(page: str, folder, dark: bool) -> list[dict]:
  """What a browser makes of `page` at 400 and 1200 px; anything on the console fails."""
  frames = "".join(
    f'<iframe style="border:0" width="{width}" height="800" srcdoc="{html.escape(page)}"></iframe>'
    for width in (400, 1200)
  )
  outer = folder / "frames.html"
  outer.write_text(f"<!doctype html><meta charset='utf-8'><body>{frames}{PROBE}</body>", encoding="utf-8")
  command = [
    CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1700,900",
    f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
    "--virtual-time-budget=4000", "--dump-dom", outer.as_uri(),
  ]  # fmt: skip
  done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
  assert "CONSOLE" not in done.stderr, done.stderr
  match = re.search(r'data-found="([^"]*)"', done.stdout)
  assert match, done.stderr[-2000:]
  return json.loads(html.unescape(match.group(1)))


def rgb(text: str) -> str:
  return "#" + "".join(f"{int(v):02x}" for v in re.findall(r"\d+", text)[:3])


def check_in_browser(page: str, folder, pictures: int) -> None:
  grounds = set()
  for dark in (False, True):
    for seen in browse(page, folder, dark):
      assert seen["needs"] <= seen["width"] and seen["outside"] == 0, seen
      assert (seen["pictures"], seen["broken"]) == (pictures, 0), seen
      assert contrast(rgb(seen["ink"]), rgb(seen["ground"])) >= 4.5, seen
      grounds.add(seen["ground"])
  assert len(grounds) == 2  # dark is another page


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_browser_shows_wide_tables_and_long_words_without_overflow(tmp_path):
  (tmp_path / "a.svg").write_text(SVG)
  wide = Table(
    [f"column {k}" for k in range(30)], [["x" * 20] * 30], "a caption that says what the table shows"
  )
  items = [
    wide,
    Figure(tmp_path / "a.svg", "a picture", "a caption"),
    Table(("word", "meaning"), [["w", "m " * 99]]),
  ]
  section = Section("A title", ["sha" * 60, "text " * 80], items, ["note" * 60])
  page = write_report(tmp_path / "r.html", "Title", [section], "lead", "f" * 200).read_text()
  check_in_browser(page, tmp_path, 1)
