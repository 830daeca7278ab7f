"""Shows how far long work is: a bar of tqdm, or lines where none can stand."""

import sys
from collections.abc import Iterable
from typing import Any

from item_jax.process_wide import no_warnings

EVERY = 10.0  # seconds from line to line where there is no terminal


def show_bar(
  parts: Iterable | None = None,
  *,
  total: int | None,
  unit: str = "row",
  desc: str | None = None,
  **options: Any,
) -> Any:
  """Returns a bar of tqdm on stderr, in a notebook its widget.

  Where stderr is no terminal, a log file for instance, it writes a line every
  ten seconds, one at the end, and nothing for what takes less than ten.

  Args:
    parts: what is gone through; None: `update` says how far work is.
    total: of parts or units; None where it is not known.
    options: of tqdm, for a terminal or a notebook; initial is for all.
  """
  with no_warnings:  # ipywidgets is missing: no bar stands in
    from tqdm.auto import tqdm
    from tqdm.notebook import tqdm_notebook

  named = {"total": total, "unit": unit, "desc": desc}
  if issubclass(tqdm, tqdm_notebook) or sys.stderr.isatty():
    return tqdm(parts, file=sys.stderr, **named, **options)
  options = {k: v for k, v in options.items() if k in ("initial", "smoothing")}
  return tqdm(
    parts,
    **named,
    **options,
    file=_Lines(sys.stderr),
    mininterval=EVERY,
    miniters=1,
    delay=EVERY,
  )


class _Lines:
  """A stream in which each drawing of a bar is a line of its own."""

  def __init__(self, stream):
    self._stream = stream

  def __getattr__(self, name: str):
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    # tqdm returns to the line's start, and moves up and down between bars.
    line = text.replace("\x1b[A", "").strip("\r\n ")
    if line:
      self._stream.write(line + "\n")
    return len(text)
