"""What holds for every committed file: safe calls, short files, true maps, pins without addresses."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = ("data", "models", "objectives", "scaling", "federated", "export", "evaluation", "experiments")
FORBIDDEN_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "tools"}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "subprocess.getoutput"}
UNSAFE_KEYWORDS = {("shell", True), ("allow_pickle", True)}
HOME_PATH = re.compile(r"(?<![\w.])/(?:home|root|Users|work)/\w")
INDEX = re.compile(r"--(?:extra-)?index-url|--find-links|://[\w.-]*(?:pypi|pythonhosted|anaconda|npmjs)")
PIN = re.compile(r"^([a-z0-9][\w.-]*)==(\S+)", re.M)


def committed() -> list[pathlib.Path]:
  listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
  paths = [ROOT / name for name in listed.stdout.split("\0") if name]
  return [path for path in paths if path.exists()]


def texts() -> list[tuple[pathlib.Path, str]]:
  binary = {".png", ".pdf", ".npz", ".array_record"}
  return [(p, p.read_text(encoding="utf-8")) for p in committed() if p.suffix not in binary]


def python_files() -> list[pathlib.Path]:
  return [path for path in committed() if path.suffix == ".py"]


def unsafe(source: str) -> list[str]:
  """Every way of running or unpickling foreign text, as "line N: what"."""
  found = []
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      found += [f"line {node.lineno}: {n.name}" for n in node.names if n.name in UNSAFE_MODULES]
    elif isinstance(node, ast.ImportFrom) and node.module in UNSAFE_MODULES:
      found.append(f"line {node.lineno}: {node.module}")
    elif isinstance(node, ast.Call):
      name = ast.unparse(node.func)
      if name in UNSAFE_CALLS:
        found.append(f"line {node.lineno}: {name}")
      for keyword in node.keywords:
        if isinstance(keyword.value, ast.Constant) and (keyword.arg, keyword.value.value) in UNSAFE_KEYWORDS:
          found.append(f"line {node.lineno}: {keyword.arg}={keyword.value.value}")
  return found


def test_no_code_runs_or_unpickles_foreign_text():
  wrong = {str(p.relative_to(ROOT)): unsafe(p.read_text()) for p in python_files()}
  assert {path: lines for path, lines in wrong.items() if lines} == {}


@pytest.mark.parametrize(
  "source",
  [
    "import pickle",
    "from pickle import loads",
    "eval('1')",
    "import os\nos.system('ls')",
    "run(['ls'], shell=True)",
    "np.load(path, allow_pickle=True)",
  ],
)
def test_planted_unsafe_code_is_found(source):
  assert len(unsafe(source)) == 1


def test_no_machine_paths_and_no_package_addresses():
  wrong = []
  for path, text in texts():
    for number, line in enumerate(text.splitlines(), 1):
      if path != pathlib.Path(__file__) and (HOME_PATH.search(line) or INDEX.search(line)):
        wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
  assert wrong == []


@pytest.mark.parametrize("line", ["open('/home/ada/x')", "cd /root/x", "--index-url=https://x/simple"])
def test_planted_paths_and_addresses_are_found(line):
  assert HOME_PATH.search(line) or INDEX.search(line)


def test_files_are_short_and_named_for_what_they_hold():
  lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in python_files()}
  assert {path: n for path, n in lengths.items() if n > 300} == {}
  assert [path for path in lengths if set(pathlib.Path(path).with_suffix("").parts) & FORBIDDEN_NAMES] == []


def rooms(text: str) -> set[str]:
  """Files named in the first column of the rooms table; a bare name is in its predecessor's folder."""
  named, folder = set(), ""
  for row in text.split("## The rooms")[1].split("\n## ")[0].splitlines():
    cells = row.split("|")
    for name in re.findall(r"`([\w/]+\.py)`", cells[1]) if len(cells) > 2 else []:
      folder = name.rpartition("/")[0] or folder
      named.add(name if "/" in name else f"{folder}/{name}")
  return named


