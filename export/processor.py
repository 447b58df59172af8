"""The processor that artifacts run on, as far as Linux tells."""

import functools
import platform

X86 = ("x86_64", "AMD64", "i386", "i686")
EXACT = ("avx_vnni", "avx512_vnni")  # sum products of 8 bits in 32; other x86 sum two of them in 16 first


@functools.cache
def described() -> tuple[str, frozenset[str]]:
  """(its name, what it can do)."""
  name, flags = platform.processor() or platform.machine(), ""
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
      told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in file)}
    name, flags = told.get("model name", name), told.get("flags", "")
  except OSError:
    pass  # not Linux
  return name, frozenset(flags.split())


def sums_exactly() -> bool:
  """Whether sums of products of unsigned by signed integers of 8 bits keep to their range: 2 * 255 * 127 > 2^15."""
  return platform.machine() not in X86 or bool(described()[1] & set(EXACT))
