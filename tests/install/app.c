/* app.c - a program outside mneme's tree: lists a checkpoint through the installed library. */
#include <mneme/mneme.h>

#include <inttypes.h>
#include <stdio.h>

int main(int argc, char **argv) {
    mn_checkpoint *checkpoint = NULL;
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    if (mn_checkpoint_open(&checkpoint, argv[1]) != MN_OK) {
        fprintf(stderr, "%s\n", mn_error());
        return 1;
    }
    int64_t numbers = 0;
    for (int64_t i = 0; i < mn_checkpoint_count(checkpoint); i++)
        numbers += mn_tensor_count(&mn_checkpoint_at(checkpoint, i)->view);
    printf("mneme %s: %" PRId64 " tensors, %" PRId64 " numbers\n", MNEME_VERSION,
           mn_checkpoint_count(checkpoint), numbers);
    mn_checkpoint_close(&checkpoint);
    return 0;
}
