#!/usr/bin/env bash
# Guess: a ranking has one MAP and one recall, whatever is added to all its
# scores; negative distances serve as well as cosines.
# Seen: TorchMetrics counts no relevant candidate whose score is 0 or less in
# MAP, MRR, recall and precision: with negative distances all four of a
# perfect ranking are 0. Hit rate and NDCG count it.
# With: torchmetrics 1.9.0, torch 2.13.0, Python 3.11.7; seen 2026-12-03.
# Printed:
#> cosines: MAP 1.00 MRR 1.00 recall@2 1.00 precision@2 1.00 hit rate@2 1.00 NDCG 1.00
#> the same less 0.85: MAP 1.00 MRR 1.00 recall@2 0.50 precision@2 0.50 hit rate@2 1.00 NDCG 1.00
#> negative distances: MAP 0.00 MRR 0.00 recall@2 0.00 precision@2 0.00 hit rate@2 1.00 NDCG 1.00
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torchmetrics==1.9.0 torch==2.13.0

cat > "$work/show.py" <<'END'
import torch
import torchmetrics.retrieval as retrieval

relevant = torch.tensor([1, 1, 0, 0])
query = torch.zeros(4, dtype=torch.long)
cosines = torch.tensor([0.9, 0.8, 0.3, 0.2])
rankings = {
  "cosines": cosines,
  "the same less 0.85": cosines - 0.85,
  "negative distances": cosines - 1,
}
metrics = {
  "MAP": retrieval.RetrievalMAP(),
  "MRR": retrieval.RetrievalMRR(),
  "recall@2": retrieval.RetrievalRecall(top_k=2),
  "precision@2": retrieval.RetrievalPrecision(top_k=2),
  "hit rate@2": retrieval.RetrievalHitRate(top_k=2),
  "NDCG": retrieval.RetrievalNormalizedDCG(),
}
for name, scores in rankings.items():
  print(name + ":", end="")
  for metric, score in metrics.items():
    print(f" {metric} {float(score(scores, relevant, query)):.2f}", end="")
  print()
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
