"""The one exception that means "the input is wrong, not the program"."""


class BadInput(ValueError):
  """Input that no retry can mend; programs answer it with one sentence and exit code 2.

  Args:
    what: what is wrong, naming the field and the value.
    where: the file, record or flag it was found in.
    remedy: what the user can do about it.
  """

  def __init__(self, what: str, where: object, remedy: str):
    super().__init__(f"{where}: {what}; {remedy}")
    self.what, self.where, self.remedy = what, str(where), remedy

  def __reduce__(self):
    """Crosses process boundaries whole; exceptions otherwise pickle their text alone."""
    return BadInput, (self.what, self.where, self.remedy)
