# SPDX-License-Identifier: GPL-2.0-or-later
# A thin door in front of meson and tools/. MODE=asan|ubsan|tsan selects a sanitizer and a build directory of its own.
BUILD := build$(if $(MODE),-$(MODE))
SANITIZE_asan := address
SANITIZE_ubsan := undefined
SANITIZE_tsan := thread
ifneq ($(MODE),)
  ifeq ($(SANITIZE_$(MODE)),)
    $(error MODE=$(MODE) is unknown: use asan, ubsan or tsan)
  endif
  SETUP_OPTIONS := -Db_sanitize=$(SANITIZE_$(MODE))
endif
export MODE

.PHONY: all lab check bench bench-migration bench-daemon soak fuzz fmt lint clean
all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	tools/bootstrap
	meson setup $(BUILD) $(SETUP_OPTIONS)

# Boots Debian's kernel and shows what works; goes through the practice lab with Debian's virsh and virt-install on three hosts; migrates
# a router between two hosts under traffic (77: not possible here).
lab: all
	tools/lab
	tools/lab-practice || [ $$? = 77 ]
	tools/lab-migration || [ $$? = 77 ]

# What CI runs: lint, every test, sanitizers, the other compiler.
check:
	tools/bootstrap
	tools/check

# Compares with the system's QEMU.
bench: all
	tools/bootstrap bench
	tools/bench
	tools/bench-migration

# The part on live migration alone.
bench-migration: all
	tools/bootstrap bench
	tools/bench-migration

# ferryd next to libvirtd; as root.
bench-daemon: all
	tools/bootstrap bench
	tools/bench-daemon

# Self-verifying work for SOAK_MINUTES (20).
soak: all
	tools/soak --minutes $(or $(SOAK_MINUTES),20)

# Coverage-guided: FUZZ_SECONDS (20) for each target.
fuzz:
	tools/bootstrap
	tools/fuzz

fmt:
	git ls-files -z '*.c' '*.h' | xargs -0 clang-format -i

lint:
	tools/lint

clean:
	rm -rf build build-asan build-ubsan build-tsan build-asan-ubsan build-clang build-fuzz
