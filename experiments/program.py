"""What every command-line program does: flags, one-sentence errors, exit codes.

Exit codes: 0 done; 42 preempted after saving (run the same command again); 2 bad input (a retry cannot
help); 130 interrupted; anything else is a fault, and shows its traceback unless it is a Fault: 3 one that the same
command would meet again, 1 all others. Nothing heavy is imported here, so that --help and a mistyped flag are answered
in well under two seconds.
"""

import difflib
import logging
import os
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import absl.logging
from absl import flags
from ml_collections import config_flags

from data.errors import BadInput

flags.disclaim_key_flags()  # --config belongs to the program that asks for it, and shows in its --help

DONE, FAULT, BAD_INPUT, LASTING, PREEMPTED, INTERRUPTED = 0, 1, 2, 3, 42, 130

_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")


class Fault(Exception):
  """Something outside the program went wrong and its sentence says all; a retry may help."""


class LastingFault(Fault):
  """A fault that follows from the configuration and the data alone: the same command would end in it again."""


class Preempted(Exception):
  """The run was asked to stop and has saved its state; the same command continues it."""


def exit_code(error: BaseException | None) -> int:
  """The exit code that tells a scheduler what `error` (None: success) means."""
  if error is None:
    return DONE
  if isinstance(error, SystemExit):
    return error.code if isinstance(error.code, int) else FAULT if error.code else DONE
  codes = {BadInput: BAD_INPUT, LastingFault: LASTING, Preempted: PREEMPTED, KeyboardInterrupt: INTERRUPTED}
  return next((code for kind, code in codes.items() if isinstance(error, kind)), FAULT)


def define_config() -> flags.FlagHolder:
  """Defines --config=FILE.py[:variant] and --config.key=value; the file holds get_config(variant)."""
  holder = config_flags.DEFINE_config_file(
    "config", None, "FILE.py[:variant]; change a key with --config.key=value.", lock_config=True
  )
  flags.mark_flag_as_required("config")
  return holder


def config_dict(holder: flags.FlagHolder) -> dict[str, Any]:
  """The resolved config as plain nested dicts; a required key left open raises BadInput."""
  try:
    return holder.value.to_dict()
  except ValueError as error:  # ml_collections' RequiredValueError
    raise BadInput(_sentence(error), "--config", "set the key with --config.key=value") from None


def run(main: Callable[[], int | None]) -> NoReturn:
  """Parses the flags, calls `main`, and leaves the process with the exit code of what happened."""
  absl.logging.set_verbosity(absl.logging.FATAL)  # our own records go through `logging`, below
  logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
  if {"--help", "-h", "-help", "--helpfull", "--helpshort"} & set(sys.argv[1:]):
    print((sys.modules["__main__"].__doc__ or "").strip())
    print(flags.FLAGS.main_module_help())
    sys.exit(DONE)
  try:
    _parse(sys.argv)
    try:
      code = main()
    except ModuleNotFoundError as error:
      # Our own missing modules are faults; a library that only the full environment has is the user's to install.
      if error.name is None or error.name.partition(".")[0] in sys.modules:
        raise
      raise BadInput(f"{error.name} is not installed", "this environment", "run make env") from None
  except (BadInput, Fault, Preempted, KeyboardInterrupt) as error:
    text = " ".join(str(error).split())
    print(_LABEL[exit_code(error)] + (f": {text}" if text else ""), file=sys.stderr)
    sys.exit(exit_code(error))
  except BrokenPipeError:  # whoever read the output went away: nobody is left to be told
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(FAULT)
  sys.exit(code or DONE)


_LABEL = {
  BAD_INPUT: "error",
  FAULT: "fault",
  LASTING: "fault",
  PREEMPTED: "preempted",
  INTERRUPTED: "interrupted",
}


def _parse(argv: list[str]) -> None:
  """Parses absl flags; every mistake becomes a BadInput that names the nearest flag or key."""
  remedy = "see --help"
  try:
    extra = flags.FLAGS(argv)[1:]
  except flags.UnrecognizedFlagError as error:
    known = [flag.name for flag in flags.FLAGS.get_key_flags_for_module(argv[0])] + ["help"]
    if error.flagname.startswith("config.") and "config" in known:
      raise BadInput(
        "no config file to change", f"--{error.flagname}", "give --config=FILE.py first"
      ) from None
    raise BadInput("unknown flag", f"--{error.flagname}", _nearest(error.flagname, known, "--")) from None
  except Exception as error:
    if any(arg.lstrip("-").startswith(("config", "noconfig")) for arg in argv[1:]):
      _explain_config(argv)
    if not isinstance(error, flags.Error | AttributeError | KeyError | ValueError | TypeError | OSError):
      raise
    raise BadInput(_sentence(error), "command line", remedy) from None
  if extra:
    raise BadInput(f"unexpected argument {extra[0]!r}", "command line", "write flags as --name=value")
  if "config" in flags.FLAGS and not hasattr(type(flags.FLAGS["config"].value), "to_dict"):
    _explain_config(argv)  # the parser keeps a missing file to itself until the config is used
    raise BadInput("get_config does not return a ConfigDict", "--config", "return ml_collections.ConfigDict")


def _explain_config(argv: list[str]) -> None:
  """Loads the config file again, alone, and raises BadInput for what is wrong with it or an override."""
  joined = " ".join(argv[1:])
  asked = re.search(r"(?:^|\s)--?config[=\s](\S+)", joined)
  if not asked:
    return
  path, _, variant = asked[1].partition(":")
  try:
    config = runpy.run_path(path)["get_config"](*([variant] if variant else []))
  except BadInput:
    raise
  except FileNotFoundError:
    raise BadInput("no such config file", path, "give --config=FILE.py[:variant]") from None
  except Exception as error:
    line = next(
      (f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == path), "?"
    )
    what = f"{type(error).__name__}: {_sentence(error)}"
    raise BadInput(
      f"the config cannot be made ({what})", f"{asked[1]}, line {line}", "mend the file"
    ) from None
  for arg in argv[1:]:
    override = _OVERRIDE.match(arg)
    if override:
      _check_key(config, override[1])


def _check_key(config: Mapping, dotted: str) -> None:
  """Raises BadInput with the nearest key when `dotted` does not lead to a value of `config`."""
  at: Any = config
  for depth, name in enumerate(dotted.split(".")):
    if not hasattr(at, "keys") or name not in at:
      prefix = "".join(part + "." for part in dotted.split(".")[:depth])
      here = [prefix + key for key in at] if hasattr(at, "keys") else []
      elsewhere = [key for key in _dotted(config) if key.rpartition(".")[2] == name]
      remedy = _nearest(prefix + name, here, "--config.")
      if elsewhere and not remedy.startswith("did"):
        remedy = f"did you mean --config.{elsewhere[0]}?"
      raise BadInput("unknown config key", f"--config.{dotted}", remedy)
    at = at[name]


def _dotted(config: Mapping, prefix: str = "") -> Iterator[str]:
  for key in config:
    yield prefix + key
    if hasattr(config[key], "keys"):
      yield from _dotted(config[key], prefix + key + ".")


def _nearest(name: str, known: list[str], prefix: str) -> str:
  near = difflib.get_close_matches(name, known, 1, 0.5)
  return f"did you mean {prefix}{near[0]}?" if near else "see --help"


def _sentence(error: BaseException) -> str:
  """The last line of an exception's text: parsers put the cause there, after a quoted traceback."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  return lines[-1] if lines else type(error).__name__
