"""An object store that is a folder: gs:// leads to it."""

import contextlib
from pathlib import Path

import fsspec
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem


class Bucket(DirFileSystem):
  """Its objects are the files of `folder`; it remembers what was asked."""

  protocol = ("gs", "gcs")
  cachable = False
  folder: Path
  written: list[str] = []  # names of objects, in the order they were written
  room: int | None = None  # objects that it still takes
  last: str | None = None  # the end of a name after which it takes no more

  def __init__(self, **_):
    files = LocalFileSystem(auto_mkdir=True)
    super().__init__(path="/", fs=files)

  @property
  def path(self) -> str:
    """The folder of now: etils keeps the first one made of a scheme."""
    return str(self.folder)

  @path.setter
  def path(self, _) -> None:
    pass

  def _take(self, path):
    kind = type(self)
    if kind.room == 0:
      raise ConnectionError("the store is away")
    if kind.room is not None:
      kind.room -= 1
    kind.written.append(path)
    if kind.last is not None and path.endswith(kind.last):
      kind.room = 0

  def put_file(self, lpath, rpath, **options):
    self._take(rpath)
    return super().put_file(lpath, rpath, **options)

  def pipe_file(self, path, *values, **options):
    self._take(path)
    return super().pipe_file(path, *values, **options)

  def rm_file(self, path):
    super().rm_file(path)
    # A store has no folders: they are there while something is in them.
    with contextlib.suppress(OSError):
      for folder in (self.folder / path).parents:
        if folder == self.folder:
          break
        folder.rmdir()


def open_bucket(folder: Path) -> Path:
  """Makes gs:// lead to a new, empty bucket in a folder; returns the bucket."""
  Bucket.folder, Bucket.written = folder, []
  Bucket.room = Bucket.last = None
  for scheme in Bucket.protocol:
    fsspec.register_implementation(scheme, Bucket, clobber=True)
  folder.mkdir(exist_ok=True)
  return folder / "bucket"


def objects(bucket: Path) -> dict[str, bytes]:
  """{name: bytes} of all that is in it."""
  return {
    path.relative_to(bucket).as_posix(): path.read_bytes()
    for path in sorted(bucket.rglob("*"))
    if path.is_file()
  }
