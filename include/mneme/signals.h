/* signals.h - a stop request: SIGTERM, SIGINT or SIGUSR1 ask the program to save and leave with
 * exit code 75; a second SIGINT ends it at once. Long loops poll mn_stop_requested(). */
#ifndef MNEME_SIGNALS_H
#define MNEME_SIGNALS_H

#include <stdbool.h>

void mn_stop_install(void);
bool mn_stop_requested(void);
void mn_stop_request(void); /* as SIGTERM would: also when another rank was asked to stop */

#endif
