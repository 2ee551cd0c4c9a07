/* mneme.h - all public headers of mneme, for programs that use the library. */
#ifndef MNEME_MNEME_H
#define MNEME_MNEME_H

#include "mneme/buf.h"
#include "mneme/checkpoint.h"
#include "mneme/complete.h"
#include "mneme/device.h"
#include "mneme/evaluate.h"
#include "mneme/fever.h"
#include "mneme/file.h"
#include "mneme/half.h"
#include "mneme/json.h"
#include "mneme/kernels.h"
#include "mneme/log.h"
#include "mneme/memory.h"
#include "mneme/model.h"
#include "mneme/ops.h"
#include "mneme/results.h"
#include "mneme/rng.h"
#include "mneme/session.h"
#include "mneme/signals.h"
#include "mneme/stats.h"
#include "mneme/status.h"
#include "mneme/table.h"
#include "mneme/tape.h"
#include "mneme/tensor.h"
#include "mneme/tensorboard.h"
#include "mneme/tokenizer.h"
#include "mneme/train.h"
#include "mneme/train_data.h"
#include "mneme/version.h"

#endif
