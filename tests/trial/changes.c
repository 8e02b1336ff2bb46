// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of changes: every kind of transaction, over every state that makes it another one. */
#include "trial.h"

#include <stddef.h>
#include <string.h>

const struct setup setups[] = {
	{ .name = "default", .index = LAM_ON, .kernel = true },
	{ .name = "no index",
	  .index = LAM_OFF,
	  .kernel = true,
	  .may = MAY_BREAK,
	  .kernel_may = MAY_BREAK },
	/* The kernel counts the index's link of files that have one name below. */
	{ .name = "nfs_export",
	  .index = LAM_ON,
	  .nfs_export = LAM_ON,
	  .kernel = true,
	  .kernel_may = MAY_COUNT },
	{ .name = "metacopy", .index = LAM_ON, .metacopy = LAM_ON, .kernel = true },
	/* Symlinks and special files have no such attributes, and so no origin. */
	{ .name = "userxattr", .index = LAM_ON, .userxattr = LAM_ON, .may = MAY_BREAK | MAY_STALE },
	{ .name = "strict", .index = LAM_ON, .fsync = LAM_FSYNC_STRICT, .kernel = true },
	{ .name = "no tmpfile",
	  .without = "tmpfile",
	  .index = LAM_ON,
	  .kernel = true,
	  .no_tmpfile = true },
	{ .name = "no whiteout renames",
	  .without = "rename_whiteout",
	  .index = LAM_ON,
	  .kernel = true,
	  .gap = true },
	{ .name = "no exchange",
	  .without = "renameat2",
	  .index = LAM_ON,
	  .gap = true,
	  .no_exchange = true },
	{ .name = "no device nodes", .without = "char_device", .index = LAM_ON, .gap = true },
};
const size_t n_setups = sizeof(setups) / sizeof(setups[0]);

#define CHANGE(n, p, r)           \
	{                         \
		(n), (p), (r), 0u \
	}
#define COUNTED(n, p, r)                 \
	{                                \
		(n), (p), (r), MAY_COUNT \
	}
#define PARTLY(n, p, r)                  \
	{                                \
		(n), (p), (r), MAY_PARTS \
	}
#define VACATES(n, p, r)                    \
	{                                   \
		(n), (p), (r), MAY_NEEDLESS \
	}
#define UNSEEN(n, p, r)                 \
	{                               \
		(n), (p), (r), MAY_SAME \
	}
#define CLEARS(n, p, r)                  \
	{                                \
		(n), (p), (r), MAY_CLEAR \
	}

