"""Writes files atomically and checksummed, and detects altered ones."""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from item_jax.errors import NotFoundError, UserError
from item_jax.remote import check_local

MANIFEST = "manifest.json"
METRICS_FILE = "metrics.jsonl"  # what a run measures, a row a line
RUN_FILE = "run.json"  # its settings
MAX_JSON = 1 << 26  # bytes of a JSON file; ours are far smaller
_CHECKSUM = "seal"  # the field of a file with the SHA-256 of all others
_PART = ".part"  # the ending of a file that is being written


class CorruptError(UserError):
  """A file was altered; the message begins with its path."""


def write_bytes(path: Path, content: bytes) -> None:
  """Writes a file as a whole or not at all; returns when it is on the disk."""
  check_local(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with whole_file(path) as file:
    file.write(content)


@contextlib.contextmanager
def whole_file(path: str | os.PathLike, *, text: bool = False) -> Iterator[Any]:
  """Opens a file that gets its name when it is complete and on the disk.

  If the block ends by an exception, whatever had the name before still has it.
  Who writes the same file meanwhile waits, and the last one's is what stays. A
  link leads to what is replaced; a device or a pipe is written to as it is.

  Args:
    text: whether text is written, in UTF-8, with line ends as they are given.

  Raises:
    OSError: it cannot be written; the error names the file.
  """
  how: dict[str, Any] = {"encoding": "utf-8", "newline": ""} if text else {}
  mode = "w" if text else "wb"
  out = Path(os.path.realpath(path))
  if out.exists() and not out.is_file():
    with out.open(mode, **how) as file:  # a folder is refused here
      yield file
    return
  part = out.with_name(out.name + _PART)
  try:
    with (
      _open_alone(part, mode, **how) as file,
      contextlib.ExitStack() as undo,
    ):
      undo.callback(part.unlink, missing_ok=True)
      yield file
      file.flush()
      os.fsync(file.fileno())
      part.replace(out)
      undo.pop_all()
  except OSError as error:
    if error.filename is None and error.errno:
      raise type(error)(error.errno, error.strerror, str(path)) from error
    raise


@contextlib.contextmanager
def _open_alone(path: Path, mode: str, **how: Any) -> Iterator[Any]:
  """Opens a file to write from its start, while nobody else has it open so."""

  def as_it_is(name, flags):  # what another one writes is not emptied
    return os.open(name, flags & ~os.O_TRUNC, 0o666)

  while True:
    with open(path, mode, opener=as_it_is, **how) as file:
      if _is_alone(file, path):
        file.truncate(0)
        yield file
        return


def _is_alone(file: Any, path: Path) -> bool:
  """Waits for others; False where the file has got another name meanwhile."""
  try:
    fcntl.flock(file, fcntl.LOCK_EX)
    return os.path.samestat(os.fstat(file.fileno()), path.stat())
  except OSError as error:  # of others: a file system without locks
    return not isinstance(error, FileNotFoundError)


def write_json(path: Path, value: Any) -> None:
  """Writes JSON as `write_bytes` does; fields keep their order."""
  write_bytes(path, _encode(value))


def _encode(value: Any) -> bytes:
  text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
  return text.encode("utf-8", "surrogatepass")  # as json reads it


def write_checksummed(path: Path, value: dict[str, Any]) -> None:
  """Writes JSON with one more field, the SHA-256 of the others."""
  write_json(path, {**value, _CHECKSUM: _hash(value)})


def read_checksummed(path: Path) -> dict[str, Any]:
  """Reads what `write_checksummed` wrote, without its checksum.

  Raises:
    FileNotFoundError: it is not there.
    CorruptError: a byte of it was altered, or it has no checksum.
  """
  content = _read(path)
  value = _parse(content, path)
  if not isinstance(value, dict) or _CHECKSUM not in value:
    raise CorruptError(
      f"{path} has no checksum: it was altered, or an earlier version wrote it"
    )
  # Bytes that are no part of the value, as the last line end, count too.
  as_written = content == _encode(value)
  checksum = value.pop(_CHECKSUM)
  if not as_written or checksum != _hash(value):
    raise CorruptError(f"{path} was altered: its checksum does not match")
  return value


def check_folders(*paths: str | os.PathLike | None) -> None:
  """Refuses output files that can't be written, before any work is done.

  Raises:
    NotFoundError: the folder of a path does not exist.
    UserError: it is on an object store, the path is a folder, or given twice.
  """
  check_local(*paths)
  for path in (given := [Path(one) for one in paths if one]):
    if not path.parent.is_dir():
      raise NotFoundError(f"{path}: there is no folder to write it to")
    if path.is_dir():
      raise UserError(f"{path} is a folder already; expected a file")
    if given.count(path) > 1:
      raise UserError(f"{path} is to hold two results; expected a name of each")


def check_out_folder(folder: str | os.PathLike | None) -> None:
  """Refuses a folder to write to that is a file, before any work is done.

  Raises:
    UserError: it is on an object store, or it, or a part of its path, is a
      file.
  """
  check_local(folder)
  for path in (Path(folder), *Path(folder).parents) if folder else ():
    if path.exists() and not path.is_dir():
      raise UserError(f"{path} is a file; expected a folder to write to")


def read_json(path: Path) -> Any:
  """Reads JSON of at most `MAX_JSON` bytes.

  Raises:
    FileNotFoundError: it is not there.
    CorruptError: it is larger, or not JSON.
  """
  return _parse(_read(path), path)


def whole_rows(path: Path) -> Iterator[tuple[dict, int]]:
  """Yields each whole row with the byte at which it ends.

  Steps never decrease from row to row. What has no step or kind is no row.
  """
  end = 0
  with path.open("rb") as file:
    for line in file:
      end += len(line)
      try:
        row = json.loads(line)
        is_row = row["step"] >= 0 and bool(row["kind"])
      except (ValueError, RecursionError, TypeError, LookupError):
        continue  # being written when the run was killed, or corrupt since
      if is_row and line.endswith(b"\n"):
        yield row, end


def _read(path: Path) -> bytes:
  with Path(path).open("rb") as file:
    content = file.read(MAX_JSON + 1)
  if len(content) > MAX_JSON:
    raise CorruptError(f"{path} is larger than {MAX_JSON // 2**20} MiB")
  return content


def _parse(content: bytes, path: Path) -> Any:
  try:
    return json.loads(content)
  except (ValueError, RecursionError) as error:  # the latter: deep nesting
    raise CorruptError(f"{path} was altered: {error!r}") from error


def _hash(value: dict[str, Any]) -> str:
  text = json.dumps(value, sort_keys=True, ensure_ascii=False)
  return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sha256(path: Path) -> str:
  """Computes a file's SHA-256, in hexadecimal."""
  with Path(path).open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, **beside: Any) -> None:
  """Writes a manifest: the SHA-256 and the size of every file of a folder.

  Args:
    beside: more fields of the manifest.
  """
  found = {
    name: {
      "bytes": (folder / name).stat().st_size,
      "sha256": sha256(folder / name),
    }
    for name in _without_manifest(folder)
  }
  write_checksummed(folder / MANIFEST, {"files": found, **beside})


