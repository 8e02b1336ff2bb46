/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages: to standard error, to a file, or to the system log.
 *
 * Callers of a mount program read its standard error, and show a line there as a failure.  So a
 * mount that works says nothing, and one that fails says one line: the library's last error, which
 * knows most, or else our own.
 *
 * The system log is reached through a socket that is connected before the mount: once serving, no
 * path is looked up (the mount may cover /dev) and nothing waits.  One lock, `lock`, protects the
 * kept line; the other variables are set before there are threads, or are atomic.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "base/cleanup.h"

#define LINE_MAX_BYTES 1024

static const char *program = "lamina";
static _Atomic int mode = MESSAGE_STARTING;
static bool debugging;
static bool for_people;
static int log_fd = -1;	   /* the file of log= */
static int syslog_fd = -1; /* connected to /dev/log */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char kept[LINE_MAX_BYTES];

void message_set_program(const char *prog)
{
	program = prog;
}

const char *message_program(void)
{
	return program;
}

void message_set_people(void)
{
	for_people = true;
}

void message_set_mode(enum message_mode m)
{
	atomic_store(&mode, (int)m);
}

/* One write, so that lines of several processes do not mix. */
static void write_line(int fd, const char *line)
{
	char buf[LINE_MAX_BYTES + 64];
	int n = snprintf(buf, sizeof(buf), "%s: %s\n", program, line);

	if (n < 0)
		return;
	if ((size_t)n >= sizeof(buf)) {
		n = (int)sizeof(buf) - 1;
		buf[n - 1] = '\n';
	}
	/* Nobody is left to tell about a failure to tell. */
	if (write(fd, buf, (size_t)n) < 0)
		return;
}

static void send_syslog(int level, const char *line)
{
	char buf[LINE_MAX_BYTES + 96];
	int n;

	if (syslog_fd < 0)
		return;
	n = snprintf(buf, sizeof(buf), "<%d>%s[%d]: %s", LOG_DAEMON | level, program, (int)getpid(),
		     line);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(buf))
		n = (int)sizeof(buf) - 1;
	/* A full or vanished log loses the line; waiting for it could stop the mount. */
	(void)send(syslog_fd, buf, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void connect_syslog(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return; /* a machine without a log: messages are dropped */
	syslog_fd = TAKE_FD(fd);
}

static void keep(const char *line)
{
	(void)pthread_mutex_lock(&lock);
	(void)snprintf(kept, sizeof(kept), "%s", line);
	(void)pthread_mutex_unlock(&lock);
}

/* The receiver of the library's lines: any thread. */
static void receive(void *ctx, int level, const char *line)
{
	(void)ctx;
	if (log_fd >= 0 && (level <= LOG_INFO || debugging))
		write_line(log_fd, line);
	switch ((enum message_mode)atomic_load(&mode)) {
	case MESSAGE_STARTING:
		if (level <= LOG_ERR)
			keep(line);
		else if (debugging || (for_people && level <= LOG_WARNING))
			write_line(STDERR_FILENO, line);
		break;
	case MESSAGE_FOREGROUND:
		if (debugging || level <= LOG_ERR || (for_people && level <= LOG_WARNING))
			write_line(STDERR_FILENO, line);
		break;
	case MESSAGE_BACKGROUND:
		if (level <= LOG_WARNING)
			send_syslog(level, line);
		break;
	}
}

int message_open(const char *log_path, bool debug)
{
	debugging = debug;
	if (log_path) {
		log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
		if (log_fd < 0)
			return -errno;
	} else {
		connect_syslog();
	}
	lam_set_log(receive, NULL);
	return 0;
}

void message_adopt(int log, int syslog, bool debug)
{
	debugging = debug;
	log_fd = log;
	syslog_fd = syslog;
	lam_set_log(receive, NULL);
}

void message_fds(int *ret_log, int *ret_syslog)
{
	*ret_log = log_fd;
	*ret_syslog = syslog_fd;
}

void message_log(int level, const char *line)
{
	/* Before the mount answers it is the last word: there is nothing to keep it for. */
	if (level <= LOG_ERR && atomic_load(&mode) == MESSAGE_STARTING)
		message_error("%s", line);
	else
		receive(NULL, level, line);
}

void message_error(const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, args); /* a long one is cut */
	va_end(args);
	write_line(STDERR_FILENO, line);
}

void message_failed(const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	(void)pthread_mutex_lock(&lock);
	if (kept[0] != '\0')
		memcpy(line, kept, sizeof(line));
	(void)pthread_mutex_unlock(&lock);
	write_line(STDERR_FILENO, line);
	if (log_fd >= 0)
		write_line(log_fd, line);
}

void message_forget(void)
{
	keep("");
}

void message_answer(const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (log_fd >= 0)
		write_line(log_fd, line);
	else if (atomic_load(&mode) == MESSAGE_BACKGROUND)
		send_syslog(LOG_INFO, line);
	else
		write_line(STDERR_FILENO, line);
}
