// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_EXIT_MEMORY_FAULT tells whether the guest read, wrote or executed if, and
 * only if, the VM opted in by KVM_CAP_MEMORY_FAULT_FLAGS; and it is counted and
 * traced.
 */
#include <fcntl.h>
#include <linux/kvm.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#define TEST_SLOT	10
#define TEST_GPA	0xc0000000ull
#define TEST_GVA	0xc0000000ull
#define DATA_OFFSET	0x88
#define CODE_OFFSET	0x140

#define ALL_FLAGS	(KVM_MEMORY_EXIT_FLAG_READ |	\
			 KVM_MEMORY_EXIT_FLAG_WRITE |	\
			 KVM_MEMORY_EXIT_FLAG_EXEC)

#define TRACING		"/sys/kernel/tracing/"
#define TRACE_ENABLE	TRACING "events/kvm/kvm_memory_fault_exit/enable"

static void guest_code(u64 access)
{
	u64 *data = (u64 *)(TEST_GVA + DATA_OFFSET);

	switch (access) {
	case KVM_MEMORY_EXIT_FLAG_READ:
		READ_ONCE(*data);
		break;
	case KVM_MEMORY_EXIT_FLAG_WRITE:
		WRITE_ONCE(*data, 1);
		break;
	case KVM_MEMORY_EXIT_FLAG_EXEC:
		((void (*)(void))(TEST_GVA + CODE_OFFSET))();
		break;
	}
	GUEST_DONE();
}

static int enable_flags(struct kvm_vm *vm, u64 flags, u32 cap_flags)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_MEMORY_FAULT_FLAGS,
		.flags = cap_flags,
		.args = { flags },
	};

	return __vm_ioctl(vm, KVM_ENABLE_CAP, &cap);
}

static void expect_enable_fails(struct kvm_vm *vm, u64 flags, u32 cap_flags, int err)
{
	int r = enable_flags(vm, flags, cap_flags);

	TEST_ASSERT(r == -1 && errno == err,
		    "Enabling flags 0x%lx (0x%x): expected -1 with errno %d, got %d with errno %d (%s)",
		    (unsigned long)flags, cap_flags, err, r, errno, strerror(errno));
}

/* A VM with a page that is missing, and a vCPU that accesses it. */
static struct kvm_vm *test_vm_create(struct kvm_vcpu **vcpu, u64 access, u64 enable,
				     void **page)
{
	struct kvm_vm *vm = vm_create(1);
	size_t size = getpagesize();
	int r;

	if (enable) {
		r = enable_flags(vm, enable, 0);
		TEST_ASSERT(!r, KVM_IOCTL_ERROR(KVM_ENABLE_CAP, r));
	}

	*page = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	vm_set_user_memory_region(vm, TEST_SLOT, 0, TEST_GPA, size, *page);
	virt_map(vm, TEST_GVA, TEST_GPA, 1);
	write_return_insn(*page + CODE_OFFSET);
	protect_page(*page, PROT_NONE);

	*vcpu = vm_vcpu_add(vm, 0, guest_code);
	kvm_arch_vm_finalize_vcpus(vm);
	vcpu_args_set(*vcpu, 1, access);
	return vm;
}

static void mend_and_finish(struct kvm_vcpu *vcpu, void *page)
{
	unprotect_page(page);
	vcpu_run_expect_done(vcpu);
}

FIXTURE(flags) {};
FIXTURE_SETUP(flags)
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_MEMORY_FAULT_FLAGS));
}
FIXTURE_TEARDOWN(flags) {}

FIXTURE_VARIANT(flags)
{
	u64 access;
};

FIXTURE_VARIANT_ADD(flags, read)
{
	.access = KVM_MEMORY_EXIT_FLAG_READ,
};

FIXTURE_VARIANT_ADD(flags, write)
{
	.access = KVM_MEMORY_EXIT_FLAG_WRITE,
};

FIXTURE_VARIANT_ADD(flags, exec)
{
	.access = KVM_MEMORY_EXIT_FLAG_EXEC,
};

