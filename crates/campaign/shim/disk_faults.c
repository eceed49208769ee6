/* Counts the calls that change files under one directory, and makes one of them go wrong.
 *
 * Loaded with LD_PRELOAD into the program under test. strace can inject faults too, but counts for
 * each thread on its own, so that "the n-th call" of a program with a thread pool is not one call;
 * here one counter serves all threads. A test holds what is counted here against what strace sees.
 *
 *   DISK_FAULTS_ROOT   absolute directory; calls elsewhere are left alone
 *   DISK_FAULTS_LOG    file that gets "number class path" for every call, in order
 *   DISK_FAULTS_AT     number of the call that goes wrong, or "class:end of path" for the first such
 *                      call; none if it is missing
 *   DISK_FAULTS_DO     kill-before, kill-after, kill-torn (half of a write), EIO, ENOSPC,
 *                      ENOSPC-from-here, EIO-after (the call is made, and its answer lost),
 *                      EACCES, EROFS-from-here (as when the kernel makes a disk read-only)
 *
 * Raw system calls only below the wrappers: they must not call each other.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum deed { NOTHING, KILL_BEFORE, KILL_AFTER, KILL_TORN, FAIL_EIO, FAIL_ENOSPC, FULL_FROM_HERE, LOST_ANSWER,
            FAIL_EACCES, FAIL_EROFS, READ_ONLY_FROM_HERE };

static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static long at = -1;
static const char *at_class_and_path;
static atomic_flag matched = ATOMIC_FLAG_INIT;
static enum deed deed = NOTHING;
static atomic_long calls;
static atomic_int read_only;

__attribute__((constructor)) static void begin(void) {
  const char *given = getenv("DISK_FAULTS_ROOT");
  if (given == NULL || realpath(given, root) == NULL) return;
  root_length = strlen(root);
  const char *log = getenv("DISK_FAULTS_LOG");
  if (log != NULL)
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const char *number = getenv("DISK_FAULTS_AT"), *what = getenv("DISK_FAULTS_DO");
  if (number == NULL || what == NULL) return;
  static const struct { const char *name; enum deed deed; } deeds[] = {
      {"kill-before", KILL_BEFORE}, {"kill-after", KILL_AFTER}, {"kill-torn", KILL_TORN},
      {"EIO", FAIL_EIO},            {"ENOSPC", FAIL_ENOSPC},    {"ENOSPC-from-here", FULL_FROM_HERE},
      {"EIO-after", LOST_ANSWER},   {"EACCES", FAIL_EACCES},    {"EROFS-from-here", READ_ONLY_FROM_HERE},
  };
  for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++)
    if (strcmp(what, deeds[i].name) == 0) deed = deeds[i].deed;
  if (deed == NOTHING) {
    static const char words[] = "disk_faults: DISK_FAULTS_DO is unknown\n";
    syscall(SYS_write, 2, words, sizeof words - 1);
    _exit(99);
  }
  if (strchr(number, ':') != NULL)
    at_class_and_path = number;
  else
    at = atol(number);
}

static void die(void) {
  syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
  for (;;) syscall(SYS_pause);
}

static int ours(const char *path) {
  return root_length > 0 && strncmp(path, root, root_length) == 0 &&
         (path[root_length] == '/' || path[root_length] == '\0');
}

/* The absolute path of what a call names. */
static const char *path_at(int dir, const char *path, char *buffer) {
  if (path[0] == '/') return path;
  char link[64], base[PATH_MAX];
  if (dir == AT_FDCWD) {
    if (syscall(SYS_getcwd, base, sizeof base) < 0) return "";
  } else {
    snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    ssize_t length = readlink(link, base, sizeof base - 1);
    if (length < 0) return "";
    base[length] = '\0';
  }
  if (snprintf(buffer, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return "";
  return buffer;
}

static const char *path_of(int fd, char *buffer) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, buffer, PATH_MAX - 1);
  if (length < 0) return "";
  buffer[length] = '\0';
  return buffer;
}

/* Whether this is the call that "class:end of path" names. */
static int is_named(const char *class, const char *path) {
  if (at_class_and_path == NULL) return 0;
  size_t length = strlen(class), whole = strlen(path);
  if (strncmp(at_class_and_path, class, length) != 0 || at_class_and_path[length] != ':') return 0;
  const char *end = at_class_and_path + length + 1;
  size_t wanted = strlen(end);
  return whole >= wanted && strcmp(path + whole - wanted, end) == 0 &&
         !atomic_flag_test_and_set(&matched);
}

/* Counts one call. What is to be done about it; kill-before has happened already. */
static enum deed count(const char *class, const char *path) {
  if (!ours(path)) return NOTHING;
  long number = atomic_fetch_add(&calls, 1) + 1;
  if (log_fd >= 0) {
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%ld %s %s\n", number, class, path);
    if (length > 0 && (size_t)length < sizeof line) syscall(SYS_write, log_fd, line, length);
  }
  if (deed == FULL_FROM_HERE && at >= 0 && number >= at) {
    /* A full disk still deletes, renames and syncs. */
    int grows = strcmp(class, "write") == 0 || strcmp(class, "create") == 0 ||
                strcmp(class, "mkdir") == 0 || strcmp(class, "link") == 0;
    return grows ? FAIL_ENOSPC : NOTHING;
  }
  if (deed == READ_ONLY_FROM_HERE) {
    /* What was written before can still be synced. */
    if ((at >= 0 && number >= at) || is_named(class, path)) atomic_store(&read_only, 1);
    return atomic_load(&read_only) && strcmp(class, "sync") != 0 ? FAIL_EROFS : NOTHING;
  }
  if (number != at && !is_named(class, path)) return NOTHING;
  if (deed == KILL_BEFORE) die();
  return deed;
}