def check_manifest(folder: Path, *, largest: int | None = None) -> None:
  """Compares a folder with its manifest.

  Args:
    largest: only the sizes of files of more bytes are compared; None compares
      all bytes of every file.

  Raises:
    CorruptError: names the first file (maybe the manifest) that was altered,
      added, or is missing.
  """
  for damage in find_damage(folder, largest=largest):
    raise CorruptError(damage)


def find_damage(folder: Path, *, largest: int | None = None) -> Iterator[str]:
  """Yields the message of `check_manifest` for every corrupt file."""
  path = folder / MANIFEST
  if not path.is_file():
    yield f"{path} is missing"
    return
  try:
    held = read_checksummed(path)["files"]
    expected = {name: (f["bytes"], f["sha256"]) for name, f in held.items()}
  except CorruptError as error:
    yield str(error)
    return
  except (KeyError, TypeError, AttributeError) as error:
    yield f"{path} is no manifest: {error!r}"
    return
  present = set(_without_manifest(folder))
  for name in sorted(expected.keys() | present):
    file = folder / name
    if name not in present:
      yield f"{file} is missing"
      continue
    if name not in expected:
      yield f"{file} was added: it is not in {MANIFEST}"
      continue
    size, hashed = expected[name]
    try:
      found = file.stat().st_size
      if found != size:
        yield f"{file} was altered: {found} bytes, were {size}"
      elif (largest is None or size <= largest) and sha256(file) != hashed:
        yield f"{file} was altered: its SHA-256 differs"
    except OSError as error:  # a failing disk
      yield f"{file} cannot be read: {error.strerror}"


def files_below(folder: Path, part: str = "") -> list[str]:
  """Lists the paths below a folder of all files in it, or in a part of it."""
  paths = sorted(p for p in (folder / part).rglob("*") if p.is_file())
  return [p.relative_to(folder).as_posix() for p in paths]


def _without_manifest(folder: Path) -> list[str]:
  return [
    n for n in files_below(folder) if n not in (MANIFEST, MANIFEST + _PART)
  ]


@contextlib.contextmanager
def exclusive_lock(folder: Path, *, what: str) -> Iterator[None]:
  """Lets one process at a time use a folder; the lock ends with the process.

  Args:
    what: what the process is, for errors.

  Raises:
    UserError: another one is at work there, or the file system has no locks (an
      object store has none).
  """
  check_local(folder)
  folder.mkdir(parents=True, exist_ok=True)
  with (folder / "lock").open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise UserError(f"another {what} is at work in {folder}") from None
    except OSError as error:  # Lustre without -o flock, some of FUSE
      raise UserError(
        f"{folder}: this file system has no locks ({error.strerror}), so"
        f" another {what} could not be kept out: use a folder on a file system"
        " with locks"
      ) from None
    yield
