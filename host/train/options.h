/* options.h (internal) - what else the trainer asks of its options. */
#ifndef MNEME_TRAIN_OPTIONS_H
#define MNEME_TRAIN_OPTIONS_H

#include "mneme/json.h"
#include "mneme/train.h"

mn_status mn_train_options_check(const mn_train_options *options);
/* `then`, an object of `doc` as mn_train_options_json writes it, agrees in all keys that bear on the
 * weights; otherwise MN_ERR_USAGE names the first that differs. */
mn_status mn_train_options_match(const mn_json *doc, const cJSON *then,
                                 const mn_train_options *options);

#endif
