// Starts programs in a container that runs already, each in namespaces of its own.
//
// The container itself has no capabilities and waits. This program comes from outside: it joins the
// container's control groups and namespaces, and then waits for orders on a socket whose other end
// the runner has. For each order it makes a process in new namespaces (processes, mounts, IPC,
// network, hostname) that gives up all rights and becomes what a container's first process is.
//
// A program can't reach this process: it is in no process namespace that the program sees, it takes
// nothing but the runner's orders, and each program gets four descriptors and no other.
//
// It is called with the descriptor of the socket and NAME=VALUE arguments (see `parse`), and after
// `--` the command of each run. It reports on the socket, in one message:
//   "ready NAME..." with descriptors of the files of that name in the container's control groups
//   "gone ..." if the container has ended, or "failed ..." and why; then it ends
// An order is any message with the descriptors of what the run reads, and of its output, errors and
// exit status. They become 0, 3, 4 and 5. The answer is
//   "started" with a descriptor of the first process of the run (pidfd_open(2)), and one of the
//   run's mounts (a mount namespace), which stay for as long as somebody has it
//   "failed ..." and why
// A message without descriptors is answered with "here".
// It ends when the runner closes the socket, and with the container.
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

enum { STREAMS = 4, FIRST_OUTPUT = 3, MAX_FILES = 8, MAX_GROUPS = 64, MAX_PATHS = 64 };
enum { MAX_MESSAGE = 512, MAX_TEXT = 256 * 1024, MAX_INSTRUCTIONS = 4096, LIMITS = RLIM_NLIMITS };

// What this program was told, and what it learnt of the container.
static int orders = -1;             // the socket
static pid_t first_process;          // the container's first process, as the runner sees it
static int container = -1;          // its folder in /proc
static const char *container_id = "";
static const char *working_folder = "/";
static const char *tmp_options = "";
static const char *shm_options = "";
static char *masked[MAX_PATHS];
static char *readonly[MAX_PATHS];
static char **command;
static char program_path[4096];     // what is executed: the command's first word, as a path
static uid_t user;
static gid_t groups[MAX_GROUPS];
static int group_count;
static struct rlimit limits[LIMITS];
static char oom_score[32];
static char first_port[32];
static char label[512];             // AppArmor's, to be taken on; or ""
static struct sock_fprog filter;

extern char **environ;

// ---- messages and failures

static bool send_by(int connection, const char *text, const int *descriptors, int count)
{
    char control[CMSG_SPACE(sizeof(int) * MAX_FILES)] = {0};
    struct iovec part = {(void *)text, strlen(text)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(header), descriptors, sizeof(int) * count);
    }
    return sendmsg(connection, &message, MSG_NOSIGNAL) >= 0;
}

static bool send_message(const char *text, const int *descriptors, int count)
{
    return send_by(orders, text, descriptors, count);
}

// Receives a message of up to `size` bytes, with `count` descriptors or none: those are -1 then.
// Returns its size, 0 if the other end is closed, and -1 for an error or other descriptors.
static ssize_t receive_by(int connection, char *text, size_t size, int *descriptors, int count)
{
    char control[CMSG_SPACE(sizeof(int) * MAX_FILES)];
    struct iovec part = {text, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1,
                             .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got;
    do
        got = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    for (int number = 0; number < count; number++)
        descriptors[number] = -1;
    struct cmsghdr *header = got <= 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (header == NULL)
        return got;
    if (header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int) * count)) {
        errno = EPROTO;
        return -1;
    }
    memcpy(descriptors, CMSG_DATA(header), sizeof(int) * count);
    return got;
}

// Where failures are told: the socket, or in a run's first process that to the launcher.
static int complaints = -1;

static _Noreturn void fail(const char *format, ...)
{
    int error = errno;
    char text[MAX_MESSAGE];
    size_t length = snprintf(text, sizeof text, "%s ", error == ESRCH ? "gone" : "failed");
    va_list arguments;
    va_start(arguments, format);
    length += vsnprintf(text + length, sizeof text - length, format, arguments);
    va_end(arguments);
    if (length < sizeof text)
        snprintf(text + length, sizeof text - length, ": %s", strerror(error));
    if (complaints == orders)
        send_message(text, NULL, 0);
    else if (write(complaints, text, strlen(text)) < 0)
        _exit(2);
    _exit(1);
}