def test_workspace_map_names_every_module_and_nothing_else():
  modules = {str(p.relative_to(ROOT)) for p in python_files() if p.relative_to(ROOT).parts[0] in FOLDERS}
  modules = {path for path in modules if not path.endswith("__init__.py")}
  named = rooms((ROOT / "WORKSPACE.md").read_text())
  assert modules - named == set(), "modules that WORKSPACE.md does not name"
  assert named - modules == set(), "files in WORKSPACE.md that do not exist"


def test_rooms_reads_bare_names_in_the_folder_before_them():
  text = (
    "## The rooms\n| file | noun |\n|---|---|\n| `a/b.py`, `c.py` | x `d.py` |\n| `e/f.py` | y |\n## More"
  )
  assert rooms(text) == {"a/b.py", "a/c.py", "e/f.py"}


@pytest.mark.parametrize("name", ["README.md", "WORKSPACE.md", "results/README.md", "benchmarks/README.md"])
def test_links_lead_somewhere(name):
  path = ROOT / name
  targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
  relative = [target for target in targets if "://" not in target]
  assert [target for target in relative if not (path.parent / target).exists()] == []


def test_readme_shows_the_two_commands_and_make_has_them():
  readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
  for target in ("demo", "test"):
    assert re.search(rf"^\s*make {target}\b", readme, re.M)
    assert re.search(rf"^{target}:", makefile, re.M)
  assert "make test" in (ROOT / ".ci" / "run").read_text()
  assert os.access(ROOT / ".ci" / "run", os.X_OK)


COMMAND = re.compile(r"python -m ((?:[\w.]+)(?:[^\S\n]+(?:\\\n\s*)?--\S+)*)")


def commands() -> dict[str, set[str]]:
  """Every command that a README or a docstring shows, as module to flags (config keys left out)."""
  shown: dict[str, set[str]] = {}
  for path, text in texts():
    if path.suffix in (".md", ".py") and path.parent.name not in ("tests", "requirements"):
      for module, *arguments in (found.replace("\\\n", " ").split() for found in COMMAND.findall(text)):
        flags = {re.split(r"[=.\]]", argument.strip("[`")[2:])[0] for argument in arguments}
        shown.setdefault(module, set()).update(flags)
  return {module: flags for module, flags in shown.items() if flags and module.split(".")[0] in FOLDERS}


@pytest.mark.parametrize(("module", "flags"), sorted(commands().items()))
def test_commands_that_are_shown_exist(module, flags):
  done = subprocess.run(
    [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  assert flags <= {"help", *re.findall(r"^\s+--(?:\[no\])?(\w+):", done.stdout, re.M)}


def test_config_files_that_are_shown_exist():
  named = {
    name
    for path, text in texts()
    if path.suffix in (".md", ".py")
    for name in re.findall(r"experiments/configs/\w+\.py", text)
  }
  assert {name for name in named if not (ROOT / name).exists()} == set()


def test_one_python_version_everywhere():
  version = (ROOT / ".python-version").read_text().strip()
  assert version == "3.12"
  assert f">={version}" in (ROOT / "pyproject.toml").read_text()
  assert f"python{version}" in (ROOT / "Makefile").read_text()


def test_every_requirement_is_pinned_hashed_and_agrees_with_the_test_set():
  reference = dict(PIN.findall((ROOT / "requirements" / "test.txt").read_text()))
  assert reference["jax"] == reference["jaxlib"]
  for path in sorted((ROOT / "requirements").glob("*.txt")):
    text = path.read_text()
    starts = [line for line in text.splitlines() if line and not line[0].isspace() and line[0] != "#"]
    pins = dict(PIN.findall(text))
    assert len(starts) == len(pins), f"{path.name}: a line without an exact version"
    for block in re.split(r"\n(?=[a-z0-9])", text):
      assert "--hash=sha256:" in block, f"{path.name}: no hash for {block[:40]}"
    if path.name != "fleet.txt":  # Flower's own set, see requirements/README.md
      differ = {name for name in pins.keys() & reference.keys() if pins[name] != reference[name]}
      assert differ == set(), f"{path.name} disagrees with test.txt"
