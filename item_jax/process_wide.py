"""Changes what is the whole process's, for as long as any thread needs it.

Which warnings are shown and how many threads a matrix product takes are no
thread's own. Where two threads each set and restore them, the last one to end
restores what the other had set, and so it stays.
"""

import contextlib
import threading
import warnings
from collections.abc import Iterator


class _NoWarnings:
  """A context that many threads hold: the first enters it, the last leaves."""

  def __init__(self):
    self._lock, self._holders = threading.Lock(), 0
    self._restored = contextlib.ExitStack()

  def __enter__(self) -> None:
    with self._lock:
      if not self._holders:
        self._restored.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
      self._holders += 1

  def __exit__(self, *_) -> None:
    with self._lock:
      self._holders -= 1
      if not self._holders:
        self._restored.close()


no_warnings = _NoWarnings()
_limited = threading.RLock()


def limit_blas() -> None:
  """Gives each matrix product of this thread one thread, until it ends.

  An OpenBLAS over OpenMP keeps a limit for each thread that calls it, so the
  threads of a pool take theirs as they begin.
  """
  import threadpoolctl  # here and not above: not all who warn multiply

  threadpoolctl.threadpool_limits(1, "blas")


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
  """Gives each matrix product one thread; one at a time does so.

  They wait for each other because threadpoolctl, from 3.8 on, takes limits of
  an OpenBLAS without OpenMP from the thread alone that has set the first, and
  ends by what each thread found.
  """
  import threadpoolctl

  with _limited, threadpoolctl.threadpool_limits(1, "blas"):
    yield