// ---- small helpers

// Returns a file's text; NULL if it can't be read. The caller frees it.
static char *read_text(int folder, const char *path, size_t *size)
{
    int file = openat(folder, path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return NULL;
    char *text = malloc(MAX_TEXT + 1);
    size_t length = 0;
    ssize_t got = 0;
    while (text != NULL && length < MAX_TEXT &&
           (got = read(file, text + length, MAX_TEXT - length)) > 0)
        length += got;
    int error = errno;
    close(file);
    if (text == NULL || got < 0 || length == MAX_TEXT) {
        free(text);
        errno = got < 0 ? error : E2BIG;
        return NULL;
    }
    text[length] = '\0';
    if (size != NULL)
        *size = length;
    return text;
}

static char *must_read(int folder, const char *path, size_t *size)
{
    char *text = read_text(folder, path, size);
    if (text == NULL)
        fail("reading %s", path);
    return text;
}

static bool write_text(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    bool is_written = write(file, text, strlen(text)) == (ssize_t)strlen(text);
    int error = errno;
    close(file);
    errno = error;
    return is_written;
}

static void split(char *text, char **into, const char *name)
{
    int count = 0;
    for (char *path = strtok(text, ":"); path != NULL; path = strtok(NULL, ":")) {
        if (count == MAX_PATHS - 1) {
            errno = E2BIG;
            fail("%s", name);
        }
        into[count++] = path;
    }
}

static void load_filter(int file)
{
    struct stat found;
    if (fstat(file, &found) < 0 || found.st_size == 0 ||
        found.st_size % sizeof(struct sock_filter) != 0 ||
        found.st_size / sizeof(struct sock_filter) > MAX_INSTRUCTIONS) {
        errno = EINVAL;
        fail("the filter of system calls");
    }
    filter.len = found.st_size / sizeof(struct sock_filter);
    filter.filter = malloc(found.st_size);
    if (filter.filter == NULL || pread(file, filter.filter, found.st_size, 0) != found.st_size)
        fail("the filter of system calls");
    close(file);
}

// Takes what the runner says: the arguments, whose names the runner and this function share.
static void parse(int count, char **arguments)
{
    int number = 2;
    for (; number < count && strcmp(arguments[number], "--") != 0; number++) {
        char *value = strchr(arguments[number], '=');
        if (value == NULL) {
            errno = EINVAL;
            fail("%s", arguments[number]);
        }
        *value++ = '\0';
        const char *name = arguments[number];
        if (strcmp(name, "filter") == 0)
            load_filter(atoi(value));
        else if (strcmp(name, "process") == 0) {
            char path[64];
            first_process = atoi(value);
            snprintf(path, sizeof path, "/proc/%d", first_process);
            container = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (container < 0) {
                errno = errno == ENOENT ? ESRCH : errno;
                fail("opening the container's first process");
            }
        } else if (strcmp(name, "container") == 0)
            container_id = value;
        else if (strcmp(name, "folder") == 0)
            working_folder = value;
        else if (strcmp(name, "tmp") == 0)
            tmp_options = value;
        else if (strcmp(name, "shm") == 0)
            shm_options = value;
        else if (strcmp(name, "masked") == 0)
            split(value, masked, name);
        else if (strcmp(name, "readonly") == 0)
            split(value, readonly, name);
        else {
            errno = EINVAL;
            fail("%s", name);
        }
    }
    command = arguments + number + 1;
    if (number + 1 >= count || filter.len == 0 || container < 0 || *container_id == '\0') {
        errno = EINVAL;
        fail("arguments are missing");
    }
}

// ---- what the container's first process has, and each run is to have

// Returns what stands behind the name in the text of /proc/PID/status.
static const char *status_line(const char *status, const char *name)
{
    const char *line = strstr(status, name);
    if (line == NULL) {
        errno = ENOENT;
        fail("%s of the container's first process", name);
    }
    return line + strlen(name);
}

static rlim_t limit(const char *text)
{
    return strncmp(text, "unlimited", 9) == 0 ? RLIM_INFINITY : strtoull(text, NULL, 10);
}

// The kernel lists limits in the order of their numbers, below a title: the name in 25 columns, the
// soft limit in 20, and the hard one. prlimit(2) would take a capability that services do without.
static void learn_limits(void)
{
    enum { NAME = 26, SOFT = 21 };
    char *text = must_read(container, "limits", NULL);
    const char *line = text;
    for (int number = 0; number < LIMITS; number++) {
        line = strchr(line, '\n');
        struct rlimit own;
        if (line == NULL || strlen(++line) < NAME + SOFT || getrlimit(number, &own) < 0)
            fail("the limits of the container's first process");
        limits[number] = (struct rlimit){limit(line + NAME), limit(line + NAME + SOFT)};
        // Raising a limit takes a capability too.
        if (limits[number].rlim_max > own.rlim_max)
            limits[number].rlim_max = own.rlim_max;
        if (limits[number].rlim_cur > limits[number].rlim_max)
            limits[number].rlim_cur = limits[number].rlim_max;
    }
    free(text);
}

static void learn(void)
{
    size_t size = 0;
    char *variables = must_read(container, "environ", &size);
    int count = 0;
    for (size_t at = 0; at < size; at += strlen(variables + at) + 1)
        count++;
    char **found = calloc(count + 1, sizeof *found);
    if (found == NULL)
        fail("the environment");
    count = 0;
    for (size_t at = 0; at < size; at += strlen(variables + at) + 1)
        found[count++] = variables + at;
    environ = found;

    char *status = must_read(container, "status", NULL);
    user = strtoul(status_line(status, "\nUid:"), NULL, 10);
    groups[0] = strtoul(status_line(status, "\nGid:"), NULL, 10);
    group_count = 1;
    const char *at = status_line(status, "\nGroups:");
    while (group_count < MAX_GROUPS) {
        while (*at == ' ' || *at == '\t')
            at++;
        if (!isdigit((unsigned char)*at))
            break;
        char *end;
        groups[group_count++] = strtoul(at, &end, 10);
        at = end;
    }
    free(status);
    if (user == 0 || groups[0] == 0) {
        errno = EPERM;
        fail("the container's first process is root's");
    }
    learn_limits();
    char *score = must_read(container, "oom_score_adj", NULL);
    snprintf(oom_score, sizeof oom_score, "%s", score);
    free(score);

    char *profile = read_text(container, "attr/apparmor/current", NULL);
    if (profile != NULL) {
        profile[strcspn(profile, "\n")] = '\0';
        char *mode = strstr(profile, " (");
        if (mode != NULL)
            *mode = '\0';
        if (strcmp(profile, "unconfined") != 0)
            snprintf(label, sizeof label, "exec %s", profile);
        free(profile);
        return;
    }
    // With another security module a run would have the label of the services.
    char *theirs = read_text(container, "attr/current", NULL);
    char *ours = read_text(AT_FDCWD, "/proc/self/attr/current", NULL);
    if (theirs != NULL && ours != NULL && strcmp(theirs, ours) != 0) {
        errno = EPERM;
        fail("the container has a security label of its own");
    }
    free(theirs);
    free(ours);
}

// Takes on how the kernel schedules the container's first process. What the runner is given of the
// processors and disks, by nice(1) or the like, is not a run's. Where the container has more, runs
// do without: more takes a capability.
static void take_on_scheduling(void)
{
    enum { ONE_PROCESS = 1 }; // ioprio_set(2) has it for itself, without a header
    struct sched_param parameters = {0};
    cpu_set_t processors;
    errno = 0;
    int niceness = getpriority(PRIO_PROCESS, first_process);
    int error = errno;
    int policy = sched_getscheduler(first_process);
    int disks = syscall(SYS_ioprio_get, ONE_PROCESS, first_process);
    if (error != 0 || policy < 0 || disks < 0 ||
        sched_getparam(first_process, &parameters) < 0 ||
        sched_getaffinity(first_process, sizeof processors, &processors) < 0)
        fail("how the container's first process is scheduled");
    char *kind = must_read(container, "personality", NULL);
    if ((sched_setscheduler(0, policy, &parameters) < 0 && errno != EPERM) ||
        (setpriority(PRIO_PROCESS, 0, niceness) < 0 && errno != EACCES && errno != EPERM) ||
        (syscall(SYS_ioprio_set, ONE_PROCESS, 0, disks) < 0 && errno != EPERM) ||
        sched_setaffinity(0, sizeof processors, &processors) < 0 ||
        personality(strtoul(kind, NULL, 16)) < 0)
        fail("being scheduled as the container's first process is");
    free(kind);
}

// ---- control groups

// Prints into `mountpoint` where the hierarchy of the controller is mounted; "" is cgroup2.
static bool find_hierarchy(char *mounts, const char *controller, char *mountpoint, size_t size)
{
    char *rest = NULL;
    bool is_found = false;
    char *copy = strdup(mounts);
    if (copy == NULL)
        return false;
    for (char *line = strtok_r(copy, "\n", &rest); line != NULL && !is_found;
         line = strtok_r(NULL, "\n", &rest)) {
        char root[256], point[256], kind[64], options[512];
        char *behind = strstr(line, " - ");
        if (behind == NULL || sscanf(line, "%*s %*s %*s %255s %255s", root, point) != 2 ||
            sscanf(behind, " - %63s %*s %511s", kind, options) != 2 || strcmp(root, "/") != 0)
            continue;
        if (*controller == '\0')
            is_found = strcmp(kind, "cgroup2") == 0;
        else if (strcmp(kind, "cgroup") == 0) {
            char *more = NULL;
            for (char *option = strtok_r(options, ",", &more); option != NULL;
                 option = strtok_r(NULL, ",", &more))
                is_found = is_found || strcmp(option, controller) == 0;
        }
        if (is_found)
            snprintf(mountpoint, size, "%s", point);
    }
    free(copy);
    return is_found;
}

// The files that tell what a run used, and what happened to it. Some kernels lack some.
static const char *const told[] = {
    "memory.oom_control", "memory.max_usage_in_bytes", "memory.usage_in_bytes", "cpuacct.usage",
    "memory.events", "memory.peak", "memory.current", "memory.stat", "cpu.stat", "io.stat",
};

static void open_told(const char *folder, char *names, size_t size, int *files, int *count)
{
    for (size_t number = 0; number < sizeof told / sizeof *told; number++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, told[number]);
        if (*count == MAX_FILES || strstr(names, told[number]) != NULL)
            continue;
        int file = open(path, O_RDWR | O_CLOEXEC);
        if (file < 0)
            file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0)
            continue;
        files[(*count)++] = file;
        strncat(names, " ", size - strlen(names) - 1);
        strncat(names, told[number], size - strlen(names) - 1);
    }
}

