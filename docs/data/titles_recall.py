# ruff: noqa: RUF001 - letters of several scripts
"""Measures how far kinds of tokens find products by titles without blanks.

    python docs/data/titles_recall.py ja

Titles are invented, in Thai (th) or Japanese (ja): a product is a brand, a
noun, a colour, a material and three traits; a listing names some of them, in
an order of its own and with an advertiser's phrase. Words are real, brands are
made of syllables. A vocabulary is learned from the titles of every second
product; the listings of the others are searched by TF-IDF over their tokens.
"""

import argparse
import random
from collections.abc import Iterator

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from item_jax.data.tokenizer import train_wordpiece
from item_jax.evaluation import baselines
from item_jax.evaluation.items import Items

THAI = {
  "noun": "เสื้อยืด เสื้อเชิ้ต กางเกง กระโปรง รองเท้า กระเป๋า หมวก ถุงเท้า"
  " แว่นตา นาฬิกา ผ้าห่ม หมอน ที่นอน โคมไฟ โต๊ะ เก้าอี้ ตู้ ชั้นวาง แก้วน้ำ จาน ชาม"
  " หม้อ กระทะ มีด ช้อน ตุ๊กตา ลูกบอล สมุด ปากกา ร่ม สบู่ แชมพู ครีม น้ำหอม"
  " หูฟัง ลำโพง สายชาร์จ แป้นพิมพ์ พัดลม ม่าน",
  "colour": "สีขาว สีดำ สีแดง สีเขียว สีฟ้า สีเหลือง สีชมพู สีเทา สีน้ำตาล"
  " สีม่วง สีส้ม สีทอง สีเงิน สีครีม",
  "material": "ผ้าฝ้าย หนังแท้ ไม้ไผ่ เหล็ก พลาสติก แก้ว ผ้าไหม ขนสัตว์"
  " อะลูมิเนียม ยาง เซรามิก กระดาษ ไม้สัก ไนลอน",
  "trait": "กันน้ำ น้ำหนักเบา พับได้ ขนาดใหญ่ ขนาดเล็ก ลายดอกไม้ ลายทาง ลายจุด"
  " แขนยาว แขนสั้น ไร้สาย สำหรับเด็ก สำหรับผู้ชาย สำหรับผู้หญิง ทำมือ ซักง่าย"
  " กันลื่น แบบหนา แบบบาง มีฝาปิด มีซิป เก็บความเย็น ปรับระดับได้ ทรงกลม"
  " ทรงสี่เหลี่ยม ชุดสองชิ้น สไตล์เกาหลี สไตล์วินเทจ ใช้ในบ้าน พกพาสะดวก",
  "phrase": "ส่งฟรี พร้อมส่ง ลดราคา ของแท้ ขายดี สินค้าใหม่ ราคาถูก คุณภาพดี",
  "syllable": "กา มี โน ลี ซา ติ พู รา วี นา โม ทา บี ยู เล คอ ฟา ดี ริ โซ",
}
JAPANESE = {
  "noun": "シャツ スカート ズボン 靴下 帽子 バッグ パック スニーカー 腕時計"
  " めがね 毛布 まくら 布団 ランプ テーブル 椅子 本棚 コップ お皿 お椀 鍋"
  " フライパン 包丁 スプーン ぬいぐるみ ボール ノート ボールペン 傘 せっけん"
  " シャンプー"
  " クリーム 香水 イヤホン スピーカー 充電器 キーボード 扇風機 カーテン のれん",
  "colour": "白い 黒い 赤い 緑の 青い 黄色い ピンクの グレーの 茶色の 紫の"
  " オレンジの 金色の 銀色の ベージュの",
  "material": "綿の 本革の 竹の 鉄の プラスチックの ガラスの 絹の 羊毛の"
  " アルミの ゴムの 陶器の 紙の 木の ナイロンの",
  "trait": "防水 軽い 折りたたみ 大きめ 小さめ 花柄 ストライプ 水玉 長袖 半袖"
  " ワイヤレス 子供用 男性用 女性用 手作り 洗える すべり止め 厚手 薄手 ふた付き"
  " ファスナー付き 保冷 高さ調節 丸型 角型 二点セット 韓国風 レトロ 家庭用"
  " 持ち運び",
  "phrase": "送料無料 即納 セール 正規品 人気 新作 お買い得 高品質",
  "syllable": "カ ミ ノ リ サ チ プ ラ ビ ナ モ タ ベ ユ レ コ ファ ディ ロ ゾ",
}
LANGUAGES = {"th": THAI, "ja": JAPANESE}


