"""Programs answer mistakes with the nearest name, one line and the right exit code, without importing jax."""

import resource
import subprocess
import sys

import pytest

from data.errors import BadInput
from experiments.program import Preempted, exit_code
from tests.experiments import faults

PROGRAM = '''"""Says what it was asked."""
import sys
from absl import flags
from data.errors import BadInput
from experiments import program

CONFIG = program.define_config()
WORKDIR = flags.DEFINE_string("workdir", None, "Where to write.", required=True)
COUNT = flags.DEFINE_integer("count", 3, "How many.", lower_bound=1)
END = flags.DEFINE_string("end", "", "How to end.")

def main():
  print(program.config_dict(CONFIG), COUNT.value, "jax" in sys.modules)
  if END.value == "bad":
    raise BadInput("rate is -1", "some.xml", "make it positive")
  if END.value == "preempted":
    raise program.Preempted("saved step 7")
  if END.value == "interrupted":
    raise KeyboardInterrupt
  if END.value == "fault":
    raise RuntimeError("a fault")
  if END.value == "leak":
    return 1
  if END.value == "library":
    import no_such_library.part
  if END.value == "own":
    import experiments.no_such_module

if __name__ == "__main__":
  program.run(main)
'''

CONFIG = """import ml_collections
from data.errors import BadInput

def get_config(variant=""):
  if variant not in ("", "tiny"):
    raise BadInput(f"unknown variant {variant!r}", "config.py", "choose tiny")
  steps = 5 if variant == "tiny" else 50
  return ml_collections.ConfigDict(dict(steps=steps, model=dict(width=8, rate=0.5)))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
  """run(*arguments) -> finished process; {config} in an argument is the config file."""
  folder = tmp_path_factory.mktemp("program")
  (folder / "program.py").write_text(PROGRAM)
  (folder / "config.py").write_text(CONFIG)
  (folder / "broken.py").write_text("def get_config():\n  return 1 / 0\n")
  (folder / "wrong.py").write_text("def get_config():\n  return 3\n")

  def run(*arguments):
    command = [sys.executable, str(folder / "program.py")]
    command += [argument.replace("{config}", str(folder / "config.py")) for argument in arguments]
    command = [argument.replace("{folder}", str(folder)) for argument in command]
    return subprocess.run(command, capture_output=True, text=True, env=faults.ENVIRONMENT, timeout=60)

  return run


def _programs() -> list[str]:
  files = (path.relative_to(faults.ROOT) for path in faults.ROOT.glob("*/*.py"))
  runs = [f for f in files if f.parts[0] != "tests" and "program.run(main)" in (faults.ROOT / f).read_text()]
  return sorted(".".join(f.with_suffix("").parts) for f in runs)


GOOD = ("--config={config}:tiny", "--workdir=w")


def test_overrides_reach_main_typed_and_jax_is_not_imported(program):
  done = program(*GOOD, "--config.model.width=3", "--config.model.rate=1")
  assert (done.returncode, done.stderr) == (0, "")
  assert done.stdout == "{'model': {'rate': 1.0, 'width': 3}, 'steps': 5} 3 False\n"


def test_help_lists_our_flags_and_costs_less_than_two_seconds(program):
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  done = program("--help")
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  assert done.returncode == 0
  assert done.stdout.startswith("Says what it was asked.")
  assert all(flag in done.stdout for flag in ("--config:", "--workdir:", "--count:"))
  assert "--verbosity" not in done.stdout
  assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


@pytest.mark.parametrize("module", _programs())
def test_every_program_answers_help_and_a_mistyped_flag_at_once(module):
  def ask(flag):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-X", "importtime", "-m", module, flag]
    done = subprocess.run(command, cwd=faults.ROOT, capture_output=True, text=True, env=faults.ENVIRONMENT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    imported = [
      line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line
    ]
    rest = [line for line in done.stderr.splitlines() if "import time:" not in line]
    assert "jax" not in imported
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    return done.returncode, done.stdout, rest

  code, shown, _ = ask("--help")
  assert code == 0 and "--" in shown
  code, _, errors = ask("--hepl")
  assert (code, errors) == (2, ["error: --hepl: unknown flag; did you mean --help?"])


def test_the_training_program_names_the_nearest_config_key():
  config = "--config=experiments/configs/motion.py:tiny"
  command = [sys.executable, "-m", "experiments.train", config, "--workdir=w", "--config.model.widht=3"]
  done = subprocess.run(command, cwd=faults.ROOT, capture_output=True, text=True, env=faults.ENVIRONMENT)
  wanted = "error: --config.model.widht: unknown config key; did you mean --config.model.width?\n"
  assert (done.returncode, done.stderr) == (2, wanted)


@pytest.mark.parametrize(
  ("arguments", "expected"),
  [
    ((GOOD[0], "--workdri=w"), "--workdri: unknown flag; did you mean --workdir?"),
    ((*GOOD, "--config.model.widht=3"), "unknown config key; did you mean --config.model.width?"),
    ((*GOOD, "--config.stesp=3"), "unknown config key; did you mean --config.steps?"),
    ((*GOOD, "--config.width=3"), "unknown config key; did you mean --config.model.width?"),
    ((*GOOD, "--config.steps=1.5"), "--config.steps=1.5: invalid literal"),
    ((*GOOD, "--config.model.rate=abc"), "--config.model.rate=abc: could not convert"),
    ((*GOOD, "--count=0"), "--count=0: 0 is not a positive integer"),
    ((*GOOD, "extra"), "unexpected argument 'extra'"),
    ((GOOD[0],), "--workdir must have a value"),
    ((GOOD[1],), "--config must have a value"),
    ((GOOD[1], "--config.steps=3"), "no config file to change; give --config=FILE.py first"),
    (("--config={config}:tinny", GOOD[1]), "config.py: unknown variant 'tinny'; choose tiny"),
    (("--config=absent.py", GOOD[1]), "absent.py: no such config file"),
    (("--config=absent.py", GOOD[1], "--config.steps=3"), "absent.py: no such config file"),
    (
      ("--config={folder}/broken.py", GOOD[1]),
      "broken.py, line 2: the config cannot be made (ZeroDivisionError",
    ),
    (("--config={folder}/wrong.py", GOOD[1]), "get_config does not return a ConfigDict"),
    ((*GOOD, "--end=bad"), "error: some.xml: rate is -1; make it positive"),
  ],
)
def test_a_mistake_gets_one_line_and_exit_2(program, arguments, expected):
  done = program(*arguments)
  assert done.returncode == 2
  assert expected in done.stderr
  assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
  ("end", "code", "traceback"),
  [("preempted", 42, False), ("interrupted", 130, False), ("fault", 1, True), ("leak", 1, False)],
)
def test_exit_codes(program, end, code, traceback):
  done = program(*GOOD, f"--end={end}")
  assert done.returncode == code
  assert ("Traceback" in done.stderr) == traceback


def test_exit_code_of_an_exception():
  bad = BadInput("a", "b", "c")
  errors = [
    None,
    bad,
    Preempted(),
    KeyboardInterrupt(),
    OSError(),
    SystemExit(7),
    SystemExit(),
    SystemExit("x"),
  ]
  assert [exit_code(error) for error in errors] == [0, 2, 42, 130, 1, 7, 0, 1]


def test_a_library_that_is_not_installed_is_named_and_a_module_of_ours_is_a_fault(program):
  lacking = program("--config={config}", "--workdir=w", "--end=library")
  assert lacking.returncode == 2 and "no_such_library is not installed; run make env" in lacking.stderr
  assert "Traceback" not in lacking.stderr
  ours = program("--config={config}", "--workdir=w", "--end=own")
  assert ours.returncode == 1 and "experiments.no_such_module" in ours.stderr


def test_a_reader_that_goes_away_leaves_no_traceback():
  code = (
    "from experiments import program\nprogram.run(lambda: [print('x' * 4096, flush=True) for _ in range(64)])"
  )
  with subprocess.Popen(
    [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  ) as process:
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
  assert process.returncode == 1 and said == ""
