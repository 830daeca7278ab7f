"""Keeps a run from ending of what it prints: a context in which a disk that
takes no more of its output costs lines, and nothing else."""

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

  def _try(self, do, *given) -> None:
    try:
      do(*given)
    except BrokenPipeError:
      raise
    except OSError:
      pass


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
  """Replaces stdout and stderr, whose disk may be full or a terminal gone."""
  try:
    with (
      contextlib.redirect_stdout(_Forgiving(sys.stdout)),
      contextlib.redirect_stderr(_Forgiving(sys.stderr)),
    ):
      yield
  finally:
    for stream in (sys.stdout, sys.stderr):
      try:
        stream.flush()
      except BrokenPipeError:
        raise
      except OSError:
        # What is left would make Python's last flush fail, and its exit code.
        with open(os.devnull, "wb") as nothing:
          os.dup2(nothing.fileno(), stream.fileno())
