/* torch_bin.h - one file of torch.save (a state dict in a zip archive), read from memory. */
#ifndef MNEME_IO_TORCH_BIN_H
#define MNEME_IO_TORCH_BIN_H

#include "io/entries.h"

/* Appends the tensors of the file to `list`. `file` must outlive the list. */
mn_status mn_torch_bin_read(mn_entries *list, const unsigned char *data, size_t size,
                            const char *file);

#endif
