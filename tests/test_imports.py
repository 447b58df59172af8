"""The import table of WORKSPACE.md, and what a program may load before it has something to do."""

import ast
import pathlib
import re
import resource
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Folder: (folders it may import besides itself, packages it may import besides the standard library).
# Tests may import everything; TensorFlow, ONNX and the vehicle runtimes are for export/, inside functions.
DEVICE = {"jax", "flax", "chex", "numpy"}
TABLE = {
  "data": (
    set(),
    {"numpy", "grain", "tensorflow_datasets", "array_record", "libsumo", "sumolib", "sumo", "pyarrow"}
    | {"defusedxml", "etils", "PIL"},
  ),
  "models": (set(), DEVICE),
  "objectives": (set(), {"jax", "chex"}),
  "scaling": ({"models"}, {"numpy", "jax", "optax", "matplotlib", "ml_collections", "yaml", "jsonschema"}),
  "federated": ({"models"}, DEVICE | {"optax", "dp_accounting", "cryptography"}),
  "export": ({"models", "data"}, DEVICE),
  "evaluation": ({"models", "data"}, DEVICE | {"matplotlib"}),
  "experiments": (
    {"data", "models", "objectives", "scaling", "federated", "export", "evaluation"},
    DEVICE | {"optax", "orbax", "grain", "ml_collections", "absl", "tqdm", "tensorboardX", "matplotlib"},
  ),
}
LAZY = {
  "export": {"tensorflow", "onnx", "onnxruntime", "openvino", "jax2onnx", "onnxsim", "ml_dtypes", "qwix"}
  | {"model_signing", "google", "ai_edge_litert", "ai_edge_quantizer"},
  "federated": {"flwr", "tuf", "securesystemslib"},
}
DOORS = {"data.errors", "data.files", "experiments.identity"}
PROGRAM_DOORS = {"experiments.run", "experiments.ahead", "experiments.program", "experiments.progress"} | {
  "experiments.federation",
  "experiments.provenance",
}
NEVER_WHILE_TRAINING = {"tensorflow", "torch", "onnx", "openvino"}


def sources() -> list[pathlib.Path]:
  return [path for folder in TABLE for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(source: str) -> list[tuple[int, str, bool]]:
  """(line, dotted name, inside a function) of every import; `from a import b` gives "a.b"."""
  tree = ast.parse(source)
  functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
  inside = {child for function in functions for child in ast.walk(function)}
  found = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      found += [(node.lineno, name.name, node in inside) for name in node.names]
    elif isinstance(node, ast.ImportFrom):
      module = "." * node.level + (node.module or "")
      found += [(node.lineno, f"{module}.{name.name}", node in inside) for name in node.names]
  return found


def is_program(source: str) -> bool:
  """A module with a `main` that hands it to program.run."""
  return "def main(" in source and "program.run(" in source


def violations(folder: str, source: str) -> list[str]:
  """Imports of one module that its folder may not make, as "line N: name"."""
  folders, packages = TABLE[folder]
  doors = DOORS | (PROGRAM_DOORS if is_program(source) else set())
  packages = packages | ({"absl"} if is_program(source) else set())
  wrong = []
  for line, name, inside in imported(source):
    top = name.split(".")[0]
    door = ".".join(name.split(".")[:2]) in doors
    lazy = inside and top in LAZY.get(folder, set())
    known = top in sys.stdlib_module_names or top == folder or top in folders or top in packages
    if name.startswith(".") or not (known or door or lazy):
      wrong.append(f"line {line}: {name}")
  return wrong


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_keep_to_the_table(path):
  folder = path.relative_to(ROOT).parts[0]
  assert violations(folder, path.read_text()) == []


PROGRAM = "from experiments import program\ndef main(): ...\nprogram.run(main)\n"


@pytest.mark.parametrize(
  ("folder", "source", "count"),
  [
    ("data", "import numpy as np\nimport pathlib\nfrom data import schema", 0),
    ("data", "import jax.numpy as jnp", 1),
    ("data", "from models import motion", 1),
    ("models", "from data.errors import BadInput\nfrom data import files", 0),
    ("models", "from data import schema", 1),
    ("objectives", "def f():\n  from models import motion", 1),
    ("scaling", "from models import motion", 0),
    ("scaling", "from experiments import loop", 1),
    ("scaling", "from experiments import program", 1),
    ("scaling", PROGRAM, 0),
    ("scaling", PROGRAM + "from experiments import step", 1),
    ("scaling", PROGRAM + "from experiments import ahead", 0),
    ("scaling", "from experiments import ahead", 1),
    ("evaluation", "from . import metrics", 1),
    ("experiments", "import tensorflow as tf", 1),
    ("export", "def f():\n  import tensorflow as tf", 0),
    ("export", "import tensorflow as tf", 1),
    ("federated", "def f():\n  from tuf.ngclient import Updater", 0),
    ("federated", "from tuf.ngclient import Updater", 1),
  ],
)
def test_planted_imports_are_found(folder, source, count):
  assert len(violations(folder, source)) == count


def test_table_is_the_one_in_the_workspace_map():
  text = (ROOT / "WORKSPACE.md").read_text().split("## The rooms")[0]
  named = {name for row in re.findall(r"^\|(.*?)\|", text, re.M) for name in re.findall(r"`(\w+)/`", row)}
  assert named == TABLE.keys() | {"tests"}


def first_party(source: str) -> set[str]:
  names = set()
  for _, name, _ in imported(source):
    for parts in (name.split("."), name.split(".")[:-1]):
      if parts and parts[0] in TABLE and (ROOT / "/".join(parts)).with_suffix(".py").exists():
        names.add(".".join(parts))
  return names


def reachable(module: str) -> set[str]:
  """`module` and every module of this repository it can come to import, also inside functions."""
  seen, todo = set(), [module]
  while todo:
    name = todo.pop()
    if name not in seen:
      seen.add(name)
      todo += first_party((ROOT / name.replace(".", "/")).with_suffix(".py").read_text())
  return seen


def run(*argv: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, *argv], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
  )


def test_training_loads_no_tensorflow_and_no_torch():
  modules = sorted(reachable("experiments.train"))
  assert "experiments.step" in modules  # imports inside functions were followed
  code = f"import sys, {', '.join(modules)}; print(sorted(set(sys.modules) & {NEVER_WHILE_TRAINING!r}))"
  done = run("-c", code)
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[-1] == "[]"


def programs() -> list[str]:
  named = [path.relative_to(ROOT).with_suffix("") for path in sources() if is_program(path.read_text())]
  return [".".join(path.parts) for path in named if path.name != "program"]


@pytest.mark.parametrize("name", programs())
def test_help_is_immediate_and_a_mistyped_flag_names_the_nearest(name):
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  done = run("-m", name, "--help")
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  assert done.returncode == 0, done.stderr
  seconds = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
  assert seconds < 2, f"--help took {seconds:.1f} s of processor time"

  flags = re.findall(r"^\s+--(?:\[no\])?(\w+):", done.stdout, re.M)
  assert flags, f"--help lists no flag:\n{done.stdout}"
  flag = max(flags, key=len)
  mistyped = flag[:-2] + flag[-1] + flag[-2]
  assert mistyped not in flags
  done = run("-m", name, f"--{mistyped}=1")
  assert done.returncode == 2, done.stderr
  assert f"--{flag}" in done.stderr
  assert "Traceback" not in done.stderr