// Moves this process into the control groups of the container; says whether it is in all of them.
static bool join_groups(char *names, size_t size, int *files, int *count)
{
    char *theirs = must_read(container, "cgroup", NULL);
    if (strstr(theirs, container_id) == NULL) {
        errno = ESRCH;
        fail("the process is not the container's");
    }
    char *mounts = must_read(AT_FDCWD, "/proc/self/mountinfo", NULL);
    char *rest = NULL;
    char *copy = strdup(theirs);
    if (copy == NULL)
        fail("control groups");
    for (char *line = strtok_r(copy, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char *controllers = strchr(line, ':');
        char *path = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        char mountpoint[256], folder[768], processes[800];
        if (path == NULL)
            continue;
        *path++ = '\0';
        controllers++;
        controllers[strcspn(controllers, ",")] = '\0';
        if (!find_hierarchy(mounts, controllers, mountpoint, sizeof mountpoint))
            continue;
        snprintf(folder, sizeof folder, "%s%s", mountpoint, path);
        snprintf(processes, sizeof processes, "%s/cgroup.procs", folder);
        // What can't be joined shows below, where the groups are compared.
        if (write_text(processes, "0") && strstr(path, container_id) != NULL)
            open_told(folder, names, size, files, count);
    }
    char *ours = must_read(AT_FDCWD, "/proc/self/cgroup", NULL);
    bool is_in_all = strcmp(theirs, ours) == 0;
    free(copy);
    free(mounts);
    free(theirs);
    free(ours);
    return is_in_all;
}

// In a container, the runner may have a view of the control groups in which others' have no name.
// That of process 1 shows them all.
static void enter_view_of_all(void)
{
    int view = open("/proc/1/ns/cgroup", O_RDONLY | O_CLOEXEC);
    if (view < 0 || setns(view, CLONE_NEWCGROUP) < 0)
        fail("joining the container's control groups: entering the view of process 1");
    close(view);
}

// ---- namespaces

static void enter_container(void)
{
    // Mounts come last: the others are found without them.
    static const struct { const char *path; int kind; } spaces[] = {
        {"ns/cgroup", CLONE_NEWCGROUP}, {"ns/ipc", CLONE_NEWIPC}, {"ns/uts", CLONE_NEWUTS},
        {"ns/net", CLONE_NEWNET}, {"ns/pid", CLONE_NEWPID}, {"ns/mnt", CLONE_NEWNS},
    };
    enum { COUNT = sizeof spaces / sizeof *spaces };
    int files[COUNT];
    for (int number = 0; number < COUNT; number++)
        if ((files[number] = openat(container, spaces[number].path, O_RDONLY | O_CLOEXEC)) < 0) {
            errno = errno == ENOENT ? ESRCH : errno; // what has ended has no namespaces
            fail("opening the container's %s", spaces[number].path);
        }
    for (int number = 0; number < COUNT; number++) {
        if (setns(files[number], spaces[number].kind) < 0)
            fail("entering the container's %s", spaces[number].path);
        close(files[number]);
    }
    close(container);
}

static bool unmount(const char *path)
{
    while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        continue;
    return errno == EINVAL || errno == ENOENT;
}

// Mounts that each run has of its own. /proc comes last: it takes the container's masks with it.
static const char *const own_mounts[] = {"/tmp", "/dev/shm", "/dev/mqueue", "/dev/pts", "/proc"};

// Makes the mounts that each run's are copied from: the container's, without those of its own. So
// no run has to unmount anything, for which the kernel waits a while each time.
static void make_template(void)
{
    char *port = must_read(AT_FDCWD, "/proc/sys/net/ipv4/ip_unprivileged_port_start", NULL);
    snprintf(first_port, sizeof first_port, "%s", port);
    free(port);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        fail("copying the container's mounts");
    for (size_t number = 0; number < sizeof own_mounts / sizeof *own_mounts; number++)
        if (!unmount(own_mounts[number]))
            fail("unmounting %s", own_mounts[number]);
}

// Finds the command by the container's PATH. It is found once, and not in the sandbox or relative to
// it: an earlier run may have put a program there, which must not run before the next run begins.
static void find_command(void)
{
    const char *path = getenv("PATH");
    const char *sandboxes[] = {working_folder, "/sandbox"};
    for (const char *at = path == NULL ? "" : path; *at != '\0'; at += *at == ':') {
        int length = strcspn(at, ":");
        const char *folder = at;
        at += length;
        bool is_trusted = *folder == '/';
        for (int number = 0; number < 2; number++)
            if (strncmp(folder, sandboxes[number], strlen(sandboxes[number])) == 0)
                is_trusted = false;
        snprintf(program_path, sizeof program_path, "%.*s/%s", length, folder, command[0]);
        if (is_trusted && access(program_path, X_OK) == 0)
            return;
    }
    errno = ENOENT;
    fail("finding %s", command[0]);
}

static void mask(const char *path)
{
    struct stat found;
    if (lstat(path, &found) < 0)
        return; // this kernel has none
    if (S_ISDIR(found.st_mode)) {
        if (mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=0") < 0)
            fail("masking %s", path);
    } else if (mount("/dev/null", path, NULL, MS_BIND, NULL) < 0)
        fail("masking %s", path);
}

static void make_readonly(const char *path)
{
    struct stat found;
    if (lstat(path, &found) < 0)
        return; // this kernel has none
    unsigned long flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0 || mount(NULL, path, NULL, flags, NULL) < 0)
        fail("making %s read-only", path);
}

static void mount_own(void)
{
    unsigned long safe = MS_NOSUID | MS_NODEV;
    if (mount("tmpfs", "/tmp", "tmpfs", safe, tmp_options) < 0)
        fail("mounting /tmp");
    if (mount("shm", "/dev/shm", "tmpfs", safe | MS_NOEXEC, shm_options) < 0)
        fail("mounting /dev/shm");
    if (mount("mqueue", "/dev/mqueue", "mqueue", safe | MS_NOEXEC, NULL) < 0)
        fail("mounting /dev/mqueue");
    if (mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
              "newinstance,ptmxmode=0666,mode=0620,gid=5") < 0)
        fail("mounting /dev/pts");
    if (mount("proc", "/proc", "proc", safe | MS_NOEXEC, NULL) < 0)
        fail("mounting /proc");
    if (!write_text("/proc/sys/net/ipv4/ip_unprivileged_port_start", first_port))
        fail("setting the first port that programs may use");
    for (char **path = readonly; *path != NULL; path++)
        make_readonly(*path);
    for (char **path = masked; *path != NULL; path++)
        mask(*path);
}

