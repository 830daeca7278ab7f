"""Prints what the library logs, and survives output that cannot be written.

The library prints nothing: it logs to loggers below "item_jax", and the command
line shows their records as plain lines.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator


class PrintHandler(logging.Handler):
  """Prints each record's message: warnings to stderr, the rest to stdout.

  What print() raises reaches who logged, so that a full disk is not passed
  over. The streams are those of the moment.
  """

  def emit(self, record: logging.LogRecord) -> None:
    warning = record.levelno >= logging.WARNING
    print(
      record.getMessage(),
      file=sys.stderr if warning else sys.stdout,
      flush=True,
    )


@contextlib.contextmanager
def printed_logs() -> Iterator[None]:
  """Prints what the library logs at the level INFO and above."""
  logger = logging.getLogger("item_jax")
  handler, before = PrintHandler(), (logger.level, logger.propagate)
  logger.addHandler(handler)
  logger.setLevel(logging.INFO)
  logger.propagate = False
  try:
    yield
  finally:
    logger.removeHandler(handler)
    logger.setLevel(before[0])
    logger.propagate = before[1]


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
