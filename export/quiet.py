"""Libraries' remarks on their own business, kept from the user's terminal."""

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout


@contextlib.contextmanager
def quietly() -> Iterator[None]:
  """What is printed meanwhile, by C++ too, goes to a file, and is shown only when an exception passes."""
  level = logging.root.manager.disable
  logging.disable(logging.WARNING)
  for stream in (sys.stdout, sys.stderr):
    stream.flush()
  kept = [os.dup(1), os.dup(2)]
  printed = io.StringIO()  # by Python, whose streams need not be those of the process
  with tempfile.TemporaryFile() as file:
    try:
      with warnings.catch_warnings(), redirect_stdout(printed), redirect_stderr(printed):
        warnings.simplefilter("ignore")
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        yield
    except BaseException:
      file.seek(0)
      os.write(kept[1], printed.getvalue().encode() + file.read())
      raise
    finally:
      for stream in (sys.stdout, sys.stderr):
        stream.flush()
      for number, own in enumerate(kept, 1):
        os.dup2(own, number)
        os.close(own)
      logging.disable(level)
