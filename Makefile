# Set-up and the main jobs. Everything else is `cargo xtask`.

.PHONY: build test demo bench tidy clean

TARGET := target/$(shell rustc -vV | sed -n 's/^host: //p')

build:
	scripts/setup build
	cargo build --release

# All checks and tests, from nothing. Needs root for the privileged ones.
test:
	scripts/setup test
	cargo xtask ci

# The main job, from nothing: base images from packages, the lessons' images, and their containers.
demo:
	scripts/setup demo
	cargo build --release
	SHIPWAY=$(CURDIR)/$(TARGET)/release/shipway examples/demo

# Side by side with the peers that are installed; prints the table of the README.
bench:
	scripts/setup test
	cargo build --release
	cargo xtask bench

tidy:
	cargo xtask tidy
