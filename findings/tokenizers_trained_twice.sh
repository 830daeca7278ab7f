#!/usr/bin/env bash
# Guess: A tokenizer trained again on the same texts, in the same process, is
# the same: there is no seed to set, and BPE's are the same each time.
# Seen: WordPiece numbers the pieces that continue a word in another order in
# each training. The ids differ each time; and as equally frequent pairs are
# merged in the order of their ids until `vocab_size` is reached, the tokens
# differ, too, and titles are cut elsewhere. An embedding table is not to be
# used with a tokenizer that was "made the same way", as by each process of a
# run.
# With: tokenizers 0.23.3, Python 3.11.7; seen 2026-12-01.
# Printed:
#> BPE, trained 10 times: the same ids True, tokens True, cuts True
#> WordPiece, trained 10 times: the same ids False, tokens False, cuts False
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q tokenizers==0.23.3

cat > "$work/show.py" <<'END'
import string

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

letters = string.ascii_lowercase
titles = [a + b + c for a in letters for b in letters for c in letters[::5]]


def train(model, trainer):
  tokenizer = Tokenizer(model(unk_token="[UNK]"))
  tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
  options = {"special_tokens": ["[UNK]"], "show_progress": False}
  tokenizer.train_from_iterator(titles, trainer(vocab_size=200, **options))
  return tokenizer


for name, *kind in (
  ("BPE", models.BPE, trainers.BpeTrainer),
  ("WordPiece", models.WordPiece, trainers.WordPieceTrainer),
):
  made = [train(*kind) for _ in range(10)]
  ids = {tuple(sorted(one.get_vocab().items())) for one in made}
  tokens = {tuple(sorted(one.get_vocab())) for one in made}
  cuts = {str([e.tokens for e in one.encode_batch(titles)]) for one in made}
  print(f"{name}, trained 10 times: the same ids {len(ids) == 1},", end=" ")
  print(f"tokens {len(tokens) == 1}, cuts {len(cuts) == 1}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
