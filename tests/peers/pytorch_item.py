"""Computes ITEm's train step in PyTorch, as its users would write it.

The same network, masks, losses and update as `configs/item_tiny.py` and
`item_small.py` have, of whole pairs and pre-norm blocks. It takes shortcuts
that ours does not: no accuracies, and no look at whether a step is finite.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from item_jax.batch import Batch
from item_jax.config import Config, Loss, Mask
from item_jax.models.layers import LAYER_NORM_EPSILON
from item_jax.objectives import masking

LOSSES = ("itm", "mlm", "mim", "gmlm", "gmim")
PAD, MASK, SPECIAL = 0, 4, 5  # as of `diagnostics.plan.Vocabulary`


class View(NamedTuple):
  """A batch as the network sees it, and what the losses ask of it."""

  image_BHWC: Any  # uint8
  tokens_BT: Any  # int64, as shown
  token_at_BK: Any  # int64 in [0, T)
  tokens_BK: Any  # int64, what stood there
  token_counts_BK: Any  # bool
  masked_BN: Any  # bool
  patch_at_BK: Any  # int64 in [0, N)
  patch_counts_BK: Any  # bool
  is_match_B: Any  # bool


def norm(width: int) -> nn.LayerNorm:
  return nn.LayerNorm(width, eps=LAYER_NORM_EPSILON)


class Block(nn.Module):
  """Attention, then an MLP, each after its norm."""

  def __init__(self, width: int, heads: int, mlp: int, dropout: float):
    super().__init__()
    self.heads = heads
    self.norm1, self.norm2 = norm(width), norm(width)
    self.attention = nn.ModuleDict(
      {"qkv": nn.Linear(width, 3 * width), "out": nn.Linear(width, width)}
    )
    self.mlp = nn.ModuleDict(
      {"up": nn.Linear(width, mlp), "down": nn.Linear(mlp, width)}
    )
    self.drop = nn.Dropout(dropout)

  def forward(self, x_BSD, bias_B11S):
    shape = (*x_BSD.shape[:2], 3, self.heads, -1)
    qkv = self.attention["qkv"](self.norm1(x_BSD)).view(shape)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(
      query, key, value, attn_mask=bias_B11S
    )
    mixed_BSD = mixed.transpose(1, 2).flatten(2)
    x_BSD = x_BSD + self.drop(self.attention["out"](mixed_BSD))
    h = self.mlp["down"](functional.gelu(self.mlp["up"](self.norm2(x_BSD))))
    return x_BSD + self.drop(h)


class Transform(nn.Module):
  """Linear, GELU, norm."""

  def __init__(self, width: int):
    super().__init__()
    self.dense, self.norm = nn.Linear(width, width), norm(width)

  def forward(self, x):
    return self.norm(functional.gelu(self.dense(x)))


class GlobalTransform(nn.Module):
  """F([g; p]), split into a product for g and one for p."""

  def __init__(self, width: int):
    super().__init__()
    self.of_global = nn.Linear(width, width)
    self.of_place = nn.Linear(width, width, bias=False)
    self.norm, self.second = norm(width), Transform(width)

  def forward(self, g_BD, p_BKD):
    h = self.of_global(g_BD)[:, None] + self.of_place(p_BKD)
    return self.second(self.norm(functional.gelu(h)))


class Item(nn.Module):
  """`item_jax.models.item.Item`; parameters have its names."""

  def __init__(self, config: Config, vocab_size: int):
    super().__init__()
    m, places = config.model, (config.model.image_size // config.model.patch)
    if m.norm != "pre" or m.global_head != "concat" or m.sides:
      raise ValueError("written for norm=pre, global_head=concat and sides=0")
    self.patch, D, pixels = m.patch, m.width, m.patch**2 * 3
    self.project = nn.Linear(pixels, D)
    self.encoder = nn.ModuleDict(
      {
        f"layer_{i}": Block(D, m.heads, m.mlp, m.dropout)
        for i in range(m.layers)
      }
    )
    self.encoder["norm"] = norm(D)
    self.drop = nn.Dropout(m.dropout)
    self.match_head = nn.ModuleDict(
      {"pooler": nn.Linear(D, D), "dense": nn.Linear(D, 2)}
    )
    self.word_head, self.patch_head = Transform(D), Transform(D)
    self.global_word_head = GlobalTransform(D)
    self.global_patch_head = GlobalTransform(D)
    self.patch_decoder = nn.ModuleDict({"dense": nn.Linear(D, pixels)})
    self.global_patch_decoder = nn.ModuleDict({"dense": nn.Linear(D, pixels)})
    for layer in self.modules():
      if isinstance(layer, nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=m.init_std)
        if layer.bias is not None:
          nn.init.zeros_(layer.bias)

    for name, shape in (
      ("word", (vocab_size, D)),
      ("cls", (D,)),
      ("hidden_patch", (D,)),
      ("patch_position", (places**2, D)),
      ("title_position", (m.max_title_tokens, D)),
      ("segment", (2, D)),
    ):
      drawn = nn.init.trunc_normal_(torch.empty(shape), std=m.init_std)
      setattr(self, name, nn.Parameter(drawn))
    for name in ("word_decoder", "global_word_decoder"):
      zeros = nn.Parameter(torch.zeros(vocab_size))
      setattr(self, name, nn.ParameterDict({"bias": zeros}))

  def encode(self, patches_BNP, view: View):
    """States [B,S,D] of [CLS], patches, title."""
    patches_BND = torch.where(
      view.masked_BN[..., None], self.hidden_patch, self.project(patches_BNP)
    )
    patches_BND = patches_BND + (self.patch_position + self.segment[0])
    title_BTD = functional.embedding(view.tokens_BT, self.word)
    title_BTD = title_BTD + (self.title_position + self.segment[1])
    cls_B1D = self.cls.expand(len(title_BTD), 1, -1)
    x_BSD = self.drop(torch.cat([cls_B1D, patches_BND, title_BTD], dim=1))
    # Once for all layers: of a mask of bools each would make its own.
    bias_BS = x_BSD.new_zeros(x_BSD.shape[:2])
    padding_BT = view.tokens_BT == PAD
    bias_BS[:, -padding_BT.shape[1] :].masked_fill_(padding_BT, -torch.inf)
    for name, layer in self.encoder.items():
      x_BSD = (
        layer(x_BSD)
        if name == "norm"
        else layer(x_BSD, bias_BS[:, None, None, :])
      )
    return x_BSD

  def forward(self, view: View):
    """The five `LOSSES`, [5], each the mean over what counts."""
    pixels_BNP = to_patches(view.image_BHWC, self.patch)
    states_BSD = self.encode(pixels_BNP, view)
    N, g_BD = pixels_BNP.shape[1], states_BSD[:, 0]
    of_tokens_BKD = _gather(states_BSD[:, 1 + N :], view.token_at_BK)
    of_patches_BKD = _gather(states_BSD[:, 1 : 1 + N], view.patch_at_BK)
    token_p_BKD = functional.embedding(view.token_at_BK, self.title_position)
    patch_p_BKD = functional.embedding(view.patch_at_BK, self.patch_position)
    itm_B2 = self.match_head["dense"](
      torch.tanh(self.match_head["pooler"](g_BD))
    )
    targets_BKP = _gather(pixels_BNP, view.patch_at_BK)
    of_words = (self.word_head(of_tokens_BKD), self.word_decoder)
    of_global = (
      self.global_word_head(g_BD, token_p_BKD),
      self.global_word_decoder,
    )
    mlm, gmlm = (
      _token_loss(functional.linear(h_BKD, self.word, decoder["bias"]), view)
      for h_BKD, decoder in (of_words, of_global)
    )
    mim_BKP = self.patch_decoder["dense"](self.patch_head(of_patches_BKD))
    gmim_BKP = self.global_patch_decoder["dense"](
      self.global_patch_head(g_BD, patch_p_BKD)
    )
    mim, gmim = (
      _mean(
        functional.mse_loss(x_BKP, targets_BKP, reduction="none").mean(-1),
        view.patch_counts_BK,
      )
      for x_BKP in (mim_BKP, gmim_BKP)
    )
    itm = functional.cross_entropy(itm_B2, view.is_match_B.long())
    return torch.stack([itm, mlm, mim, gmlm, gmim])


def to_patches(image_BHWC, patch: int):
  """uint8 [B,H,W,3] to [B,N,P] in [-1, 1]."""
  B, H, W, C = image_BHWC.shape
  x = image_BHWC.view(B, H // patch, patch, W // patch, patch, C)
  return x.transpose(2, 3).reshape(B, -1, patch * patch * C) / 127.5 - 1.0


def _gather(x_BLD, at_BK):
  return x_BLD.gather(1, at_BK[..., None].expand(-1, -1, x_BLD.shape[-1]))


def _token_loss(logits_BKV, view: View):
  lost_P = functional.cross_entropy(
    logits_BKV.flatten(0, 1), view.tokens_BK.flatten(), reduction="none"
  )
  return _mean(lost_P.view_as(view.tokens_BK), view.token_counts_BK)


def _mean(x, counts):
  return (x * counts).sum() / counts.sum().clamp(min=1)


def draw(
  batch: Batch, mask: Mask, loss: Loss, *, vocab_size: int, num_patches: int
) -> View:
  """Draws other pairs' titles, masked tokens and masked patches.

  Args:
    batch: of torch tensors, all pairs whole.
  """
  tokens_BT = batch.tokens_BT
  B, T = tokens_BT.shape
  allowed_BB = (batch.product_B[:, None] != batch.product_B) & (
    batch.title_B[:, None] != batch.title_B
  )
  chosen_B = torch.rand(B).argsort().argsort() < round(B * loss.negative_rate)
  donor_B = torch.rand(B, B).masked_fill(~allowed_BB, -1.0).argmax(1)
  negative_B = chosen_B & allowed_BB.any(1)
  tokens_BT = torch.where(negative_B[:, None], tokens_BT[donor_B], tokens_BT)

  K = masking.max_masked_tokens(T, mask.title_rate)
  ordinary_BT = tokens_BT >= SPECIAL
  score_BT = torch.rand(B, T).masked_fill(~ordinary_BT, -1.0)
  token_at_BK = score_BT.topk(K).indices
  count_B = ordinary_BT.sum(1)
  wanted_B = (count_B * mask.title_rate).round().clamp(1, K).minimum(count_B)
  valid_BK = torch.arange(K) < wanted_B[:, None]
  true_BK = tokens_BT.gather(1, token_at_BK)
  fate_BK = torch.rand(B, K)
  other_BK = torch.randint(SPECIAL, vocab_size, (B, K))
  replaced = mask.mask_fraction + mask.random_fraction
  shown_BK = torch.where(fate_BK < replaced, other_BK, true_BK)
  shown_BK = shown_BK.masked_fill(fate_BK < mask.mask_fraction, MASK)
  shown_BK = torch.where(valid_BK, shown_BK, true_BK)

  patches = masking.num_masked_patches(num_patches, mask.patch_rate)
  patch_at_BK = torch.rand(B, num_patches).topk(patches).indices
  masked_BN = torch.zeros(B, num_patches, dtype=torch.bool)
  recover_B1 = (~negative_B | loss.keep_negatives)[:, None]
  return View(
    image_BHWC=batch.image_BHWC,
    tokens_BT=tokens_BT.scatter(1, token_at_BK, shown_BK),
    token_at_BK=token_at_BK,
    tokens_BK=true_BK,
    token_counts_BK=valid_BK & recover_B1,
    masked_BN=masked_BN.scatter_(1, patch_at_BK, True),
    patch_at_BK=patch_at_BK,
    patch_counts_BK=recover_B1.expand(B, patches),
    is_match_B=~negative_B,
  )


def make_step(
  config: Config, batch: Batch, *, vocab_size: int, compiled: bool
) -> Callable[[], Any]:
  """Returns a function that takes one step and gives its loss.

  Args:
    batch: of numpy arrays; every step reads it.
    compiled: whether `torch.compile` makes the losses and their gradients.
  """
  o = config.optim
  here = Batch(*map(_to_torch, batch))
  network = Item(config, vocab_size).train()
  run = torch.compile(network) if compiled else network
  kernels = [
    layer.weight for layer in network.modules() if isinstance(layer, nn.Linear)
  ]
  taken = {id(x) for x in kernels}
  others = [x for x in network.parameters() if id(x) not in taken]
  optimizer = torch.optim.AdamW(
    [
      {"params": kernels, "weight_decay": o.decay},
      {"params": others, "weight_decay": 0.0},
    ],
    lr=o.lr,
    betas=(o.b1, o.b2),
    eps=o.eps,
    fused=True,
  )

  def rate(step: int) -> float:
    left = (config.steps - step) / (config.steps - o.warmup)
    return step / o.warmup if step < o.warmup else max(0.0, left)

  schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
  weights = torch.tensor(
    [
      getattr(config.loss, name)
      for name in ("itm", "mlm", "mim", "gmlm", "gmim")
    ]
  )
  num_patches = len(network.patch_position)

  def step():
    view = draw(
      here,
      config.mask,
      config.loss,
      vocab_size=vocab_size,
      num_patches=num_patches,
    )
    loss = run(view) @ weights
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), o.clip)
    optimizer.step()
    schedule.step()
    return loss.detach()

  return step


def _to_torch(x):
  """What it indexes with, and compares, is int64."""
  if x.dtype in (np.int32, np.uint32):
    x = x.astype(np.int64)
  return torch.from_numpy(x)


def load(network: Item, params: dict) -> None:
  """Takes our parameters: every one of ours, and every one of the network's.

  Args:
    params: {"encoder.layer_0.norm1.scale": array, ...}.
  """
  wanted, given = network.state_dict(), {}
  for path, leaf in params.items():
    name = path.replace("kernel", "weight").replace("scale", "weight")
    x = torch.from_numpy(np.array(leaf))
    if path.endswith("kernel"):  # [in..., out...]; PyTorch's is [out, in]
      x = x.reshape(wanted[name].shape[::-1]).T
    given[name] = x.reshape(wanted[name].shape)
  network.load_state_dict(given)