static int refuse(enum deed what) {
  switch (what) {
    case FAIL_EIO: errno = EIO; return 1;
    case FAIL_ENOSPC: errno = ENOSPC; return 1;
    case FAIL_EACCES: errno = EACCES; return 1;
    case FAIL_EROFS: errno = EROFS; return 1;
    default: return 0;
  }
}

#define AROUND(type, class, path, call)        \
  char buffer[PATH_MAX];                       \
  enum deed what = count(class, path);         \
  if (refuse(what)) return -1;                 \
  type answer = (call);                        \
  if (what == KILL_AFTER || what == KILL_TORN) die(); \
  if (what == LOST_ANSWER) {                   \
    errno = EIO;                               \
    return -1;                                 \
  }                                            \
  return answer

static int open_at(int dir, const char *path, int flags, mode_t mode) {
  if (!(flags & (O_CREAT | O_TRUNC))) return (int)syscall(SYS_openat, dir, path, flags, mode);
  AROUND(int, "create", path_at(dir, path, buffer), (int)syscall(SYS_openat, dir, path, flags, mode));
}

static mode_t mode_of(int flags, va_list *rest) {
  return flags & (O_CREAT | O_TMPFILE) ? va_arg(*rest, mode_t) : 0;
}

#define OPEN(name)                                   \
  int name(const char *path, int flags, ...) {       \
    va_list rest;                                    \
    va_start(rest, flags);                           \
    mode_t mode = mode_of(flags, &rest);             \
    va_end(rest);                                    \
    return open_at(AT_FDCWD, path, flags, mode);     \
  }
#define OPENAT(name)                                        \
  int name(int dir, const char *path, int flags, ...) {     \
    va_list rest;                                           \
    va_start(rest, flags);                                  \
    mode_t mode = mode_of(flags, &rest);                    \
    va_end(rest);                                           \
    return open_at(dir, path, flags, mode);                 \
  }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode) {
  return open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

static ssize_t torn_write(enum deed what, int fd, const void *bytes, size_t length) {
  if (what != KILL_TORN) return syscall(SYS_write, fd, bytes, length);
  syscall(SYS_write, fd, bytes, length / 2);
  die();
  return -1;
}

ssize_t write(int fd, const void *bytes, size_t length) {
  char buffer[PATH_MAX];
  enum deed what = fd > 2 ? count("write", path_of(fd, buffer)) : NOTHING;
  if (refuse(what)) return -1;
  ssize_t answer = torn_write(what, fd, bytes, length);
  if (what == KILL_AFTER) die();
  if (what == LOST_ANSWER) {
    errno = EIO;
    return -1;
  }
  return answer;
}
ssize_t writev(int fd, const struct iovec *parts, int number) {
  AROUND(ssize_t, "write", path_of(fd, buffer), syscall(SYS_writev, fd, parts, number));
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  AROUND(ssize_t, "write", path_of(fd, buffer), syscall(SYS_pwrite64, fd, bytes, length, offset));
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  return pwrite64(fd, bytes, length, offset);
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned flags) {
  AROUND(ssize_t, "write", path_of(out, buffer),
         syscall(SYS_copy_file_range, in, from, out, to, length, flags));
}

int fsync(int fd) {
  AROUND(int, "sync", path_of(fd, buffer), (int)syscall(SYS_fsync, fd));
}
int fdatasync(int fd) {
  AROUND(int, "sync", path_of(fd, buffer), (int)syscall(SYS_fdatasync, fd));
}

int linkat(int from_dir, const char *from, int dir, const char *path, int flags) {
  AROUND(int, "link", path_at(dir, path, buffer),
         (int)syscall(SYS_linkat, from_dir, from, dir, path, flags));
}
int link(const char *from, const char *path) { return linkat(AT_FDCWD, from, AT_FDCWD, path, 0); }

int renameat(int from_dir, const char *from, int dir, const char *path) {
  AROUND(int, "rename", path_at(dir, path, buffer),
         (int)syscall(SYS_renameat2, from_dir, from, dir, path, 0));
}
int rename(const char *from, const char *path) { return renameat(AT_FDCWD, from, AT_FDCWD, path); }
int renameat2(int from_dir, const char *from, int dir, const char *path, unsigned flags) {
  AROUND(int, "rename", path_at(dir, path, buffer),
         (int)syscall(SYS_renameat2, from_dir, from, dir, path, flags));
}

int unlinkat(int dir, const char *path, int flags) {
  AROUND(int, "unlink", path_at(dir, path, buffer), (int)syscall(SYS_unlinkat, dir, path, flags));
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int dir, const char *path, mode_t mode) {
  AROUND(int, "mkdir", path_at(dir, path, buffer), (int)syscall(SYS_mkdirat, dir, path, mode));
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int ftruncate64(int fd, off64_t length) {
  AROUND(int, "truncate", path_of(fd, buffer), (int)syscall(SYS_ftruncate, fd, length));
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }
int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  AROUND(int, "write", path_of(fd, buffer), (int)syscall(SYS_fallocate, fd, mode, offset, length));
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
  return fallocate64(fd, mode, offset, length);
}
