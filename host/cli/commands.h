/* commands.h - the sub-commands of mneme. Each gets its own name as argv[0], writes results to
 * standard output and returns a status; main.c prints the error and picks the exit code. */
#ifndef MNEME_CLI_COMMANDS_H
#define MNEME_CLI_COMMANDS_H

#include "mneme/status.h"

mn_status mn_cmd_tokenize(int argc, char **argv);
mn_status mn_cmd_score(int argc, char **argv);
mn_status mn_cmd_generate(int argc, char **argv);
mn_status mn_cmd_prepare(int argc, char **argv);
mn_status mn_cmd_train(int argc, char **argv);
mn_status mn_cmd_eval(int argc, char **argv);
mn_status mn_cmd_report(int argc, char **argv);
mn_status mn_cmd_inspect(int argc, char **argv);
mn_status mn_cmd_bench(int argc, char **argv);
mn_status mn_cmd_doctor(int argc, char **argv);
mn_status mn_cmd_plan(int argc, char **argv);
mn_status mn_cmd_run(int argc, char **argv);

#endif