const struct change changes[] = {
	/* Copy-up, by what asks for it and of each type. */
	CHANGE("write to a lower file", NULL, "write dir/file 0 BELOW"),
	CHANGE("write to a large lower file", NULL, "write big 5000 BELOW"),
	CHANGE("write to a lower file far below", NULL, "write dir/sub/deep 2 X"),
	PARTLY("write to a lower empty file", NULL, "write void 0 text"),
	PARTLY("write to a lower set-uid file", NULL, "write suid 0 #?"),
	CHANGE("append to a lower file", NULL, "write f1 12 more"),
	CHANGE("chmod a lower file", NULL, "chmod rich 755"),
	CHANGE("chmod a lower directory", NULL, "chmod dir/sub 700"),
	CHANGE("chmod a lower fifo", NULL, "chmod fifo 600"),
	CHANGE("chmod a lower socket", NULL, "chmod sock 600"),
	CHANGE("chmod a lower device", NULL, "chmod dev 660"),
	CHANGE("chown a lower symlink", NULL, "chown sym 5 6"),
	CHANGE("chown a lower file", NULL, "chown rich 5 6"),
	PARTLY("chown a lower set-uid file", NULL, "chown suid 5 6"),
	CHANGE("set the times of a lower file", NULL, "utimes rich 77"),
	CHANGE("set the times of a lower symlink", NULL, "utimes sym 77"),
	CHANGE("set an attribute of a lower file", NULL, "setx rich user.new value"),
	CHANGE("set an attribute of a lower directory", NULL, "setx dir user.new value"),
	CHANGE("remove an attribute of a lower file", NULL, "rmx rich user.a"),
	PARTLY("truncate a lower file", NULL, "truncate dir/file 3"),
	PARTLY("truncate a lower file to nothing", NULL, "truncate big 0"),
	CHANGE("extend a lower file", NULL, "truncate dir/file 10000"),
	CHANGE("allocate in a lower file", NULL, "falloc f1 0 9000"),
	CHANGE("punch a hole in a lower file", NULL, "punch big 4096 8192"),
	CHANGE("copy a range into a lower file", NULL, "range f1 f2 5"),
	UNSEEN("mark a lower file nodump", NULL, "chattr f1 0x40"),
	UNSEEN("mark a lower file immutable", NULL, "chattr f1 0x10"),
	COUNTED("write to a lower hard link", NULL, "write hard1 0 HARD"),
	COUNTED("chmod the other name of a lower hard link", NULL, "chmod dir/hard3 600"),
	COUNTED("write to a lower hard link that lost a name", NULL, "write hardw1 0 HARD"),
	CHANGE("write to an indexed file by its lower name", NULL, "write hardi2 0 AGAIN"),
	PARTLY("write to a file with metadata only", "chmod big 600", "write big 5000 BELOW"),
	PARTLY("truncate a file with metadata only", "chmod big 600", "truncate big 5000"),

	/* Changes of what is in upper. */
	CHANGE("write to an upper file", NULL, "write up 0 UPPER"),
	CHANGE("truncate an upper file", NULL, "truncate up 2"),
	CHANGE("chmod an upper directory", NULL, "chmod updir 711"),
	CHANGE("chown an upper file", NULL, "chown up 5 6"),
	CHANGE("set an attribute of an upper file", NULL, "setx up user.new value"),
	CHANGE("remove an attribute of an upper file", "setx up user.x 1", "rmx up user.x"),
	CHANGE("set an attribute that is named as ours", NULL, "setx up trusted.overlay.opaque y"),
	UNSEEN("mark an upper file immutable", NULL, "chattr up 0x10"),
	UNSEEN("mark an immutable file mutable again", "chattr f1 0x10", "chattr f1 0"),

	/* New objects. */
	CHANGE("create", NULL, "create new 644"),
	CHANGE("create far below", NULL, "create dir/sub/low/new 644"),
	CHANGE("create over a whiteout", NULL, "create gone 600"),
	CHANGE("create over the whiteout of a directory", NULL, "create gonedir 600"),
	CHANGE("mkdir", NULL, "mkdir dir/sub/new 750"),
	CHANGE("mkdir over a whiteout", NULL, "mkdir gone 750"),
	CHANGE("mkdir over the whiteout of a directory", NULL, "mkdir gonedir 750"),
	CHANGE("make a fifo", NULL, "mknod dir/new 10600 0 0"),
	CHANGE("make a socket over a whiteout", NULL, "mknod gone 140600 0 0"),
	CHANGE("make a device over a whiteout", NULL, "mknod gone 60600 7 251"),
	CHANGE("symlink", NULL, "symlink dir/new anywhere"),
	CHANGE("symlink over a whiteout", NULL, "symlink gone anywhere"),
	CHANGE("link an upper file", NULL, "link up dir/new"),
	COUNTED("link a lower file", NULL, "link f1 dir/new"),
	COUNTED("link a lower file over a whiteout", NULL, "link f1 gone"),
	COUNTED("link a lower symlink", NULL, "link sym new"),
	COUNTED("link a lower hard link", NULL, "link hard1 new"),
	COUNTED("link an indexed file", NULL, "link hardi2 new"),
	UNSEEN("unnamed file", NULL, "tmpfile dir"),
	COUNTED("name an unnamed file", "tmpfile .", "tmplink dir/new"),
	COUNTED("name an unnamed file over a whiteout", "tmpfile .", "tmplink gone"),

	/* Removals. */
	CHANGE("unlink a lower file", NULL, "unlink f1"),
	CHANGE("unlink a lower symlink", NULL, "unlink sym"),
	CHANGE("unlink a lower file far below", NULL, "unlink dir/sub/deep"),
	CHANGE("unlink an upper file", NULL, "unlink up"),
	CHANGE("unlink a copied-up file", NULL, "unlink copied"),
	CHANGE("unlink a name of an upper file", NULL, "unlink up2a"),
	COUNTED("unlink a name of a lower hard link", NULL, "unlink hard2"),
	COUNTED("unlink the last but one name", NULL, "unlink hardw2"),
	CHANGE("unlink the last name of a lower hard link", "unlink hardw2", "unlink hardw1"),
	COUNTED("unlink the upper name of an indexed file", NULL, "unlink hardi1"),
	COUNTED("unlink the lower name of an indexed file", NULL, "unlink hardi2"),
	COUNTED("unlink the last name of an indexed file", "unlink hardi2", "unlink hardi1"),
	COUNTED("unlink the last name, which is below", "unlink hardi1", "unlink hardi2"),
	CHANGE("unlink an upper file in use", "hold up", "unlink up"),
	CHANGE("unlink a copied-up file in use", "hold copied", "unlink copied"),
	CHANGE("unlink a lower file in use", "hold f1", "unlink f1"),
	COUNTED("unlink an indexed file in use", "unlink hardi2; hold hardi1", "unlink hardi1"),
	UNSEEN("forget a lower file", "hold f1; unlink f1", "forget"),
	UNSEEN("forget an orphan", "hold up; unlink up", "forget"),
	CHANGE("rmdir an upper directory", NULL, "rmdir upempty"),
	CHANGE("rmdir an empty lower directory", NULL, "rmdir vacant"),
	CHANGE("rmdir a directory with whiteouts", NULL, "rmdir empty"),
	CHANGE("rmdir an opaque directory", "unlink goneopq/new", "rmdir goneopq"),
	CHANGE("rmdir a directory that was moved",
	       "unlink moved1/s/f; rmdir moved1/s; rmdir moved1/e", "rmdir moved1"),
	CHANGE("rmdir an upper directory in use", "hold upempty", "rmdir upempty"),
	CHANGE("rmdir a directory with whiteouts in use", "hold empty", "rmdir empty"),

	/* Renames. */
	CHANGE("rename a lower file", NULL, "rename f1 new"),
	CHANGE("rename a lower file to a directory", NULL, "rename f1 dir/sub/low/new"),
	CHANGE("rename a lower file over a whiteout", NULL, "rename f1 gone"),
	CHANGE("rename a lower file over a lower file", NULL, "rename f1 f2"),
	CHANGE("rename a lower file over an upper file", NULL, "rename f1 up"),
	COUNTED("rename a lower file over a lower hard link", NULL, "rename f1 hard2"),
	COUNTED("rename a lower hard link", NULL, "rename hard2 new"),
	COUNTED("rename an indexed file", NULL, "rename hardi2 new"),
	COUNTED("rename over an indexed file", NULL, "rename up hardi2"),
	CHANGE("rename a lower symlink", NULL, "rename sym new"),
	CHANGE("rename a lower fifo", NULL, "rename fifo dir/new"),
	CHANGE("rename an upper file", NULL, "rename up new"),
	CHANGE("rename an upper file over a whiteout", NULL, "rename up gone"),
	CHANGE("rename an upper file over a lower file", NULL, "rename up f1"),
	CHANGE("rename an upper file over an upper file", NULL, "rename up up2a"),
	CHANGE("rename a copied-up file", NULL, "rename copied dir/new"),
	COUNTED("rename over a file in use", "hold up2a; unlink up2b; hold copied",
		"rename up copied"),
	COUNTED("rename over an upper file in use", "hold up", "rename f1 up"),
	CHANGE("rename without replacing", NULL, "noreplace f1 gone"),
	CHANGE("rename a lower directory", NULL, "rename ren new"),
	CHANGE("rename a lower directory elsewhere", NULL, "rename ren dir/sub/new"),
	CHANGE("rename a lower directory over a whiteout", NULL, "rename ren gonedir"),
	CHANGE("rename a lower directory over an empty one", NULL, "rename ren vacant"),
	CLEARS("rename a lower directory over one with whiteouts", NULL, "rename ren empty"),
	CLEARS("rename a lower directory over one in use", "hold empty", "rename ren empty"),
	VACATES("rename a directory back to its place", NULL, "rename moved1 moved0"),
	CHANGE("rename a moved directory again", NULL, "rename moved1 dir/moved2"),
	CHANGE("rename an upper directory", NULL, "rename updir new"),
	VACATES("rename an upper directory over a whiteout", NULL, "rename updir gone"),
	CHANGE("rename an upper directory into a lower one", NULL, "rename updir dir/sub/new"),
	CHANGE("rename an upper directory over a lower one", NULL, "rename updir vacant"),
	CLEARS("rename an upper directory over one with whiteouts", NULL, "rename updir empty"),
	VACATES("rename an upper directory over the whiteout of one", NULL, "rename updir gonedir"),
	CHANGE("exchange lower files", NULL, "exchange f1 dir/file"),
	CHANGE("exchange a lower and an upper file", NULL, "exchange f1 up"),
	CHANGE("exchange a lower file and a lower directory", NULL, "exchange f1 dir/sub"),
	CHANGE("exchange lower directories", NULL, "exchange ren full"),
	CHANGE("exchange a lower and an upper directory", NULL, "exchange ren updir"),
	{ "write through a link of names that were exchanged",
	  "exchange dir/file hard1; exchange dir/file hard1; link hard1 new", "write new 0 HARD",
	  MAY_COUNT | MAY_PARTS },
	COUNTED("exchange names of hard links", NULL, "exchange hard1 f1"),
};
const size_t n_changes = sizeof(changes) / sizeof(changes[0]);

static bool asks_for(const struct change *c, const char *command)
{
	return strstr(c->run, command) || (c->prepare && strstr(c->prepare, command));
}

bool trial_impossible(const struct setup *s, const struct change *c)
{
	return (s->no_tmpfile && asks_for(c, "tmp")) || (s->no_exchange && asks_for(c, "exchange"));
}
