# `make` lists what there is.
PROMPT ?= Why is the sky blue? Answer in two sentences.
MODEL ?= smollm2-135m-instruct
FUZZ_SECONDS ?= 30

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-drivers fuzz bench fmt clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: ## Check the Rust toolchain, and install a Vulkan driver where none is
	@scripts/setup.sh

demo: setup ## Build, fetch the default model and let it answer (PROMPT=..., MODEL=...)
	cargo build --release --locked
	target/release/ridgepoint run --model "$(MODEL)" "$(PROMPT)"

test: setup ## Format, lints, docs and every test
	@scripts/test.sh

test-drivers: setup ## Every kernel by spirv-val and Tint, and on other software drivers
	@scripts/test-drivers.sh

fuzz: ## Run every fuzz target for 30 s (FUZZ_SECONDS=...)
	@scripts/fuzz.sh $(FUZZ_SECONDS)

bench: setup ## This machine's ceilings, the kernels, and prefill and decode speed of the model
	cargo bench --locked --bench ceilings --bench kernels
	cargo build --release --locked
	target/release/ridgepoint bench model --model "$(MODEL)" -p 512 -n 128 -r 3 -o md

fmt: ## Format the source
	cargo fmt

clean: ## Remove what was built (fetched models stay in the cache)
	cargo clean
