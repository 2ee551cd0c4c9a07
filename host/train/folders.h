/* folders.h (internal) - the folders checkpoint-N below a training's output: which are complete, which is
 * the newest, which go. */
#ifndef MNEME_TRAIN_FOLDERS_H
#define MNEME_TRAIN_FOLDERS_H

#include "mneme/buf.h"

#include <stdbool.h>
#include <stdint.h>

bool mn_folder_is_complete(const char *dir); /* DONE exists */
mn_status mn_folder_finish(const char *dir); /* makes the folder's name durable, then writes DONE */
/* The complete checkpoint of the highest step below `dir`; `path` stays empty when there is none. */
mn_status mn_folder_newest(mn_buf *path, const char *dir);
/* Removes the oldest complete checkpoints until at most `limit` are left (0: all stay). */
mn_status mn_folder_limit(const char *dir, int64_t limit);
/* A folder and the files in it, DONE first; it may be missing. */
mn_status mn_folder_remove(const char *dir);
void mn_folder_drop(const char *dir); /* the same, when something has failed already */
/* What killed runs have left below `dir`: checkpoints of a temporary name or without DONE, temporary
 * files. With `all` every checkpoint as well, and train_results.json. */
mn_status mn_folder_clean(const char *dir, bool all);

#endif
