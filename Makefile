# The workflows of bootpuck. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export GOWORK := off
ARCH ?= amd64
GO ?= go
OUT := .build
BIN := $(OUT)/bin
GOLANGCI := $(BIN)/golangci-lint
GOLANGCI_VERSION := v2.15.0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X github.com/bootpuck/bootpuck/appliance/system.buildVersion=$(VERSION)

# Debian packages, by what needs them.
PKG_BOOTFILES := dpkg xz-utils zstd ca-certificates debian-archive-keyring gpgv
PKG_IMAGE := e2fsprogs
PKG_USB := xorriso
PKG_SITE := iproute2 dnsmasq-base qemu-system-x86 ovmf ipxe-qemu seabios debian-installer-12-netboot-amd64
PKG_TEST := $(PKG_SITE) gcc libc6-dev ovmf-ia32 qemu-system-arm qemu-efi-aarch64 qemu-utils isc-dhcp-server isc-dhcp-relay isc-dhcp-client udhcpc \
	tftp-hpa atftp curl tcpdump nginx-light e2fsprogs debian-installer-12-netboot-arm64 prometheus shellcheck mtools dosfstools \
	tgt busybox-static syslinux syslinux-common tshark chromium
PKG_BENCH := dnsmasq-base tftpd-hpa atftp nginx-light wrk iproute2

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.PHONY: run
run: ## a virtual site with a machine that boots; with LAN=eth0: serve that real network
ifdef LAN
run: build
	$(AS_ROOT) $(BIN)/bootpuck -interface $(LAN) -state $(OUT)/state -log-level info
else
run: build
	@appliance/dev/need "the virtual site" $(PKG_SITE)
	$(AS_ROOT) $(GO_ENV) $(shell command -v $(GO)) run ./appliance/e2e/site -bootpuck $(BIN)/bootpuck $(SITE_FLAGS)
endif

.PHONY: build
build: bootfiles ## the two programs, for this machine, in .build/bin
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/bootpuck ./cmd/bootpuckctl

.PHONY: bootfiles
bootfiles: ## fetch and verify the pinned iPXE, GRUB, shim, pxelinux and memtest86+ binaries
	@appliance/dev/need "fetching boot files" $(PKG_BOOTFILES)
	@$(GO) run ./ipxe-build fetch

.PHONY: sources
sources: bootfiles ## fetch the sources that belong to the shipped binaries
	@$(GO) run ./ipxe-build sources

.PHONY: usb
usb: bootfiles ## .build/bootpuck-usb.img for machines that cannot boot from the network at all
	@appliance/dev/need "building the USB image" $(PKG_USB)
	@$(GO) run ./ipxe-build usb

.PHONY: assets
assets: bootfiles ## everything that is embedded and not kept in git

.PHONY: image
image: assets ## a flashable image; ARCH=amd64, arm64 (Raspberry Pi), arm64-generic (UEFI)
	@appliance/dev/need "building an image" $(PKG_IMAGE)
	@$(GO) run ./appliance/image -arch $(firstword $(subst -, ,$(ARCH))) $(if $(findstring generic,$(ARCH)),-kernel generic)

.PHONY: test
test: bootfiles ## everything that CI runs but the linters: unit, race, end-to-end
	@appliance/dev/need "the tests" $(PKG_TEST)
	$(GO) test ./...
	$(GO) test -race ./appliance/... ./cmd/...
	$(MAKE) --no-print-directory e2e

.PHONY: e2e
e2e: build ## boot real firmware through real DHCP servers (QEMU, namespaces; root)
	@appliance/dev/need "the end-to-end tests" $(PKG_TEST)
	@$(MAKE) --no-print-directory image ARCH=amd64
	$(AS_ROOT) $(GO_ENV) BOOTPUCK_E2E=1 $(shell command -v $(GO)) test -count=1 -timeout 85m -p 1 -v ./appliance/e2e/...

.PHONY: check
check: $(GOLANGCI) ## formatting, vet, linters, shell scripts, module file
	@appliance/dev/need "checking scripts" shellcheck
	$(GOLANGCI) run ./...
	$(GO) vet ./...
	shellcheck appliance/dev/need .ci/run
	$(GO) mod verify >/dev/null

$(GOLANGCI):
	@mkdir -p $(BIN)
	GOBIN=$(abspath $(BIN)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

.PHONY: bench
bench: build ## side by side with dnsmasq, tftpd-hpa and nginx on this machine
	@appliance/dev/need "the benchmarks" $(PKG_BENCH)
	$(AS_ROOT) $(GO_ENV) $(shell command -v $(GO)) run ./appliance/bench -bootpuck $(BIN)/bootpuck

FUZZTIME ?= 20s
.PHONY: fuzz
fuzz: ## every fuzz test for FUZZTIME (20s)
	@set -e; for file in $$(grep -rlE '^func Fuzz' --include='*_test.go' appliance ipxe-build bootfiles cmd); do \
		for target in $$(grep -ohE '^func Fuzz[A-Za-z0-9_]*' "$$file" | sed 's/^func //'); do \
			echo "$$(dirname "$$file") $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "./$$(dirname "$$file")"; \
		done; done

.PHONY: mutate
mutate: ## break the decision code rule by rule and see which tests notice
	$(GO) run ./appliance/mutate

.PHONY: clean
clean: ## remove what make made, but not the download cache
	rm -rf $(filter-out $(OUT)/cache,$(wildcard $(OUT)/*)) $(filter-out bootfiles/dist/README,$(wildcard bootfiles/dist/*))

# Namespaces and low ports need root; Go's own environment comes along.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
GO_ENV = env PATH="$$PATH" GOWORK=off GOCACHE="$$($(GO) env GOCACHE)" GOMODCACHE="$$($(GO) env GOMODCACHE)" GOPROXY="$$($(GO) env GOPROXY)"
