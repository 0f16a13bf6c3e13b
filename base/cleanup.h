// SPDX-License-Identifier: Apache-2.0
// Scope-bound ownership: attributes that release a resource when its variable leaves scope.
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_fd_function(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void cleanup_free_function(void *pointer)
{
    free(*(void **)pointer);
}

// Closes the descriptor at scope exit; descriptors start at -1.
#define cleanup_fd __attribute__((cleanup(cleanup_fd_function)))
// Frees heap memory at scope exit; pointers start at NULL.
#define cleanup_free __attribute__((cleanup(cleanup_free_function)))

// Hands a descriptor to a new owner; the old variable no longer closes it.
static inline int steal_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

// Hands heap memory to a new owner; the old variable no longer frees it.
#define steal_pointer(pp)                                                                          \
    (__extension__({                                                                               \
        __auto_type steal_taken = *(pp);                                                           \
        *(pp) = NULL;                                                                              \
        steal_taken;                                                                               \
    }))

#endif
