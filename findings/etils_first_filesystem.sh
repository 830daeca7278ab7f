#!/usr/bin/env bash
# Guess: epath asks fsspec for the file system of a scheme at each use, so that
# one registered later, or fsspec's cleared cache of instances, is what counts.
# Seen: The first file system of a scheme is kept for the life of the process;
# fsspec itself answers with the new one.
# With: etils[epath] 1.15.0, fsspec 2026.9.0, Python 3.11.7; seen 2026-11-29.
# Printed:
#> first  fsspec True epath True
#> second fsspec True epath False
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q 'etils[epath]==1.15.0' fsspec==2026.9.0

cat > "$work/show.py" <<'END'
import fsspec
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem

SCHEME = "gs:" + "//"


def open_store(name: str) -> None:
  """Makes the scheme gs a new store in memory that holds one object."""

  class Store(MemoryFileSystem):
    protocol = ("gs", "gcs")
    cachable = False
    store = {}
    pseudo_dirs = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
      return "/" + path.removeprefix(SCHEME).lstrip("/")

  for scheme in Store.protocol:
    fsspec.register_implementation(scheme, Store, clobber=True)
  fsspec.filesystem("gs").pipe_file(f"/bucket/{name}", b"x")


for name in ("first", "second"):
  open_store(name)
  path = f"{SCHEME}bucket/{name}"
  seen = fsspec.filesystem("gs").exists(path), epath.Path(path).exists()
  print(f"{name:6} fsspec {seen[0]} epath {seen[1]}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
