"""Writes results for an object store locally, and uploads them when complete.

What is at the address already stays, unless it may be replaced.
"""

import contextlib
import fnmatch
import logging
import shutil
from pathlib import Path
from typing import NamedTuple

from item_jax import remote
from item_jax.errors import AlreadyThereError, UserError
from item_jax.files import exclusive_lock
from item_jax.object_store import copies
from item_jax.object_store.copies import UPLOADING
from item_jax.remote import Address, StoreError

logger = logging.getLogger(__name__)


class Layout(NamedTuple):
  """The form of a command's result: a file, or a folder with a marker."""

  marker: str = ""  # the file of a folder that is written last; "" for a file
  names: tuple[str, ...] = ()  # patterns of the folder's other files
  sign: bytes = b""  # that the marker of this command contains
  resumes: bool = False  # whether the command resumes an unfinished result


def check_writable(address: Address) -> None:
  """Checks, before the work, that an address can be written to.

  Raises:
    UserError: the address names no object or folder in a store.
    StoreError: writing fails.
  """
  remote.check_store(address)
  if address.startswith("memory:"):
    raise UserError(f"{address} would be gone with this process: name a store")
  if address.is_bucket():
    raise UserError(f"{address} is a whole store: name a folder or file in it")
  probe = Address(f"{address}.item-jax-probe")
  remote.write(probe, b"whether this can be written\n")
  remote.delete(probe)


def check_room(
  address: Address, layout: Layout, *, overwrite: bool
) -> dict[str, int]:
  """Lists {name: bytes} of what may be replaced at an address.

  Raises:
    AlreadyThereError: something there must not be replaced.
  """
  if not layout.marker:
    return {}
  found = remote.list_files(address)
  odd = [name for name in found if not _belongs_to(layout, name)]
  marked, cut_off = layout.marker in found, UPLOADING in found
  if marked and layout.sign not in (
    remote.read(address / layout.marker) or b""
  ):
    odd.append(layout.marker)
  if found and not marked and not cut_off:
    odd += sorted(found)
  if odd:
    raise AlreadyThereError(
      f"{address} holds what this command did not write ({odd[0]}): name"
      " another place"
    )
  if marked and not cut_off and not overwrite:
    raise AlreadyThereError(
      f"{address} is already there; --overwrite replaces it"
    )
  return found


def _belongs_to(layout: Layout, name: str) -> bool:
  return any(
    fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
    for pattern in (*layout.names, layout.marker, UPLOADING)
  )


def acquire(
  address: Address,
  layout: Layout,
  stack: contextlib.ExitStack,
  *,
  overwrite: bool,
) -> Path:
  """Acquires the local folder in which an address's result is made.

  It is always the same one, locked for one command until `stack` is closed.
  """
  made = copies.place_of("unfinished", address)
  what = f"command that writes to {address}"
  stack.enter_context(exclusive_lock(made.parent, what=what))
  found = remote.list_files(address) if layout.resumes else {}
  complete = layout.marker in found and UPLOADING not in found
  if not layout.resumes or (complete and not overwrite):
    clear(made.parent)
  if complete and not overwrite:  # the command checks it
    copies.fetch(address, made, found)
  return made


def finish(
  address: Address, layout: Layout, made: Path, *, overwrite: bool
) -> None:
  """Uploads a complete result, and the files beside it.

  Raises:
    StoreError: the store failed; what was made stays on this machine.
  """
  try:
    _upload_others(address, made)
    complete = _upload(address, layout, made, overwrite)
  except OSError as error:
    raise StoreError(
      f"{error}; what was made is in {made.parent}, until the same command is"
      " run again"
    ) from error
  if complete:
    clear(made.parent)
  else:
    logger.info(f"{address}: nothing is uploaded before it is complete: {made}")


def _upload_others(address: Address, made: Path) -> None:
  """Uploads what lies beside the result, as data.rejected.csv beside data."""
  for other in made.parent.iterdir():
    if other.is_file() and other != made and other.name != "lock":
      place = Address(address + other.name.removeprefix(made.name))
      remote.upload(other, place)
      logger.info(f"{other} is {place}")


def _upload(address, layout: Layout, made: Path, overwrite: bool) -> bool:
  """Uploads a result; False where it is not complete yet."""
  if not layout.marker:
    if made.is_file():
      remote.upload(made, address)
    return True
  marker = made / layout.marker
  if not marker.is_file():
    return not made.exists()
  if remote.read(address / layout.marker) != marker.read_bytes():
    # Checked once more: another process may have been faster.
    old = check_room(address, layout, overwrite=overwrite)
    copies.send(made, address, last=layout.marker, old=old)
    logger.info(f"{address}: uploaded, {layout.marker} last")
    return True
  there = remote.list_files(address)
  for path in sorted(made.iterdir()):  # a map that a finished export got
    if path.name not in there and _belongs_to(layout, path.name):
      remote.upload(path, address / path.name)
      logger.info(f"{address / path.name}: uploaded")
  return True


def clear(folder: Path) -> None:
  """Removes all that is in a folder but its lock."""
  for path in folder.iterdir():
    if path.is_dir():
      shutil.rmtree(path)
    elif path.name != "lock":
      path.unlink()
