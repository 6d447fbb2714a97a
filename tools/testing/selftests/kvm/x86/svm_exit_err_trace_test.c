// SPDX-License-Identifier: GPL-2.0-only
/*
 * SVM_EXIT_ERR is the only exit code of SVM with more than 32 bits, tracepoints
 * print it by its name nonetheless.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "svm_util.h"
#include "test_util.h"

/* No memslot is there, i.e. KVM can't read the MSR permission bitmap. */
#define BAD_GPA		0xc0000000ul

#define EVENT		"events/kvm/kvm_nested_vmexit_inject"

static const char * const tracefs[] = {
	"/sys/kernel/tracing",
	"/sys/kernel/debug/tracing",
};

/* A buffer of the test's own, so as not to disturb, nor to be disturbed. */
static char instance[64];

static void l2_code(void)
{
	GUEST_FAIL("VMRUN succeeded with a bad MSR permission bitmap");
}

static void l1_code(struct svm_test_data *svm)
{
	generic_svm_setup(svm, l2_code);
	svm->vmcb->control.intercept |= BIT_ULL(INTERCEPT_MSR_PROT);
	svm->vmcb->control.msrpm_base_pa = BAD_GPA;

	run_guest(svm->vmcb, svm->vmcb_gpa);
	GUEST_ASSERT_EQ(svm->vmcb->control.exit_code, SVM_EXIT_ERR);
	GUEST_DONE();
}

static int trace_open(const char *name, int flags)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", instance, name);
	return open(path, flags);
}

static void trace_start(void)
{
	int i, fd = -1;

	for (i = 0; i < ARRAY_SIZE(tracefs) && fd < 0; i++) {
		snprintf(instance, sizeof(instance), "%s/instances/%s-%d",
			 tracefs[i], "svm_exit_err", getpid());
		if (mkdir(instance, 0700))
			continue;

		fd = trace_open(EVENT "/enable", O_WRONLY);
		if (fd < 0)
			rmdir(instance);
	}
	__TEST_REQUIRE(fd >= 0, "No tracefs with the event " EVENT);

	TEST_ASSERT(write(fd, "1", 1) == 1, "Enabling " EVENT);
	close(fd);
}

static void trace_stop(char *trace, size_t size)
{
	int fd = trace_open("trace", O_RDONLY);
	ssize_t len = 0, r;

	TEST_ASSERT(fd >= 0, "open() of %s/trace", instance);
	while ((r = read(fd, trace + len, size - 1 - len)) > 0)
		len += r;
	trace[len] = '\0';

	close(fd);
	rmdir(instance);
}

int main(int argc, char *argv[])
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	char trace[4096];
	gva_t svm_gva;

	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_SVM));

	vm = vm_create_with_one_vcpu(&vcpu, l1_code);
	vcpu_alloc_svm(vm, &svm_gva);
	vcpu_args_set(vcpu, 1, svm_gva);

	trace_start();
	ksft_print_header();
	ksft_set_plan(1);

	vcpu_run_expect_done(vcpu);

	trace_stop(trace, sizeof(trace));
	ksft_test_result(strstr(trace, "reason: invalid_guest_state "),
			 "SVM_EXIT_ERR is traced by name\n");
	if (ksft_get_fail_cnt())
		ksft_print_msg("Expected 'reason: invalid_guest_state' in:\n%s", trace);

	kvm_vm_free(vm);
	ksft_finished();
}
