/* group.h (internal) - what a communicator consists of: the world that one rank sees, and the groups in it. */
#ifndef MNEME_COMM_GROUP_H
#define MNEME_COMM_GROUP_H

#include "comm/process.h"
#include "comm/transport.h"
#include "mneme/comm.h"

#include <pthread.h>
#include <stdatomic.h>

/* All ranks, as one of them sees them. Groups may be used by several threads of the rank at a time. */
typedef struct mn_world {
    mn_transport *transport;
    double timeout;
    mn_process *peers;     /* (size) who the ranks are */
    atomic_bool broken;    /* set once, behind `error` */
    pthread_mutex_t lock;  /* of what follows */
    mn_error_record error; /* what every call fails with from then on */
    mn_note note;          /* and why, for the others */
    bool own;              /* this rank failed by itself */
    atomic_bool asked; /* some rank has waited for too long and wants to know who waits for whom */
    atomic_int *missing; /* (size) for whom a rank waits that has told; -1: it has not */
    atomic_int next_channel;
} mn_world;

/* A group. `ranks` are its members' ranks in the world, ascending. The world itself is the one on channel 0. */
struct mn_comm {
    struct mn_comm_head head;
    mn_world *world;
    int *ranks;
    int channel;
    bool lent;            /* of mn_comm_threads, which frees it */
    mn_message *messages; /* room for two with every other rank */
    int count;            /* of those that are set */
    char *scratch;        /* what comes in before it is added */
    const char *call;     /* the collective at work, for messages, and its bytes */
    size_t call_bytes;
    int stopped_looks;       /* of mn_comm_check: in a row with a stopped rank */
    mn_comm_traffic traffic; /* of tensors */
    mn_device_group *link;   /* what the device keeps for this group (tensor.c); NULL on the CPU */
    void (*leave)(mn_device_group **link);
};

/* The world of a transport, which it owns from then on, also when it fails. All ranks exchange who they are. */
mn_status mn_world_open(mn_comm **out, mn_transport *transport, double timeout);
void mn_world_free(mn_comm **comm, bool orderly);

/* Begins a collective: fails when the group is broken. A function that is made of others names itself first. */
mn_status mn_call_begin(mn_comm *comm, const char *call, size_t bytes);
/* Messages to be exchanged by the next mn_exchange; `rank` is one of the group. */
void mn_send(mn_comm *comm, int rank, const void *from, size_t bytes);
void mn_receive(mn_comm *comm, int rank, void *into, size_t bytes);
/* Waits for all of them. A failure breaks the group, here and at the other ranks. */
mn_status mn_exchange(mn_comm *comm);

/* What `scratch` holds in a group of `size` (collectives.c). */
size_t mn_scratch_bytes(int size);
/* Ends what the device keeps for this group. */
void mn_comm_unlink(mn_comm *comm);

/* Tells the others, when the group is broken, that this rank has said all that it has to say. */
void mn_comm_leave(mn_world *world);

/* Fails when the group is broken, or another rank is seen to have ended, stopped or given up. For whoever waits
 * with means of their own, NCCL above all: to be called a few times a second. */
mn_status mn_comm_check(mn_comm *comm);
/* This rank cannot go on, as the caller of a collective that was begun: breaks the group for all and returns its
 * error. */
mn_status mn_comm_break(mn_comm *comm, const char *why);

#endif
