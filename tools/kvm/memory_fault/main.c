// SPDX-License-Identifier: GPL-2.0-only
/* memory_fault: what a VMM can do when KVM_RUN says where the guest faulted. */
#include <string.h>

#include "vmm.h"

static const char help[] =
"usage: memory_fault COMMAND\n"
"\n"
"  hole\n"
"      Takes a page of a guest's memory away, shows what KVM_RUN says when the\n"
"      guest reads, writes or executes there, gives it back, and sees the guest\n"
"      finish.\n"
"\n"
"  snapshot FILE [--size MIB]\n"
"      Writes the snapshot of a small guest (16 MiB).\n"
"\n"
"  restore FILE [OPTION]...\n"
"      Starts the guest with empty memory, and brings in each page of FILE when\n"
"      a vCPU needs it.\n"
"      --vcpus N      how many vCPUs (2)\n"
"      --verify       compare the guest's memory with FILE in the end\n"
"      --latency US   wait so long before each page, as a slow storage would\n"
"      --read-only    do not let the guest write, and see the guard against\n"
"                     faults that repeat\n"
"      --quiet        no progress display\n"
"\n"
"Exit status: 0, all went well; 1, the kernel does not tell where, or the guest\n"
"had to be stopped; 2, wrong usage, or nothing could be tried.\n";

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "hole", cmd_hole },
	{ "snapshot", cmd_snapshot },
	{ "restore", cmd_restore },
};

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(name, commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	}

	if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h")) {
		fputs(help, stdout);
		return STATUS_GOOD;
	}
	if (argc > 1)
		fprintf(stderr, "memory_fault: unknown command: %s\n", name);
	fputs(help, stderr);
	return STATUS_CANNOT;
}
