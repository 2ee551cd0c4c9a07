/* launch.h - the ranks of this process: how a command gets them, and how main ends them.
 *
 * mpirun or srun start the program several times; the processes are ranks of one job. Rank 0 speaks: its results and log
 * lines are the job's. The other ranks' results go nowhere, their log lines to rank-R.log in the output folder; errors
 * of all ranks come to standard error, those of the others behind "rank 2 (node3): ". */
#ifndef MNEME_CLI_LAUNCH_H
#define MNEME_CLI_LAUNCH_H

#include "cli/common.h"

/* Before the command runs: the ranks that --tp and --dp lay out, in cli->ranks. Refuses what `use` does not allow. */
mn_status mn_launch_begin(mn_cli *cli, const mn_command *command);

/* The other ranks' log lines go to `folder`/rank-R.log from here on; made when it is missing. NULL: nowhere. */
mn_status mn_launch_log(const mn_cli *cli, const char *folder);

/* Work that rank 0 does alone, of any length: the others wait for its end, and all look about once a second whether
 * somebody wants to stop, which rank 0 then sees as a stop request of its own. All return its status. */
mn_status mn_launch_alone(const mn_cli *cli, mn_status (*work)(void *context), void *context);

/* Whether somebody wants to stop, asked by all: MN_STOPPED "stopped on request before <what>...". */
mn_status mn_launch_stopped(const mn_cli *cli, const char *what);

/* A command calls it with its status before it closes its device: a rank that failed tells the others, which may wait
 * for it, and the end of a device's connections waits for them in turn. The error stays. */
void mn_launch_tell(const mn_cli *cli, mn_status st);

/* The end of the process: prints the error, ends the ranks and returns the exit code. With ranks that failed it does not
 * return: nothing may wait for a rank that is lost. `name` is the command's; NULL when there is none. */
int mn_launch_end(mn_status st, const char *name);

#endif
