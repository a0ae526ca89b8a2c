/* A server that obeys: each line of its input is an order, each line of its output the answer.
 *
 * The tests of real cgroups need a program whose memory and CPU time are known to the page and to
 * the nanosecond; an interpreter's are not, and a small virtual machine has none.
 *
 *   hold MB             touch so much memory and keep it
 *   drop                give all of that back
 *   shm MB              write so much into a file in /dev/shm
 *   read PATH           read a file to its end
 *   map PATH            map a file and touch every page of it
 *   spin COUNT MS       COUNT children one after the other burn MS each; answers with their ns
 *   ignored COUNT MS    the same, while SIGCHLD is ignored: nobody waits for them
 *   orphans COUNT MS    the same by grandchildren whose parent is gone
 *   grow MB MS          answer, then touch MB more every MS milliseconds for ever
 *   kernel NAME         start a kernel: this program again, with a connection file's name
 *   kernel! ORDER       have the kernel obey; `killed SIGNAL` when it did not live through it
 *   run PROGRAM WORD …  run a program, answer with the first line it wrote
 *   become UID          be that user from now on
 *   write PATH MB       write a file until it has so much or writing fails; answers with its KiB
 *   bound DEV KIND ID MB  bound what a user (KIND 0) or a project (2) may hold; 0 is no bound
 *   project PATH ID     put a folder, and what will be in it, into a project
 *
 * `server contain …` does the same as pid 1 of a container: own pid, mount and cgroup namespaces.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/quota.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1UL << 20)
#define PAGE 4096UL
#define BLOCKS_MAX 4096
#define WORDS_MAX 32

static char *blocks[BLOCKS_MAX];
static size_t sizes[BLOCKS_MAX];
static int held;
static pid_t kernel_pid;
static FILE *kernel_in, *kernel_out;
static const char *self;

static void hold(size_t bytes) {
    char *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED || held == BLOCKS_MAX)
        exit(3);
    for (size_t at = 0; at < bytes; at += PAGE)
        block[at] = 1;
    sizes[held] = bytes;
    blocks[held++] = block;
}

static long own_ns(void) {
    struct timespec spent;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return spent.tv_sec * 1000000000L + spent.tv_nsec;
}

static void burn(long ms) {
    while (own_ns() < ms * 1000000L)
        ;
}

/* Children that burn; each writes what it used into a pipe as the last thing it does. */
static long children(const char *how, int count, long ms) {
    long sum = 0;
    int ends[2];
    if (pipe(ends))
        exit(3);
    int ignored = !strcmp(how, "ignored"), orphans = !strcmp(how, "orphans");
    signal(SIGCHLD, ignored ? SIG_IGN : SIG_DFL);
    for (int n = 0; n < count; n++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (orphans && fork() > 0)
                _exit(0);
            if (orphans)
                setsid();
            burn(ms);
            long used = own_ns();
            if (write(ends[1], &used, sizeof used) < 0)
                _exit(3);
            _exit(0);
        }
        long used = 0;
        if (read(ends[0], &used, sizeof used) != sizeof used)
            exit(3);
        sum += used;
        if (!ignored)
            waitpid(pid, NULL, 0);
    }
    signal(SIGCHLD, SIG_DFL);
    close(ends[0]);
    close(ends[1]);
    return sum;
}

static void fill(const char *path, size_t bytes) {
    static char chunk[MIB];
    int file = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    memset(chunk, 1, sizeof chunk);
    for (size_t at = 0; at < bytes; at += MIB)
        if (write(file, chunk, MIB) != (ssize_t)MIB)
            exit(3);
    close(file);
}

static long flood(const char *path, int map) {
    static char chunk[MIB];
    int file = open(path, O_RDONLY);
    off_t bytes = file < 0 ? -1 : lseek(file, 0, SEEK_END);
    if (bytes <= 0)
        return -1;
    if (map) {
        volatile char *at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, 0);
        if (at == MAP_FAILED)
            return -1;
        char sum = 0;
        for (off_t n = 0; n < bytes; n += PAGE)
            sum += at[n];
        (void)sum; /* stays mapped */
    } else {
        lseek(file, 0, SEEK_SET);
        while (read(file, chunk, MIB) > 0)
            ;
    }
    /* Stays open: the last to close a block device takes its cache away. */
    return bytes;
}

/* As a login does, whose last step is a program of the user's. */
static int become(uid_t uid) {
    return setgid(uid) || setuid(uid) || prctl(PR_SET_DUMPABLE, 1);
}

static long write_file(const char *path, long mib) {
    static char chunk[1024];
    int file = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    long kib = 0;
    memset(chunk, 1, sizeof chunk);
    while (kib < mib * 1024 && write(file, chunk, sizeof chunk) == (ssize_t)sizeof chunk)
        kib++;
    close(file);
    return kib;
}

static int bound(const char *device, int kind, int id, long mib) {
    struct dqblk most = {.dqb_bhardlimit = mib * 1024, .dqb_valid = QIF_BLIMITS};
    return quotactl(QCMD(Q_SETQUOTA, kind), device, id, (caddr_t)&most);
}

/* linux/fs.h has these, which cannot be included beside sys/mount.h. */
struct folder {
    unsigned flags, extent_size, extents, project, cow_extent_size;
    unsigned char padding[8];
};
#define SET_FOLDER _IOW('X', 32, struct folder)
#define INHERIT 0x200