static void start_loopback(void)
{
    struct ifreq interface = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int used = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (used < 0 || ioctl(used, SIOCSIFFLAGS, &interface) < 0)
        fail("starting the loopback interface");
    close(used);
}

// ---- rights

static void give_up_rights(void)
{
    for (int number = 0; number < LIMITS; number++)
        if (setrlimit(number, &limits[number]) < 0)
            fail("setting limit %d", number);
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            fail("dropping capability %d", capability);
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        fail("dropping capabilities");
    // For the command, which is what is executed next.
    if (*label != '\0' && !write_text("/proc/self/attr/apparmor/exec", label))
        fail("taking on the container's AppArmor profile");
    if (setgroups(group_count - 1, groups + 1) < 0 ||
        setresgid(groups[0], groups[0], groups[0]) < 0 || setresuid(user, user, user) < 0)
        fail("becoming the avatar's user");
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capset, &header, none) < 0)
        fail("dropping capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) < 0)
        fail("setting the filter of system calls");
}

// ---- a run

// What a run's first process does: it starts the command, and reaps what is orphaned, until the
// command has ended. Its end is the end of all the others. Nothing inside can kill or trace it.
static _Noreturn void be_first(const int *streams, int told_by)
{
    complaints = told_by;
    if (!write_text("/proc/self/oom_score_adj", oom_score))
        fail("setting the score for a lack of memory");
    give_up_rights();
    // The run's user is ours from here on, and must not trace or read this process.
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        fail("forbidding to be traced");
    pid_t program = fork();
    if (program < 0)
        fail("starting the command");
    if (program == 0) {
        // Copied first: one of them may have the number that another one is to get.
        int copies[STREAMS];
        int empty = open("/dev/null", O_RDWR | O_CLOEXEC);
        int complaints_above = fcntl(told_by, F_DUPFD_CLOEXEC, 64);
        if (empty < 0 || complaints_above < 0)
            fail("the command's descriptors");
        complaints = complaints_above;
        for (int number = 0; number < STREAMS; number++)
            if ((copies[number] = fcntl(streams[number], F_DUPFD_CLOEXEC, 64)) < 0)
                fail("the command's descriptors");
        if (dup2(copies[0], 0) < 0 || dup2(empty, 1) < 0 || dup2(empty, 2) < 0)
            fail("the command's descriptors");
        for (int number = 1; number < STREAMS; number++)
            if (dup2(copies[number], FIRST_OUTPUT + number - 1) < 0)
                fail("the command's descriptors");
        if (chdir(working_folder) < 0)
            fail("entering the sandbox");
        execve(program_path, command, environ);
        fail("starting %s", program_path);
    }
    // Among them are the run's pipes, and the socket for complaints.
    if (syscall(SYS_close_range, 0U, ~0U, 0U) < 0)
        for (int number = sysconf(_SC_OPEN_MAX) - 1; number >= 0; number--)
            close(number);
    pid_t ended;
    while ((ended = wait(NULL)) != program)
        if (ended < 0 && errno != EINTR)
            break;
    _exit(0);
}

