"""A folder's name in, a temporary one to fill out, renamed when complete."""

import contextlib
import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from item_jax.distributed.processes import alive
from item_jax.remote import check_local

# numpy gives no number.
_FULL = (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def new_folder(
  out: str | os.PathLike,
  *,
  overwrite: bool,
  replaceable: Callable[[Path], bool],
) -> Iterator["AtomicDirectory"]:
  """Gives a draft of `out`, beside it; nothing half done bears its name.

  The draft is removed when the block ends without `commit`, by an exception
  too. What a killed process left is removed by the next one.

  Args:
    out: the folder to be; a link stays, and what it leads to is made.
    overwrite: whether it may replace one that is there.
    replaceable: whether that folder is one of ours; others stay, always.

  Raises:
    FileExistsError: it is there and must stay.
    UserError: it is on an object store, which can rename nothing.
  """
  check_local(out)
  out = Path(os.path.realpath(out))
  if any(parent.is_file() for parent in out.parents):
    raise FileExistsError(f"{out} cannot be made: a file is in its way")
  out.parent.mkdir(parents=True, exist_ok=True)
  _clean(out)
  _check(out, overwrite, replaceable)
  draft = AtomicDirectory(out, overwrite, replaceable)
  draft.path.mkdir()
  try:
    yield draft
  except OSError as error:
    if error.errno in _FULL and error.filename is None:  # nobody did say
      why = f"{error.strerror or error}, while {out} was being made"
      raise OSError(why) from error
    raise
  finally:
    if draft.path.exists():
      shutil.rmtree(draft.path)


class AtomicDirectory:
  """path: the folder to fill; commit(): gives it its name."""

  def __init__(self, out, overwrite, replaceable):
    self._out = out
    self._overwrite = overwrite
    self._replaceable = replaceable
    self.path = out.with_name(f"{out.name}.preparing-{_ours()}")

  def commit(self) -> None:
    # Once more: somebody else may have been quicker.
    _check(self._out, self._overwrite, self._replaceable)
    if not self._out.exists() or not any(self._out.iterdir()):
      self.path.rename(self._out)  # in the place of an empty folder, too
      return
    old = self._out.with_name(f"{self._out.name}.replaced-{_ours()}")
    self._out.rename(old)
    self.path.rename(self._out)
    shutil.rmtree(old)


def _check(out, overwrite, replaceable):
  if not os.path.lexists(out):
    return
  if os.path.ismount(out):
    raise FileExistsError(
      f"{out} is a mount point, which cannot be renamed: name a folder in it"
    )
  if out.is_dir() and not any(out.iterdir()):
    return  # nothing is lost
  if not overwrite:
    raise FileExistsError(f"{out} is already there; --overwrite replaces it")
  if not out.is_dir() or not replaceable(out):
    raise FileExistsError(
      f"{out} was not written by this command alone, so --overwrite leaves it"
      " alone"
    )


def _ours():
  return f"{socket.gethostname()}-{os.getpid()}"


def _clean(out):
  """Undoes what killed processes of this machine left beside `out`."""
  for stage in ("preparing", "replaced"):
    start = f"{out.name}.{stage}-{socket.gethostname()}-"
    for path in out.parent.iterdir():
      if not path.name.startswith(start):
        continue
      pid = path.name[len(start) :]
      if not pid.isdecimal() or alive(int(pid)):
        continue
      if stage == "replaced" and not out.exists():
        path.rename(out)  # killed between the two renames
      else:
        shutil.rmtree(path)
