"""Keeps work from ending of what it prints: a context in which a disk that
takes no more of the output costs lines, and nothing else."""

import contextlib
import os
import sys
from collections.abc import Iterator


class _Forgiving:
  """A stream that loses what cannot be written.

  But not where a reader has gone: that one has seen enough.
  """

  def __init__(self, stream):
    self._stream = stream

  def __getattr__(self, name: str):
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    self._try(self._stream.write, text)
    return len(text)

  def flush(self) -> None:
    self._try(self._stream.flush)

  def close(self) -> None:
    """Not ours: absl closes at exit what is not sys.stderr itself."""

  def _try(self, do, *given) -> None:
    try:
      do(*given)
    except BrokenPipeError:
      raise
    except OSError:
      pass


@contextlib.contextmanager
def forgiving(*names: str) -> Iterator[None]:
  """Replaces "stdout", "stderr": a disk may be full, a terminal gone."""
  before = {name: getattr(sys, name) for name in names}
  for name, stream in before.items():
    setattr(sys, name, _Forgiving(stream))
  try:
    yield
  finally:
    for name, stream in before.items():
      setattr(sys, name, stream)
      flush(stream)


def flush(stream) -> str:
  """Flushes a stream, or drops what it takes no more; "", or why it did not.

  What is left would make Python's last flush fail, and its exit code.
  """
  try:
    stream.flush()
  except BrokenPipeError:
    raise
  except OSError as error:
    with open(os.devnull, "wb") as nothing:
      os.dup2(nothing.fileno(), stream.fileno())
    return str(error)
  return ""
