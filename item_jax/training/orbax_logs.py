"""Leaves out what orbax and asyncio print beside our own message.

Checkpoints have no metadata of orbax's own, on purpose: it warns at each. Of a
save that fails, hundreds of writes end after the first that did, and each
prints a traceback; `saver` says why it failed, in one line.
"""

import contextlib
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

_DRAFT = ".orbax-checkpoint-tmp"  # ends the names of what it is writing


def _from_orbax(record: logging.LogRecord) -> bool:
  """Whether what orbax logs is not told by an exception of ours as well."""
  told = record.exc_info is not None and "orbax" in record.pathname
  return not told and "Metadata file does not exist" not in record.getMessage()


def _from_asyncio(record: logging.LogRecord) -> bool:
  """Whether what nobody retrieved is no write of orbax's."""
  frames = traceback.walk_tb(record.exc_info[2] if record.exc_info else None)
  files = (Path(frame.f_code.co_filename) for frame, _ in frames)
  return _DRAFT not in record.getMessage() and not any(
    "orbax" in file.parts for file in files
  )


# For good: what nobody retrieved is told when it is collected as garbage.
logging.getLogger("absl").addFilter(_from_orbax)
logging.getLogger("asyncio").addFilter(_from_asyncio)
warnings.filterwarnings("ignore", "coroutine 'async_serialize.* never awaited")


@contextlib.contextmanager
def quiet_saves() -> Iterator[None]:
  """Prints nothing of writes that end after the save that began them."""
  before = sys.unraisablehook

  def hook(found) -> None:
    if str(found.exc_value) != "Event loop is closed":
      before(found)

  sys.unraisablehook = hook
  try:
    yield
  finally:
    sys.unraisablehook = before
