// SPDX-License-Identifier: GPL-2.0-only
/*
 * PID 1 of the test guests: runs what /plan says, then powers off.
 *
 *   run NAME LIMIT PROGRAM [ARG]...   a command, killed after LIMIT seconds
 *   shell                             a shell on the console
 *
 * All output goes through /dev/kmsg, one record a line, so that a message of
 * the kernel never lands inside a line of a test and the order is the true one:
 *
 *   @@ param kvm_MODULE.NAME=VALUE
 *   @@ begin NAME LIMIT
 *   | a line that the command printed
 *   @@ end NAME exit N|signal N|timeout|stuck MSECS
 *   @@ done
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ARGS	32
#define GRACE_MS	10000	/* for a killed command to be gone */

static int kmsg;

/* What a command printed and has not ended with a newline yet. */
static char line[900];
static size_t line_len;

static __attribute__((format(printf, 1, 2))) void say(const char *fmt, ...)
{
	char buf[1000];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof(buf))
		n = sizeof(buf) - 1;
	if (write(kmsg, buf, n) < 0)
		perror("init: /dev/kmsg");
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static void mount_all(void)
{
	static const struct {
		const char *type, *dir;
	} fs[] = {
		{ "proc", "/proc" },
		{ "sysfs", "/sys" },
		{ "devtmpfs", "/dev" },
		{ "tmpfs", "/tmp" },
		{ "debugfs", "/sys/kernel/debug" },
		{ "tracefs", "/sys/kernel/tracing" },
		{ "cgroup2", "/sys/fs/cgroup" },
		{ "hugetlbfs", "/dev/hugepages" },
		{ "tmpfs", "/dev/shm" },
	};

	for (size_t i = 0; i < sizeof(fs) / sizeof(fs[0]); i++) {
		mkdir(fs[i].dir, 0755);
		if (mount(fs[i].type, fs[i].dir, fs[i].type, 0, NULL) &&
		    errno != EBUSY)
			fprintf(stderr, "init: mount %s: %s\n", fs[i].dir,
				strerror(errno));
	}
}

/* How KVM came up: a mode that was asked for may not be the one that runs. */
static void tell_params(void)
{
	static const char *const params[][2] = {
		{ "kvm_amd", "npt" }, { "kvm_intel", "ept" },
	};
	char path[80], value[16];
	int fd, n;

	for (size_t i = 0; i < sizeof(params) / sizeof(params[0]); i++) {
		snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s",
			 params[i][0], params[i][1]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		n = read(fd, value, sizeof(value));
		close(fd);
		if (n > 0)
			say("<6>@@ param %s.%s=%.*s", params[i][0], params[i][1],
			    n - 1, value);
	}
}

static void flush_line(void)
{
	if (line_len)
		say("<6>| %.*s", (int)line_len, line);
	line_len = 0;
}

/* Passes on what the command printed; false when there is no more. */
static bool relay(int fd)
{
	char buf[4096];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;

	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] == '\n' || line_len == sizeof(line))
			flush_line();
		if (buf[i] != '\n' && buf[i] != '\r')
			line[line_len++] = buf[i];
	}
	return n > 0;
}