TEST_F(flags, only_enabled_flags_are_reported)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	void *page;
	u64 enable;

	for (enable = 0; enable <= ALL_FLAGS; enable++) {
		vm = test_vm_create(&vcpu, variant->access, enable, &page);
		vcpu_run_expect_memory_fault(vcpu, TEST_GPA, variant->access & enable);
		mend_and_finish(vcpu, page);
		kvm_vm_free(vm);
	}
}

TEST_F(flags, faults_are_counted)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	void *page;

	vm = test_vm_create(&vcpu, variant->access, 0, &page);
	TEST_ASSERT_EQ(vcpu_get_stat(vcpu, memory_fault_exits), 0);

	vcpu_run_expect_memory_fault(vcpu, TEST_GPA, 0);
	vcpu_run_expect_memory_fault(vcpu, TEST_GPA, 0);
	mend_and_finish(vcpu, page);

	TEST_ASSERT_EQ(vcpu_get_stat(vcpu, memory_fault_exits), 2);
	TEST_ASSERT_EQ(vcpu_get_stat(vcpu, memory_fault_unexplained), 0);
	kvm_vm_free(vm);
}

static void write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	TEST_ASSERT(fd >= 0, "Cannot open %s", path);
	TEST_ASSERT(write(fd, value, strlen(value)) == strlen(value),
		    "Cannot write %s to %s", value, path);
	close(fd);
}

static void expect_traced(const char *what)
{
	bool found = false;
	char line[512];
	FILE *trace;

	trace = fopen(TRACING "trace", "r");
	TEST_ASSERT(trace, "Cannot open the trace");
	while (fgets(line, sizeof(line), trace))
		found |= strstr(line, "kvm_memory_fault_exit:") && strstr(line, what);
	fclose(trace);
	TEST_ASSERT(found, "Expected kvm_memory_fault_exit with '%s' in the trace", what);
}

TEST_F(flags, faults_are_traced)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	char what[128];
	void *page;

	__TEST_REQUIRE(!access(TRACE_ENABLE, W_OK), "No access to " TRACE_ENABLE);

	vm = test_vm_create(&vcpu, variant->access, 0, &page);
	write_file(TRACING "trace", "\n");
	write_file(TRACE_ENABLE, "1");
	vcpu_run_expect_memory_fault(vcpu, TEST_GPA, 0);
	write_file(TRACE_ENABLE, "0");
	mend_and_finish(vcpu, page);

	/* The trace is for whoever debugs, it shows what the VM didn't opt in to. */
	snprintf(what, sizeof(what), "vcpu 0 gpa 0x%llx size 0x%x flags 0x%llx errno %d",
		 TEST_GPA, getpagesize(), (unsigned long long)variant->access, EFAULT);
	expect_traced(what);
	kvm_vm_free(vm);
}

TEST(capability_is_checked)
{
	struct kvm_vm *vm;
	u64 flag;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_MEMORY_FAULT_FLAGS));

	vm = vm_create_barebones();
	TEST_ASSERT_EQ(vm_check_cap(vm, KVM_CAP_MEMORY_FAULT_FLAGS), ALL_FLAGS);

	for (flag = BIT(3); flag; flag <<= 1)
		expect_enable_fails(vm, flag, 0, EINVAL);
	expect_enable_fails(vm, ~0ull, 0, EINVAL);
	expect_enable_fails(vm, ALL_FLAGS, 1, EINVAL);

	TEST_ASSERT(!enable_flags(vm, ALL_FLAGS, 0), KVM_IOCTL_ERROR(KVM_ENABLE_CAP, -1));
	TEST_ASSERT(!enable_flags(vm, 0, 0), KVM_IOCTL_ERROR(KVM_ENABLE_CAP, -1));

	__vm_vcpu_add(vm, 0);
	expect_enable_fails(vm, ALL_FLAGS, 0, EBUSY);
	kvm_vm_free(vm);
}

TEST_HARNESS_MAIN
