# SPDX-License-Identifier: GPL-2.0-only
#
# The front door. Each verb is a script of the same name in scripts/; what
# the variables below say reaches it through the environment.

VERBS := help deps base tree refresh series apply kernel boot selftests \
	 kunit run test lint docs compare clean distclean
TESTS_MORE := test-64k test-vmx test-debug
CHECKS := check-efault check-patches fuzz bench

export ARCH MODE CMD TESTS SEED TIME KDIR KERNEL_TARBALL BUILD JOBS V OUT FORCE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: $(VERBS) $(TESTS_MORE) $(CHECKS)

# The kernel's own make must not inherit this one's variables and job slots.
do = @unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES; exec scripts/$(1).sh

# Lines of `make help`; a verb's variables stand in front of the colon.
## run: the main job, from nothing: a VMM meets a hole in its guest's memory
run:
	$(call do,run)
## test: the whole proof; ends with "N passed, N failed, N skipped"
test:
	$(call do,test)
## deps: install what the other verbs need (Debian 12 and 13)
deps:
	$(call do,deps)
## base: get and verify the kernel source that the series is made against
base:
	$(call do,base)
## tree: build/tree, a git tree: the base, then one commit a patch
tree:
	$(call do,tree)
## refresh: write the commits of build/tree back to patches/ and the folders
refresh:
	$(call do,refresh)
## series [OUT=]: write the series as mails for git am or git send-email
series:
	$(call do,series)
## apply KDIR=: apply the series to a kernel tree of yours
apply:
	$(call do,apply)
## kernel ARCH=x86_64|arm64: build the test kernel in build/<ARCH>
kernel:
	$(call do,kernel)
## boot ARCH= MODE= [CMD=]: boot the test kernel, run CMD or give a shell
boot:
	$(call do,boot)
## selftests ARCH= MODE= [TESTS=]: run KVM selftests in the test kernel
selftests:
	$(call do,selftests)
## kunit ARCH=: run the KUnit suites in the test kernel
kunit:
	$(call do,kunit)
## test-64k: arm64 with pages of 64 KiB
test-64k:
	$(call do,test-64k)
## test-vmx: kvm_intel, in Bochs
test-vmx:
	$(call do,test-vmx)
## test-debug: with KASAN, lockdep and UBSAN
test-debug:
	$(call do,test-debug)
## compare: which checks of the selftests fail on the unpatched base
compare:
	$(call do,compare)
## check-efault [TREE=]: each place that can give EFAULT is classified
check-efault:
	$(call do,check-efault)
## check-patches [ONLY=]: each patch builds alone, and the series in odd ways
check-patches:
	$(call do,check-patches)
## fuzz [ARCH= MODE= SEED= TIME=]: random faults, against a model of the contract
fuzz:
	$(call do,fuzz)
## bench [ARCH=]: what it costs, and what it buys
bench:
	$(call do,bench)
## lint: checkpatch, sparse, W=1, shellcheck, and the repository's own rules
lint:
	$(call do,lint)
## docs: the kernel's documentation of KVM, as HTML
docs:
	$(call do,docs)
## clean: remove build/
clean:
	$(call do,clean)
## distclean: remove build/ and the cached base
distclean:
	$(call do,clean) all
## help: this list
help:
	$(call do,help)
