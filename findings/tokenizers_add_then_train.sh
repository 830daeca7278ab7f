#!/usr/bin/env bash
# Guess: Special tokens may be added before or after training: either way
# every token has an id of its own.
# Seen: What is added before train_from_iterator keeps the id that it got from
# the empty vocabulary, and training gives the same id to a word of its own:
# [MASK] is encoded as [UNK].
# With: tokenizers 0.23.3, Python 3.11.7; seen 2026-11-29.
# Printed:
#> add, then train: [MASK] is unknown: True
#> train, then add: [MASK] is unknown: False
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q tokenizers==0.23.3

cat > "$work/show.py" <<'END'
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

for order in ("add, then train", "train, then add"):
  made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
  made.pre_tokenizer = pre_tokenizers.Whitespace()
  trainer = trainers.WordPieceTrainer(
    vocab_size=50, special_tokens=["[UNK]"], show_progress=False
  )
  if order == "add, then train":
    made.add_special_tokens(["[MASK]"])
  made.train_from_iterator(["red mug", "blue mug"], trainer)
  if order == "train, then add":
    made.add_special_tokens(["[MASK]"])
  mask, unknown = made.token_to_id("[MASK]"), made.token_to_id("[UNK]")
  print(f"{order}: [MASK] is unknown: {mask == unknown}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
