#!/usr/bin/env bash
# Guess: Looking up 1,024 rows of a table of a million on a TPU reads 1,024
# rows, and a table of width 64 takes half the memory of one of width 128.
# Seen: Where the width is not a multiple of 128, such as 64, 192 and 300, each
# lookup copies the whole table first, into rows padded to the next multiple:
# at width 64 it moves three times the table and holds three times its memory,
# more than a table of width 128 takes, which is read row by row. With the
# layout stated, row after row, it is not copied and always takes the padded
# size.
# With: jax 0.10.2, libtpu 0.0.42.1, numpy 2.4.6, Python 3.11.7;
# seen 2026-12-01.
# Printed:
#> width 64: 256 MB, held 768 MB, moved 774 MB
#> width 128: 512 MB, held 512 MB, moved 5 MB
#> width 192: 768 MB, held 1792 MB, moved 1803 MB
#> width 256: 1024 MB, held 1024 MB, moved 9 MB
#> width 300: 1200 MB, held 2752 MB, moved 2769 MB
#> width 384: 1536 MB, held 1536 MB, moved 14 MB
#> width 64 by rows: 256 MB, held 512 MB, moved 6 MB
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 libtpu==0.0.42.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ |= {
  "JAX_PLATFORMS": "cpu",
  # libtpu only compiles here: for a chip that is not there.
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-4",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_LOG_DIR": "disabled",
}
import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.experimental.layout import Format, Layout

ROWS, LOOKED_UP = 1_000_000, 1024
chips = topologies.get_topology_desc(
  platform="tpu", topology_name="v5e:2x2x1"
).devices
chip = jax.sharding.SingleDeviceSharding(chips[0])


def told(width, name="", at=chip):
  table = jax.ShapeDtypeStruct((ROWS, width), jnp.float32)
  ids = jax.ShapeDtypeStruct((LOOKED_UP,), jnp.int32)
  lookup = jax.jit(lambda table, ids: table[ids], in_shardings=(at, chip))
  done = lookup.lower(table, ids).compile()
  memory = done.memory_analysis()
  held = memory.argument_size_in_bytes + memory.temp_size_in_bytes
  moved = done.cost_analysis()["bytes accessed"]
  print(
    f"width {width}{name}: {table.size * 4 / 1e6:.0f} MB,",
    f"held {held / 1e6:.0f} MB, moved {moved / 1e6:.0f} MB",
  )


for width in (64, 128, 192, 256, 300, 384):
  told(width)
told(64, " by rows", Format(Layout(major_to_minor=(0, 1)), chip))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