def listings(
  language: str, products: int, each: int, *, seed: int = 0
) -> Iterator[tuple[int, list[str]]]:
  """Number of a product and the words of a title, `each` times a product."""
  words = {kind: text.split() for kind, text in LANGUAGES[language].items()}
  draw = random.Random(f"{language} {seed}")
  brands = [
    "".join(draw.choices(words["syllable"], k=draw.randint(2, 4)))
    for _ in range(max(1, products // 8))
  ]
  for product in range(products):
    about = [
      draw.choice(brands),
      *(draw.choice(words[kind]) for kind in ("noun", "colour", "material")),
      *draw.sample(words["trait"], 3),
    ]
    for _ in range(each):
      named = draw.sample(about, draw.randint(4, 6))
      named.append(draw.choice(words["phrase"]))
      draw.shuffle(named)
      yield product, named


def tokenizers(titles: list[str], vocab_size: int) -> Iterator[tuple]:
  """Name and tokenizer of each kind."""
  yield "wordpiece, ours", train_wordpiece(titles, vocab_size=vocab_size)
  bert = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
  kept = normalizers.NFKC(), pre_tokenizers.BertPreTokenizer()
  in_bytes = normalizers.NFKC(), pre_tokenizers.ByteLevel()
  options = {"vocab_size": vocab_size, "show_progress": False}
  words = options | {"special_tokens": ["[UNK]"]}
  for name, (folding, cutting), model, trainer in (
    (
      "wordpiece, BERT's rules",
      bert,
      models.WordPiece(unk_token="[UNK]"),
      trainers.WordPieceTrainer(min_frequency=2, **words),
    ),
    (
      "unigram",
      kept,
      models.Unigram(),
      trainers.UnigramTrainer(unk_token="[UNK]", **words),
    ),
    (
      "BPE",
      kept,
      models.BPE(unk_token="[UNK]"),
      trainers.BpeTrainer(min_frequency=2, **words),
    ),
    (
      "byte-level BPE",
      in_bytes,
      models.BPE(),
      trainers.BpeTrainer(
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        **options,
      ),
    ),
  ):
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = folding, cutting
    tokenizer.train_from_iterator(titles, trainer=trainer)
    yield name, tokenizer


def recall(tokens: list[list[str]], products: list[int]) -> float:
  """Recall@10 of a listing's product, by TF-IDF over its tokens."""
  items = Items(
    [f"{number:06}" for number in range(len(products))],
    [str(product) for product in products],
    [""] * len(products),
  )
  found = baselines.score_titles([" ".join(row) for row in tokens], items)
  return found.summary["recall@10"]


def mean(rows) -> float:
  return sum(map(len, rows)) / len(rows)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("language", choices=LANGUAGES)
  parser.add_argument("--products", type=int, default=4000)
  parser.add_argument("--vocab_size", type=int, default=4000)
  args = parser.parse_args()
  rows = list(listings(args.language, args.products, 3))
  learned = ["".join(words) for product, words in rows if product % 2]
  products, words = zip(*(row for row in rows if row[0] % 2 == 0), strict=True)
  titles = ["".join(row) for row in words]
  print("recall@10  tokens  kind")
  print(
    f"{recall(words, products):9.3f} {mean(words):7.1f}  the words themselves"
  )
  for name, tokenizer in tokenizers(learned, args.vocab_size):
    ids = [e.ids for e in tokenizer.encode_batch(titles)]
    found = recall([list(map(str, row)) for row in ids], products)
    print(f"{found:9.3f} {mean(ids):7.1f}  {name}")


if __name__ == "__main__":
  main()
