/* Counts the calls of the C library that reach files under given folders, and has one of them fail, or a signal come.
 *
 * It is loaded in front of the C library (LD_PRELOAD). `fault_arm` says which call and what is to happen; `fault_count`
 * tells how many there were. A call that waits for its turn is otherwise passed on as it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char watched[4][PATH_MAX];
static int folders;
static long calls, at;
static int number; /* of the signal; 0: the call fails */
static char last[PATH_MAX + 32];

void fault_arm(const char *places, long which, int what) {
    char copy[4 * PATH_MAX], *rest = copy, *place;
    snprintf(copy, sizeof copy, "%s", places);
    folders = 0;
    while (folders < 4 && (place = strsep(&rest, ":")))
        snprintf(watched[folders++], PATH_MAX, "%s", place);
    calls = 0, at = which, number = what, last[0] = 0;
}

long fault_count(void) { return calls; }

const char *fault_last(void) { return last; }

static int is_watched(const char *path) {
    for (int i = 0; i < folders; i++)
        if (!strncmp(path, watched[i], strlen(watched[i])))
            return 1;
    return 0;
}

/* Whether this call is the one. */
static int due(const char *call, const char *path) {
    char whole[PATH_MAX];
    if (!folders || !path)
        return 0;
    if (path[0] != '/') {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here) || snprintf(whole, sizeof whole, "%s/%s", here, path) >= PATH_MAX)
            return 0;
        path = whole;
    }
    if (!is_watched(path) || __sync_add_and_fetch(&calls, 1) != at)
        return 0;
    snprintf(last, sizeof last, "%s %s", call, path);
    if (!number)
        return 1;
    kill(getpid(), number);
    return 0;
}

static int due_fd(const char *call, int fd) {
    char link[64], path[PATH_MAX];
    if (!folders)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return due(call, path);
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define ON_FD(result, name, fault, parameters, arguments) \
    result name parameters { \
        REAL(name); \
        if (due_fd(#name, fd)) { \
            errno = fault; \
            return -1; \
        } \
        return real arguments; \
    }

#define ON_PATH(name, fault, parameters, arguments) \
    int name parameters { \
        REAL(name); \
        if (due(#name, path)) { \
            errno = fault; \
            return -1; \
        } \
        return real arguments; \
    }

ON_FD(ssize_t, write, ENOSPC, (int fd, const void *data, size_t size), (fd, data, size))
ON_FD(ssize_t, pwrite64, ENOSPC, (int fd, const void *data, size_t size, off64_t offset), (fd, data, size, offset))
ON_FD(ssize_t, writev, ENOSPC, (int fd, const struct iovec *parts, int count), (fd, parts, count))
ON_FD(ssize_t, read, EIO, (int fd, void *data, size_t size), (fd, data, size))
ON_FD(ssize_t, pread64, EIO, (int fd, void *data, size_t size, off64_t offset), (fd, data, size, offset))
ON_FD(int, fsync, EIO, (int fd), (fd))
ON_FD(int, fdatasync, EIO, (int fd), (fd))
ON_FD(int, ftruncate64, ENOSPC, (int fd, off64_t size), (fd, size))
ON_PATH(rename, EACCES, (const char *path, const char *to), (path, to))
ON_PATH(link, EPERM, (const char *path, const char *to), (path, to))
ON_PATH(mkdir, ENOSPC, (const char *path, mode_t mode), (path, mode))
ON_PATH(chmod, EPERM, (const char *path, mode_t mode), (path, mode))

int linkat(int from, const char *path, int to, const char *target, int flags) {
    REAL(linkat);
    if (due("linkat", path)) {
        errno = EPERM;
        return -1;
    }
    return real(from, path, to, target, flags);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (due(#name, path)) { \
            errno = EACCES; \
            return -1; \
        } \
        return real(path, flags, mode); \
    }

OPEN(open)
OPEN(open64)
