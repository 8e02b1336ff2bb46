/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The program `lamina`: its commands, and what they share.
 *
 * A command returns the exit status of the program: 0, or 1 after one line on standard error.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include <lamina/options.h>

#include "fuse/front.h"
#include "nfs/front.h"
#include "super/super.h"

/* ---- Commands: one file each, listed in commands.c ---- */

struct command {
	const char *name;
	int (*run)(int argc, char **argv); /* ARGV[0] is the command's name */
	const char *summary;		   /* half a line for the list of commands */
	const char *usage;		   /* all of `lamina help NAME` */
};

/* The command of that name, or NULL. */
const struct command *command_find(const char *name);
/* Command I (from 0), or NULL after the last. */
const struct command *command_at(size_t i);
/* The texts of `lamina help NAME`, beside the commands. */
extern const char mount_usage[], umount_usage[], upgrade_usage[], nfs_usage[], check_usage[],
	status_usage[], version_usage[], help_usage[];
/* "PROG: ...; see lamina help NAME" for a wrong command line; returns 1. */
int command_misused(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int cmd_mount(int argc, char **argv);
int cmd_umount(int argc, char **argv);
int cmd_upgrade(int argc, char **argv);
int cmd_nfs(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_help(int argc, char **argv);

/* The program under any of its drop-in names: the command line of fuse-overlayfs and of mount(8)'s
 * helpers.  PROG is the name without its directory. */
int dropin_main(const char *prog, int argc, char **argv);
/* Whether PROG is the drop-in rather than `lamina` with commands. */
bool dropin_is_name(const char *prog);

/* "PROG: version X" and a line about what this is, on standard output. */
void version_print(const char *prog);

/* ---- What to mount: mount_options.c ---- */

/* What to do with options that nobody knows. */
enum unknown_options { UNKNOWN_REFUSED, UNKNOWN_IGNORED };

/* What to serve by NFS.  Zeroed is: nothing. */
struct nfs_plan {
	bool wanted;
	struct nfs_front_config config; /* its strings are borrowed from argv */
	const char **allow;		/* owned: what config.allow points to */
};

enum nfs_setting {
	NFS_LISTEN,
	NFS_ALLOW,
	NFS_EXPORT,
	NFS_KEY_FILE,
	NFS_THREADS,
	NFS_CONNECTIONS,
	NFS_IDLE,
	NFS_STALL,
	NFS_ASYNC,
};
/* A refusal has been said on standard error. */
int nfs_plan_set(struct nfs_plan *plan, enum nfs_setting setting, const char *value);

/* All that one mount needs.  Zeroed by mount_plan_init(). */
struct mount_plan {
	struct lam_options *stack;	/* owned */
	struct fuse_front_config front; /* its strings are borrowed from the fields below */
	enum unknown_options unknown;
	struct nfs_plan nfs;
	char *mountpoint;			/* owned: absolute, or /dev/fd/N; NULL: only NFS */
	char *fsname, *subtype, *extra_options; /* owned; may be NULL */
	char *log_path;				/* owned; may be NULL */
	bool foreground, debug;
	bool supervisor;			/* another server goes on when one ends */
	unsigned restarts;			/* how often in a minute */
	unsigned long flags_set, flags_cleared; /* of mount_flags, by options: for a remount */
	bool remount;				/* change a mount that is there */
	bool fake;				/* check only: mount(8)'s -f */
};

/* The defaults of a mount by this user.  -ENOMEM.  PLAN is ended by mount_plan_done(). */
int mount_plan_init(struct mount_plan *plan, enum unknown_options unknown);
void mount_plan_done(struct mount_plan *plan);

/* Take a list of options, as after -o.  A refusal has been said on standard error. */
int mount_plan_add(struct mount_plan *plan, const char *list);
/* Take one option. */
int mount_plan_set(struct mount_plan *plan, const char *name, const char *value);
/* Say where to mount: checks that a directory is there and makes the path absolute. */
int mount_plan_set_mountpoint(struct mount_plan *plan, const char *path);
/* Replace an owned string.  -ENOMEM has been said. */
int mount_plan_replace(char **owned, const char *text);

/* The known option whose name is nearest to NAME, or NULL if none is near. */
const char *mount_option_nearest(const char *name);

/* ---- Flags of commands that open layers: layer_flags.c ---- */

enum { LAYER_FLAG_LOG = 256, LAYER_FLAG_END };

/* For getopt_long(): with these and others of the command's own. */
#define LAYER_FLAG_LETTERS ":l:u:w:ro:fd"
#define LAYER_FLAGS                                                                                \
	{ "lower", required_argument, NULL, 'l' }, { "upper", required_argument, NULL, 'u' },      \
		{ "work", required_argument, NULL, 'w' }, { "read-only", no_argument, NULL, 'r' }, \
		{ "options", required_argument, NULL, 'o' },                                       \
		{ "foreground", no_argument, NULL, 'f' }, { "debug", no_argument, NULL, 'd' },     \
	{                                                                                          \
		"log", required_argument, NULL, LAYER_FLAG_LOG                                     \
	}

/* Take flag C with optarg, or complain of it in the name of COMMAND. */
int layer_flag_take(struct mount_plan *plan, const char *command, int c);
/* Without --work: UPPER.work, which is made.  A failure has been said. */
int layer_default_work(struct mount_plan *plan);

/* ---- Mounting and serving: mount_run.c ---- */

/* Do what PLAN says: mount or serve by NFS or both, remount, or only check.  Returns the exit
 * status. */
int mount_run(struct mount_plan *plan);
/* Fills the plan from a command's arguments: 0, a negative errno (it has said why), or 1 if help was asked for. */
typedef int (*mount_parse_fn)(struct mount_plan *plan, int argc, char **argv);
/* A command that mounts or serves, from its arguments to its exit status. */
int mount_command(mount_parse_fn parse, const char *usage, int argc, char **argv);
/* For all that is opened at once when there are many layers. */
void raise_descriptor_limit(void);

/* ---- Under a supervisor: supervise.c ---- */

struct daemon;

/* Find out how this process was started; first of all, before the command line is read.  An error has been
 * said to whom it concerns. */
int supervise_begin(char **argv);
/* Whether a mount is there that this process goes on with: no path may be looked up, as the mount may
 * cover it. */
bool supervise_taking_over(void);
/* Where that mount is; NULL: not known. */
const char *supervise_mountpoint(void);
/* In place of message_open() then. */
void supervise_take_messages(bool debug);
bool supervise_wanted(const struct mount_plan *plan);
/* Be the supervisor of what PLAN says: returns the exit status.  In its workers returns SUPER_IS_WORKER, and
 * *LINK leads to it. */
int supervise(struct mount_plan *plan, struct daemon *d, struct super_link *link);
/* In a worker: the mount answers. */
int supervise_ready(const struct super_link *link, const struct mount_plan *plan, struct daemon *d);

/* ---- Going to the background: daemon.c ---- */

struct daemon {
	int ready_fd; /* in the child: written to once the mount answers; else -1 */
};

#define DAEMON_PARENT 1 /* result of daemon_start() in the process that waited */

/*
 * Fork.  In the child returns 0.  In the parent waits until the child calls daemon_ready() or ends,
 * puts the exit status into *RET_STATUS and returns DAEMON_PARENT.  Negative errno: nothing was
 * forked.
 */
int daemon_start(struct daemon *d, int *ret_status);
/* Let go of the terminal and of the caller's pipes. */
int daemon_detach(void);
/* The child's mount answers: let go of the terminal and of the caller's pipes, and of the parent. */
int daemon_ready(struct daemon *d);

/* ---- Signals: signals.c ---- */

/* Block the signals that end or ask the server, and start the thread that waits for them.  Before
 * signals_serving() a SIGTERM or SIGINT ends the process at once. */
int signals_start(void);
/* From here on a SIGTERM or SIGINT is kept for signals_serving(): a mount is being made. */
void signals_mounting(void);
/* From here on they end FUSE and NFS, of which one may be NULL, in order. */
void signals_serving(struct fuse_front *fuse, struct nfs_front *nfs, struct lam_stack *stack);
/* From here on one signal more asks to leave the mount to another worker, and one says that the supervisor
 * is gone; LINK stays the caller's. */
void signals_supervised(const struct super_link *link);
/* Whether the mount was left to another worker. */
bool signals_retired(void);
/* They and STACK are about to go away.  Ends the thread. */
void signals_stop(void);

/* ---- Messages: message.c ---- */

/* The name in front of messages; borrowed for ever. */
void message_set_program(const char *prog);
const char *message_program(void);
/* "PROG: text" on standard error, in one piece. */
void message_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

enum message_mode {
	/* Before the mount answers: the last error is kept for message_failed(), warnings go to
	 * standard error only for people (message_set_people()). */
	MESSAGE_STARTING,
	MESSAGE_FOREGROUND, /* errors and what was asked for go to standard error */
	MESSAGE_BACKGROUND, /* errors and warnings go to the system log */
};
/* Receive the library's messages.  LOG_PATH: a file that gets all of them instead, or NULL.
 * DEBUG: all of them go to standard error.  Returns 0 or a negative errno of the file. */
int message_open(const char *log_path, bool debug);
/* The same with descriptors that are open already, -1: none; and which they are. */
void message_adopt(int log, int syslog, bool debug);
void message_fds(int *ret_log, int *ret_syslog);
/* A line as the library's. */
void message_log(int level, const char *line);
void message_set_people(void);
void message_set_mode(enum message_mode mode);
/* Say why the mount failed: the library's own last error if it gave one, else FMT. */
void message_failed(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* What failed has been mended: the kept error is none. */
void message_forget(void);
/* A line that somebody asked for (statistics): to where messages go now. */
void message_answer(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
