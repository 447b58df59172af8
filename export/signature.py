"""Who vouches for an export: a signature over every file of its directory, by model-signing with a key of one's own.

Keys are elliptic (openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl ec -in key.pem -pubout). No
service is asked, so that a vehicle can check it alone.
"""

import os
import pathlib
from typing import Any

from data.errors import BadInput

NAME = "signature.json"


def signer(private_key: os.PathLike | str) -> Any:
  """A model-signing configuration; raises BadInput for what is no elliptic private key."""
  from model_signing import signing

  try:
    return signing.Config().use_elliptic_key_signer(private_key=private_key)
  except (OSError, ValueError, TypeError) as error:
    raise BadInput(
      _sentence("is no key to sign with", error), private_key, "give an elliptic key in PEM"
    ) from None


def sign(root: pathlib.Path, signer: Any) -> None:
  """Writes the signature of a directory into it, over all other files."""
  signer.set_hashing_config(_hashing(root)).sign(root, root / NAME)


def check(root: pathlib.Path, public_key: os.PathLike | str) -> None:
  """Raises BadInput unless the key's owner has signed exactly the files that are there."""
  from model_signing import verifying

  if not (root / NAME).is_file():
    raise BadInput("is not signed", root, "export it again with --sign_key")
  try:
    config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
  except (OSError, ValueError, TypeError) as error:
    raise BadInput(
      _sentence("is no key to verify with", error), public_key, "give the public key in PEM"
    ) from None
  try:
    config.set_hashing_config(_hashing(root)).verify(root, root / NAME)
  except Exception as error:  # whatever is wrong with a signature, it is none
    raise BadInput(
      _sentence("is not what this key has signed", error), root, "get it from its maker again"
    ) from None


def _hashing(root: pathlib.Path) -> Any:
  from model_signing import hashing

  return hashing.Config().set_ignored_paths(paths=[NAME], ignore_git_paths=False)


def _sentence(what: str, error: Exception) -> str:
  return f"{what} ({' '.join(str(error).split())})" if str(error) else what
