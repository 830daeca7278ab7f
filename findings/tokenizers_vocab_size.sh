#!/usr/bin/env bash
# Guess: `vocab_size` is the most tokens that a trainer makes, as its
# documentation says: an embedding table of as many rows holds them all.
# Seen: WordPiece and BPE keep every character of the texts, WordPiece each
# twice (a and ##a), however small `vocab_size` is; there is no error and no
# warning. Ids past the table's end are NaN in `jnp.take` and so in Flax's
# `Embed`, and another token's row in indexing. Only `limit_alphabet` keeps the
# number down. WordLevel keeps to it.
# With: tokenizers 0.23.3, jax 0.10.2, numpy 2.4.6, Python 3.11.7;
# seen 2026-12-01.
# Printed:
#> WordLevel: 50 asked, 50 made
#> BPE: 50 asked, 63 made
#> WordPiece: 50 asked, 124 made
#> WordPiece, limit_alphabet=20: 50 made
#> rows of ids past a table of 50, jnp.take: [nan nan nan nan]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q tokenizers==0.23.3 jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os
import string

os.environ["JAX_PLATFORMS"] = "cpu"
import jax.numpy as jnp
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

letters = string.ascii_letters + string.digits
titles = [letters[at : at + 3] for at in range(len(letters) - 2)]
asked = 50
kinds = {
  "WordLevel": (models.WordLevel, trainers.WordLevelTrainer),
  "BPE": (models.BPE, trainers.BpeTrainer),
  "WordPiece": (models.WordPiece, trainers.WordPieceTrainer),
}


def train(kind, **options):
  model, trainer = kinds[kind]
  tokenizer = Tokenizer(model(unk_token="[UNK]"))
  tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
  options |= {"special_tokens": ["[UNK]"], "show_progress": False}
  tokenizer.train_from_iterator(titles, trainer(vocab_size=asked, **options))
  return tokenizer


for kind in kinds:
  print(f"{kind}: {asked} asked, {train(kind).get_vocab_size()} made")
few = train("WordPiece", limit_alphabet=20)
print("WordPiece, limit_alphabet=20:", few.get_vocab_size(), "made")
table = jnp.ones((asked, 4))
past = jnp.array(train("WordPiece").encode(titles[0]).ids)
past = past[past >= asked]
print("rows of ids past a table of 50, jnp.take:", jnp.take(table, past, 0)[0])
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
