#!/usr/bin/env bash
# Guess: An added token gets an id that is free, and ids stated in a
# tokenizer.json are the ids in use.
# Seen: An added token gets the number of words so far as its id. Where a
# vocabulary has a gap that id may be taken: two words share it. An id that
# tokenizer.json states for an added token is replaced likewise, and
# get_vocab_size() is no bound for ids.
# With: tokenizers 0.23.3, Python 3.11.7; seen 2026-11-29.
# Printed:
#> largest id 3, get_vocab_size(): 3
#> mug and [MASK]: [3, 3]
#> [MASK], stated as 100: 3
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q tokenizers==0.23.3

cat > "$work/show.py" <<'END'
import json

from tokenizers import Tokenizer, models, pre_tokenizers


def tokenizer(vocabulary):
  model = models.WordPiece(vocabulary, unk_token="[UNK]")
  made = Tokenizer(model)
  made.pre_tokenizer = pre_tokenizers.Whitespace()
  return made


gap = tokenizer({"[UNK]": 0, "red": 1, "mug": 3})
print("largest id 3, get_vocab_size():", gap.get_vocab_size())
gap.add_special_tokens(["[MASK]"])
print("mug and [MASK]:", gap.encode("mug [MASK]").ids)

plain = tokenizer({"[UNK]": 0, "red": 1, "mug": 2})
plain.add_special_tokens(["[MASK]"])
content = json.loads(plain.to_str())
content["added_tokens"][0]["id"] = 100
again = Tokenizer.from_str(json.dumps(content))
print("[MASK], stated as 100:", again.token_to_id("[MASK]"))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