static pid_t start(char **argv, int *out)
{
	int fds[2], null;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	pid = fork();
	if (pid) {
		close(fds[1]);
		fcntl(fds[0], F_SETFL, O_NONBLOCK);
		*out = fds[0];
		return pid;
	}

	setsid();
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	dup2(null, STDIN_FILENO);
	dup2(fds[1], STDOUT_FILENO);
	dup2(fds[1], STDERR_FILENO);
	execvp(argv[0], argv);
	fprintf(stderr, "init: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/*
 * Waits for @pid and relays its output meanwhile.  The output may stay open
 * after the command, in a child that it left behind: only the command's own
 * end counts.  Returns false when @deadline passes first.
 */
static bool wait_for(pid_t pid, int out, long long deadline, int *status)
{
	struct pollfd pfd = { .fd = out, .events = POLLIN };

	for (;;) {
		if (waitpid(pid, status, WNOHANG) == pid)
			return true;
		if (now_ms() >= deadline)
			return false;
		if (poll(&pfd, 1, pfd.fd < 0 ? 5 : 50) > 0 && !relay(out))
			pfd.fd = -1;
	}
}

/* False when the command cannot be killed: nothing can run after that. */
static bool run(const char *name, int limit, char **argv)
{
	long long begin = now_ms();
	char how[32] = "timeout";
	struct pollfd pfd = { .events = POLLIN };
	int out = -1, status = 0;
	bool gone = true;
	pid_t pid;

	say("<6>@@ begin %s %d", name, limit);
	pid = start(argv, &out);
	if (pid > 0 && wait_for(pid, out, begin + limit * 1000LL, &status)) {
		if (WIFEXITED(status))
			sprintf(how, "exit %d", WEXITSTATUS(status));
		else
			sprintf(how, "signal %d", WTERMSIG(status));
		kill(-pid, SIGKILL);
	} else if (pid > 0) {
		kill(-pid, SIGKILL);
		gone = wait_for(pid, out, now_ms() + GRACE_MS, &status);
		if (!gone)
			strcpy(how, "stuck");
	} else {
		strcpy(how, "exit 127");
	}

	pfd.fd = out;
	while (gone && poll(&pfd, 1, 100) > 0 && relay(out))
		;
	flush_line();
	close(out);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	say("<6>@@ end %s %s %lld", name, how, now_ms() - begin);
	return gone;
}

static void shell(void)
{
	char tty[64] = "/dev/", *last;
	int fd, n, status;
	pid_t pid;

	fd = open("/sys/class/tty/console/active", O_RDONLY | O_CLOEXEC);
	n = read(fd, tty + 5, sizeof(tty) - 6);
	close(fd);
	if (n > 0)
		tty[5 + n - 1] = '\0';
	last = strrchr(tty, ' ');	/* /dev/console is the last one */
	if (last)
		memmove(tty + 5, last + 1, strlen(last));

	pid = fork();
	if (!pid) {
		setsid();
		fd = open(tty, O_RDWR);
		ioctl(fd, TIOCSCTTY, 1);
		dup2(fd, STDIN_FILENO);
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		execl("/bin/sh", "-sh", NULL);
		fprintf(stderr, "init: /bin/sh: %s\n", strerror(errno));
		_exit(127);
	}
	waitpid(pid, &status, 0);
}

/* False when the plan has to end here. */
static bool obey(char *text)
{
	char *argv[MAX_ARGS + 1], *save, *word;
	int argc = 0;

	for (word = strtok_r(text, " \n", &save); word && argc < MAX_ARGS;
	     word = strtok_r(NULL, " \n", &save))
		argv[argc++] = word;
	argv[argc] = NULL;

	if (argc == 1 && !strcmp(argv[0], "shell"))
		shell();
	else if (argc >= 4 && !strcmp(argv[0], "run"))
		return run(argv[1], atoi(argv[2]), argv + 3);
	else if (argc)
		say("<3>@@ bad plan: %s", argv[0]);
	return true;
}

static void make_links(void)
{
	static char *const argv[] = { "/bin/busybox", "--install", "-s", "/bin",
				      NULL };
	pid_t pid;

	if (access(argv[0], X_OK))
		return;
	pid = fork();
	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

int main(void)
{
	char text[1024];
	FILE *plan;

	mount_all();
	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	setenv("PATH", "/bin:/tests", 1);
	setenv("HOME", "/", 1);
	setenv("TERM", "vt100", 0);
	make_links();
	tell_params();

	plan = fopen("/plan", "re");
	while (plan && fgets(text, sizeof(text), plan) && obey(text))
		;
	say("<6>@@ done");
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