static _Noreturn void become_run(const int *streams, int told_by)
{
    complaints = told_by;
    close(orders);
    orders = -1;
    signal(SIGCHLD, SIG_DFL);
    if (setsid() < 0)
        fail("starting a session");
    start_loopback();
    mount_own();
    int mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (mounts < 0 || !send_by(told_by, "mounts", &mounts, 1))
        fail("handing over the mounts");
    close(mounts);
    be_first(streams, told_by);
}

static void start_run(const int *streams)
{
    int told_by[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, told_by) < 0) {
        send_message("failed making a socket", NULL, 0);
        return;
    }
    // If the run's end took its mounts down, which the kernel waits for, its end would be told late.
    int started[] = {-1, -1}; // the first process, and the mounts
    unsigned long kinds = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS;
    pid_t child = syscall(SYS_clone, kinds | CLONE_PIDFD | SIGCHLD, NULL, &started[0], NULL, NULL);
    if (child == 0) {
        close(told_by[0]);
        become_run(streams, told_by[1]);
    }
    int error = errno;
    close(told_by[1]);
    char text[MAX_MESSAGE] = "";
    ssize_t size = 0;
    if (child < 0)
        snprintf(text, sizeof text, "failed making namespaces: %s", strerror(error));
    else {
        size = receive_by(told_by[0], text, sizeof text - 1, &started[1], 1);
        // The socket is closed without a word more when the command has started.
        if (size > 0 && started[1] >= 0) {
            int none;
            memset(text, 0, sizeof text);
            size = receive_by(told_by[0], text, sizeof text - 1, &none, 0);
        }
        if (size < 0)
            snprintf(text, sizeof text, "failed waiting for a run: %s", strerror(errno));
        else if (size == 0 && started[1] < 0)
            snprintf(text, sizeof text, "failed starting a run: it ended before it began");
    }
    close(told_by[0]);
    if (*text != '\0')
        send_message(text, NULL, 0);
    else
        send_message("started", started, 2);
    for (int number = 0; number < 2; number++)
        if (started[number] >= 0)
            close(started[number]);
}