static int project(const char *path, unsigned id) {
    struct folder folder = {.flags = INHERIT, .project = id};
    int fd = open(path, O_RDONLY);
    int failed = fd < 0 || ioctl(fd, SET_FOLDER, &folder);
    close(fd);
    return failed;
}

static void start_kernel(const char *name) {
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
        exit(3);
    kernel_pid = fork();
    if (kernel_pid == 0) {
        char file[5000];
        snprintf(file, sizeof file, "/run/kernel-%s.json", name);
        dup2(to[0], 0);
        dup2(from[1], 1);
        execl(self, self, "-f", file, (char *)NULL);
        _exit(3);
    }
    close(to[0]);
    close(from[1]);
    kernel_in = fdopen(to[1], "w");
    kernel_out = fdopen(from[0], "r");
}

static void order_kernel(const char *order) {
    static char answer[65536];
    fprintf(kernel_in, "%s\n", order);
    fflush(kernel_in);
    if (fgets(answer, sizeof answer, kernel_out)) {
        fputs(answer, stdout);
        return;
    }
    int status = 0;
    waitpid(kernel_pid, &status, 0);
    printf("killed %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static void run(char *words) {
    static char answer[65536];
    char *argv[WORDS_MAX + 1] = {0};
    int ends[2], count = 0;
    for (char *word = strtok(words, " "); word && count < WORDS_MAX; word = strtok(NULL, " "))
        argv[count++] = word;
    if (!count || pipe2(ends, O_CLOEXEC))
        exit(3);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        execv(argv[0], argv);
        _exit(3);
    }
    close(ends[1]);
    FILE *out = fdopen(ends[0], "r");
    if (!fgets(answer, sizeof answer, out))
        snprintf(answer, sizeof answer, "nothing\n");
    while (fgetc(out) != EOF)
        ;
    fclose(out);
    waitpid(pid, NULL, 0);
    fputs(answer, stdout);
}

static void contain(void) {
    if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP)) {
        perror("unshare");
        exit(3);
    }
    /* Who waits is outside of the container, as a runtime's own process is. */
    int outside = open("/sys/fs/cgroup/cgroup.procs", O_WRONLY | O_CLOEXEC);
    pid_t pid = fork();
    if (pid > 0) {
        int status = 0;
        if (write(outside, "0", 1) != 1)
            perror("cgroup.procs");
        waitpid(pid, &status, 0);
        exit(WIFEXITED(status) ? WEXITSTATUS(status) : 3);
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("proc", "/proc", "proc", 0, NULL) ||
        umount2("/sys/fs/cgroup", MNT_DETACH) ||
        mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL)) {
        perror("mount");
        exit(3);
    }
}

int main(int count, char **words) {
    static char line[4096];
    self = words[0];
    if (count > 1 && !strcmp(words[1], "contain"))
        contain();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count == 1 || strcmp(words[1], "-f"))
        puts("up");
    while (fgets(line, sizeof line, stdin)) {
        char path[1024];
        long a = 0, b = 0, c = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "hold %ld", &a) == 1) {
            hold(a * MIB);
        } else if (!strcmp(line, "drop")) {
            while (held > 0) {
                held--;
                munmap(blocks[held], sizes[held]);
            }
        } else if (sscanf(line, "shm %ld", &a) == 1) {
            snprintf(path, sizeof path, "/dev/shm/hubmeter-test-%d", getpid());
            fill(path, a * MIB);
        } else if (sscanf(line, "read %1000s", path) == 1) {
            printf("read %ld\n", flood(path, 0));
            continue;
        } else if (sscanf(line, "map %1000s", path) == 1) {
            printf("map %ld\n", flood(path, 1));
            continue;
        } else if (sscanf(line, "spin %ld %ld", &a, &b) == 2 ||
                   sscanf(line, "ignored %ld %ld", &a, &b) == 2 ||
                   sscanf(line, "orphans %ld %ld", &a, &b) == 2) {
            char how[16];
            sscanf(line, "%15s", how);
            printf("%ld\n", children(how, (int)a, b));
            continue;
        } else if (sscanf(line, "grow %ld %ld", &a, &b) == 2) {
            puts("done");
            for (;;) {
                hold(a * MIB);
                usleep(b * 1000);
            }
        } else if (sscanf(line, "write %1000s %ld", path, &a) == 2) {
            printf("%ld\n", write_file(path, a));
            continue;
        } else if (sscanf(line, "become %ld", &a) == 1) {
            if (become((uid_t)a))
                exit(3);
        } else if (sscanf(line, "bound %1000s %ld %ld %ld", path, &a, &b, &c) == 4) {
            if (bound(path, (int)a, (int)b, c))
                exit(3);
        } else if (sscanf(line, "project %1000s %ld", path, &a) == 2) {
            if (project(path, (unsigned)a))
                exit(3);
        } else if (!strncmp(line, "kernel! ", 8)) {
            order_kernel(line + 8);
            continue;
        } else if (!strncmp(line, "kernel ", 7)) {
            start_kernel(line + 7);
        } else if (!strncmp(line, "run ", 4)) {
            run(line + 4);
            continue;
        } else {
            puts("what?");
            continue;
        }
        puts("done");
    }
    return 0;
}
