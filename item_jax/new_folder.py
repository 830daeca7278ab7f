"""Writes folders atomically: under a temporary name, renamed when complete."""

import contextlib
import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from item_jax.distributed.processes import alive
from item_jax.errors import AlreadyThereError, UserError, check_path
from item_jax.remote import check_local

# numpy's errors have no number.
_FULL = (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def new_folder(
  out: str | os.PathLike,
  *,
  overwrite: bool,
  replaceable: Callable[[Path], bool],
) -> Iterator[Path]:
  """Opens a temporary folder beside `out`, which becomes `out` after the block.

  It is deleted if the block ends by an exception. What a killed process left is
  deleted by the next one.

  Args:
    out: the folder to write; if it is a link, the folder that it leads to.
    overwrite: whether an existing folder may be replaced.
    replaceable: whether a folder was written by this command; others are never
      replaced.

  Raises:
    AlreadyThereError: it exists and must not be replaced, before the block or
      after it, where another process was faster.
    UserError: it is on an object store, which cannot rename.
  """
  check_path(out, "out")
  check_local(out)
  out = Path(os.path.realpath(out))
  if any(parent.is_file() for parent in out.parents):
    raise AlreadyThereError(f"{out} cannot be made: a file is in its way")
  out.parent.mkdir(parents=True, exist_ok=True)
  _clean(out)
  _check(out, overwrite, replaceable)
  folder = out.with_name(f"{out.name}.preparing-{_process_name()}")
  folder.mkdir()
  try:
    yield folder
    _check(out, overwrite, replaceable)
    _rename(folder, out)
  except UserError:
    raise  # what was given is not there: no fault of the disk
  except OSError as error:
    if error.errno in _FULL and error.filename is None:  # no file is named
      why = f"{error.strerror or error}, while {out} was being made"
      raise OSError(why) from error
    raise
  finally:
    if folder.exists():
      shutil.rmtree(folder)


def _rename(folder: Path, out: Path) -> None:
  """Gives a complete folder its name, in place of an earlier one."""
  if not out.exists() or not any(out.iterdir()):
    folder.rename(out)  # also onto an empty folder
    return
  old = out.with_name(f"{out.name}.replaced-{_process_name()}")
  out.rename(old)
  folder.rename(out)
  shutil.rmtree(old)


def _check(out, overwrite, replaceable):
  if not os.path.lexists(out):
    return
  if os.path.ismount(out):
    raise AlreadyThereError(
      f"{out} is a mount point, which cannot be renamed: name a folder in it"
    )
  if out.is_dir() and not any(out.iterdir()):
    return  # nothing is lost
  ours = out.is_dir() and replaceable(out)
  if ours and not overwrite:
    raise AlreadyThereError(f"{out} is already there; --overwrite replaces it")
  if not ours:
    raise AlreadyThereError(
      f"{out} is already there, and was not written by this command, or holds"
      " other files too: --overwrite does not replace it"
    )


def _process_name():
  return f"{socket.gethostname()}-{os.getpid()}"


def _clean(out):
  """Cleans up what killed processes of this machine left beside `out`."""
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