// Takes orders until there can be no more.
static void take_orders(void)
{
    for (;;) {
        char text[MAX_MESSAGE];
        int streams[STREAMS];
        if (receive_by(orders, text, sizeof text, streams, STREAMS) <= 0)
            return;
        if (streams[0] < 0) {
            send_message("here", NULL, 0);
            continue;
        }
        start_run(streams);
        for (int number = 0; number < STREAMS; number++)
            close(streams[number]);
    }
}

int main(int count, char **arguments)
{
    if (count < 2)
        return 2;
    complaints = orders = atoi(arguments[1]);
    fcntl(orders, F_SETFD, FD_CLOEXEC);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(022);

    // No key of the runner's is to be a run's. Where the call is forbidden, the runner has a container
    // of its own, and with it keys of its own; a run can't ask for any in any case.
    syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
    parse(count, arguments);
    learn();
    char names[MAX_MESSAGE] = "ready";
    int files[MAX_FILES], file_count = 0;
    if (!join_groups(names, sizeof names, files, &file_count)) {
        enter_view_of_all();
        if (!join_groups(names, sizeof names, files, &file_count)) {
            errno = EPERM;
            fail("joining the container's control groups");
        }
    }
    take_on_scheduling();
    enter_container();
    // Only a child is in the container's process namespace, and ends with it.
    pid_t child = fork();
    if (child < 0) {
        errno = errno == ENOMEM ? ESRCH : errno; // the kernel's answer if the namespace ends
        fail("starting the launcher");
    }
    if (child > 0)
        _exit(0);
    signal(SIGCHLD, SIG_IGN); // nobody waits for a run but the runner, which has its descriptor
    if (setsid() < 0)
        fail("starting a session");
    make_template();
    if (chdir("/") < 0)
        fail("entering the container");
    find_command();
    if (!send_message(names, files, file_count))
        return 1;
    for (int number = 0; number < file_count; number++)
        close(files[number]);
    take_orders();
    return 0;
}
