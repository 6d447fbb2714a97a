// SPDX-License-Identifier: GPL-2.0-only
/* memory_fault: what a VMM can do when KVM_RUN says where the guest faulted. */
#include <stdio.h>
#include <string.h>

#include "vmm.h"

static const char help[] =
"usage: memory_fault COMMAND\n"
"\n"
"  hole    take a page of a guest's memory away, show what KVM_RUN says when the\n"
"          guest reads, writes or executes there, give it back, and see the guest\n"
"          finish; exit status 1 when the kernel does not tell where\n"
"  help    this text\n";

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "hole", cmd_hole },
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
