#!/usr/bin/env bash
# Guess: `shardshuffle` shuffles the shards anew in each epoch, and
# `with_epoch(12)` calls each 12 samples an epoch: the next one goes on where
# it ended.
# Seen: The shards come in one order in all epochs, with a seed or without;
# only `detshuffle=True` draws another for each. And an epoch of `with_epoch`
# begins at the first shard again, behind `repeat()`, too: of 30 samples in
# epochs of 12, 18 are never read in any number of epochs. Resampled shards or
# `detshuffle` reach them.
# With: webdataset 1.0.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> shardshuffle: one order True, samples read in 50 epochs: 30
#> shardshuffle, seed: one order True, samples read in 50 epochs: 30
#> detshuffle: one order False, samples read in 50 epochs: 30
#> with_epoch(12): one order True, samples read in 50 epochs: 12
#> repeat(), with_epoch(12): one order True, samples read in 50 epochs: 12
#> detshuffle, with_epoch(12): one order False, samples read in 50 epochs: 30
#> resampled, with_epoch(12): one order False, samples read in 50 epochs: 30
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q webdataset==1.0.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import tempfile
from pathlib import Path

import webdataset

EPOCHS = 50


def told(name, dataset):
  epochs = [[sample["cls"] for sample in dataset] for _ in range(EPOCHS)]
  orders = {tuple(epoch) for epoch in epochs}
  seen = {row for epoch in epochs for row in epoch}
  print(f"{name}: one order {len(orders) == 1},", end=" ")
  print(f"samples read in {EPOCHS} epochs: {len(seen)}")


with tempfile.TemporaryDirectory() as folder:
  pattern = f"{folder}/%03d.tar"
  with webdataset.ShardWriter(pattern, maxcount=3, verbose=0) as writer:
    for row in range(30):
      writer.write({"__key__": f"{row:02}", "cls": row})
  shards = sorted(map(str, Path(folder).glob("*.tar")))

  def read(shardshuffle=100, **options):
    options |= {"shardshuffle": shardshuffle}
    return webdataset.WebDataset(shards, **options).decode()

  told("shardshuffle", read())
  told("shardshuffle, seed", read(seed=1))
  told("detshuffle", read(detshuffle=True, seed=1))
  told("with_epoch(12)", read().with_epoch(12))
  told("repeat(), with_epoch(12)", read().repeat().with_epoch(12))
  shuffled = read(detshuffle=True, seed=1)
  told("detshuffle, with_epoch(12)", shuffled.with_epoch(12))
  resampled = read(shardshuffle=False, resampled=True, seed=1)
  told("resampled, with_epoch(12)", resampled.with_epoch(12))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
