/* /proc as programs use it: a process's own directory, its links, descriptors and numbers, and the machine's tables. */
#include "../harness.h"
#include <dirent.h>
#include <sys/sysinfo.h>

static char *link_of(const char *path)
{
	static char target[PATH_MAX];
	ssize_t n = EXPECT_OK(readlink(path, target, sizeof target - 1));
	target[n] = 0;
	return target;
}

/* The value of a "Key: value" line, or NULL. */
static char *field(char *text, const char *key)
{
	size_t len = strlen(key);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (!strncmp(line, key, len) && line[len] == ':')
			return line + len + 1 + strspn(line + len + 1, " \t");
	return NULL;
}

CASE(self_is_us)
{
	char want[32];
	snprintf(want, sizeof want, "%d", getpid());
	EXPECT_STR(link_of("/proc/self"), want);
	snprintf(want, sizeof want, "%d/task/%d", getpid(), getpid());
	EXPECT_STR(link_of("/proc/thread-self"), want);
	CHILD(p) {
		snprintf(want, sizeof want, "%d", getpid());
		EXPECT_STR(link_of("/proc/self"), want);
	}
	JOIN(p);
	CHECK(!exists("/proc/999999999") && !exists("/proc/0") && !exists("/proc/01"));
	EXPECT_ERRNO(open("/proc/new", O_RDWR | O_CREAT, 0600), ENOENT);
	EXPECT_ERRNO(mkdir("/proc/new", 0755), ENOENT);
}

CASE(exe_cwd_root)
{
	char cwd[PATH_MAX], want[PATH_MAX + 16];
	CHECK(getcwd(cwd, sizeof cwd));
	EXPECT_STR(link_of("/proc/self/cwd"), cwd);
	EXPECT_STR(link_of("/proc/self/root"), "/");
	CHECK(link_of("/proc/self/exe")[0] == '/');
	snprintf(want, sizeof want, "%s", link_of("/proc/self/exe"));
	struct stat a, b;
	EXPECT_OK(stat("/proc/self/exe", &a));
	EXPECT_OK(stat(want, &b));
	EXPECT_EQ(a.st_ino, b.st_ino);
	EXPECT_OK(open("/proc/self/exe", O_RDONLY));
	EXPECT_OK(mkdir("d", 0755));
	EXPECT_OK(chdir("d"));
	EXPECT_OK(rmdir("../d"));
	snprintf(want, sizeof want, "%s/d (deleted)", cwd);
	EXPECT_STR(link_of("/proc/self/cwd"), want);
}

CASE(cmdline_and_environ)
{
	CHILD(p) {
		setenv("CONF_MARK", "here", 1);
		execl("/bin/sh", "sh", "-c",
		      "tr '\\0' '|' </proc/$$/cmdline | grep -q '^sh|-c|tr.*|zero|one two|$' && "
		      "tr '\\0' '\\n' </proc/$$/environ | grep -qx CONF_MARK=here && "
		      "[ \"$(readlink /proc/$$/cwd)\" = \"$(pwd -P)\" ]",
		      "zero", "one two", NULL);
		_exit(9);
	}
	JOIN(p);
}

CASE(descriptor_directory)
{
	int p[2];
	EXPECT_OK(pipe(p));
	DIR *d = opendir("/proc/self/fd");
	CHECK(d);
	bool seen[10] = {false};
	int count = 0;
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.') {
			int fd = atoi(e->d_name);
			CHECK(fd < 10 && !seen[fd]);
			seen[fd] = true;
			EXPECT_EQ(e->d_type, DT_LNK);
			count++;
		}
	EXPECT_EQ(count, 6); /* 0 1 2, the pipe, the directory itself */
	CHECK(seen[p[0]] && seen[p[1]] && seen[dirfd(d)]);
	CHECK(exists("/proc/self/fd/0") && !exists("/proc/self/fd/99") && !exists("/proc/self/fd/x"));
	EXPECT_ERRNO(open("/proc/self/fd/99", O_RDONLY), ENOENT);
	EXPECT_ERRNO(unlink("/proc/self/fd/0"), EPERM);
	char fd_of_socket[64];
	snprintf(fd_of_socket, sizeof fd_of_socket, "/dev/fd/%d", p[1]);
	EXPECT_EQ(write(EXPECT_OK(open(fd_of_socket, O_WRONLY)), "x", 1), 1);
}

CASE(descriptor_information)
{
	char path[64];
	put_file("f", "abcdef");
	int fd = EXPECT_OK(open("f", O_RDWR | O_APPEND | O_CLOEXEC));
	EXPECT_EQ(lseek(fd, 4, SEEK_SET), 4);
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	char *text = get_file(path);
	long pos;
	int flags;
	EXPECT_EQ(sscanf(text, "pos:\t%ld\nflags:\t%o\nmnt_id:", &pos, &flags), 2);
	EXPECT_EQ(pos, 4);
	EXPECT_EQ(flags, O_RDWR | O_APPEND | O_CLOEXEC | 0100000);
}

CASE(status_fields)
{
	char *v;
	umask(026);
	v = field(get_file("/proc/self/status"), "Name");
	EXPECT_STR(v ? v : "", program_invocation_short_name);
	v = field(get_file("/proc/self/status"), "Umask");
	EXPECT_STR(v ? v : "", "0026");
	v = field(get_file("/proc/self/status"), "State");
	EXPECT_STR(v ? v : "", "R (running)");
	v = field(get_file("/proc/self/status"), "Pid");
	EXPECT_EQ(v ? atoi(v) : -1, getpid());
	v = field(get_file("/proc/self/status"), "PPid");
	EXPECT_EQ(v ? atoi(v) : -1, getppid());
	v = field(get_file("/proc/self/status"), "Uid");
	char want[64];
	snprintf(want, sizeof want, "%d\t%d\t%d\t%d", getuid(), getuid(), getuid(), getuid());
	EXPECT_STR(v ? v : "", want);
	v = field(get_file("/proc/self/status"), "Threads");
	EXPECT_STR(v ? v : "", "1");
	v = field(get_file("/proc/self/status"), "SigBlk");
	EXPECT_STR(v ? v : "", "0000000000000000");
	v = field(get_file("/proc/self/status"), "VmSize");
	CHECK(v && atoi(v) > 0 && strstr(v, " kB"));
	v = field(get_file("/proc/self/status"), "NoNewPrivs");
	EXPECT_STR(v ? v : "", "0");
}

CASE(stat_fields)
{
	char comm[64], state;
	int pid, ppid, pgrp, session, tty;
	EXPECT_EQ(sscanf(get_file("/proc/self/stat"), "%d (%63[^)]) %c %d %d %d %d", &pid, comm, &state, &ppid, &pgrp,
			 &session, &tty),
		  7);
	EXPECT_EQ(pid, getpid());
	EXPECT_STR(comm, program_invocation_short_name);
	EXPECT_EQ(state, 'R');
	EXPECT_EQ(ppid, getppid());
	EXPECT_EQ(pgrp, getpgrp());
	EXPECT_EQ(session, getsid(0));
	EXPECT_EQ(tty, 0);
	char *text = get_file("/proc/self/stat");
	int spaces = 0;
	for (char *at = text; *at; at++)
		spaces += *at == ' ';
	EXPECT_EQ(spaces, 51); /* 52 fields */
	EXPECT_EQ(text[strlen(text) - 1], '\n');
}

CASE(name_can_be_set)
{
	int fd = EXPECT_OK(open("/proc/self/comm", O_RDWR));
	EXPECT_EQ(write(fd, "a name that is too long", 23), 23);
	EXPECT_STR(get_file("/proc/self/comm"), "a name that is \n");
}

CASE(limits_file)
{
	struct rlimit lim = {123, 456};
	EXPECT_OK(setrlimit(RLIMIT_NOFILE, &lim));
	char *text = get_file("/proc/self/limits");
	CHECK(strstr(text, "Max open files            123                  456                  files     \n"));
	CHECK(strstr(text, "Max core file size        0                    0                    bytes     \n"));
}

CASE(directory_of_another)
{
	struct gate g = gate_new();
	CHILD(p) {
		gate_wait(&g);
	}
	char path[64], want[64];
	snprintf(path, sizeof path, "/proc/%d/status", p);
	char *v = field(get_file(path), "PPid");
	snprintf(want, sizeof want, "%d", getpid());
	EXPECT_STR(v ? v : "", want);
	int fd = EXPECT_OK(open(path, O_RDONLY));
	snprintf(path, sizeof path, "/proc/%d", p);
	int dir = EXPECT_OK(open(path, O_RDONLY));
	struct stat st;
	EXPECT_OK(fstat(dir, &st));
	EXPECT_EQ(st.st_mode, S_IFDIR | 0555);
	EXPECT_EQ(st.st_uid, geteuid());
	gate_open(&g);
	JOIN(p);
	char c;
	EXPECT_ERRNO(read(fd, &c, 1), ESRCH); /* the process is gone */
	EXPECT_ERRNO(openat(dir, "status", O_RDONLY), ESRCH);
	CHECK(!exists(path));
}

CASE(zombies_are_listed)
{
	char path[64], c;
	int ends[2];
	EXPECT_OK(pipe(ends));
	CHILD(p) {
	}
	siginfo_t si;
	EXPECT_OK(waitid(P_PID, p, &si, WEXITED | WNOWAIT));
	(void)c;
	snprintf(path, sizeof path, "/proc/%d/status", p);
	char *v = field(get_file(path), "State");
	EXPECT_STR(v ? v : "", "Z (zombie)");
	snprintf(path, sizeof path, "/proc/%d/cmdline", p);
	EXPECT_STR(get_file(path), "");
	snprintf(path, sizeof path, "/proc/%d/exe", p);
	char buf[16];
	EXPECT_ERRNO(readlink(path, buf, sizeof buf), ENOENT);
	JOIN(p);
}

CASE(strangers_see_less)
{
	needs_root();
	struct gate g = gate_new();
	CHILD(root) {
		gate_wait(&g);
	}
	CHILD(p) {
		char path[64], buf[64];
		become_user(1000, 1000);
		snprintf(path, sizeof path, "/proc/%d/environ", root);
		EXPECT_ERRNO(open(path, O_RDONLY), EACCES);
		snprintf(path, sizeof path, "/proc/%d/cwd", root);
		EXPECT_ERRNO(readlink(path, buf, sizeof buf), EACCES);
		snprintf(path, sizeof path, "/proc/%d/fd", root);
		EXPECT_ERRNO(open(path, O_RDONLY), EACCES);
		snprintf(path, sizeof path, "/proc/%d/status", root);
		EXPECT_OK(open(path, O_RDONLY));
		snprintf(path, sizeof path, "/proc/%d/cmdline", root);
		EXPECT_OK(open(path, O_RDONLY));
	}
	JOIN(p);
	gate_open(&g);
	JOIN(root);
}

static void *sit(void *arg)
{
	gate_wait(arg);
	return NULL;
}

CASE(threads_are_tasks)
{
	struct gate g = gate_new();
	pthread_t t = thread_start(sit, &g);
	DIR *d = opendir("/proc/self/task");
	CHECK(d);
	int count = 0;
	for (struct dirent *e; (e = readdir(d));)
		count += e->d_name[0] != '.';
	EXPECT_EQ(count, 2);
	char *v = field(get_file("/proc/self/status"), "Threads");
	EXPECT_STR(v ? v : "", "2");
	gate_open(&g);
	thread_join(t);
}

CASE(machine_tables)
{
	char *text = get_file("/proc/meminfo");
	long total, avail;
	CHECK(sscanf(text, "MemTotal: %ld kB", &total) == 1 && total > 0);
	char *at = strstr(text, "\nMemAvailable:");
	CHECK(at && sscanf(at, "\nMemAvailable: %ld kB", &avail) == 1 && avail > 0 && avail <= total);
	double up, idle;
	EXPECT_EQ(sscanf(get_file("/proc/uptime"), "%lf %lf", &up, &idle), 2);
	CHECK(up > 0);
	struct sysinfo si;
	EXPECT_OK(sysinfo(&si));
	CHECK(si.uptime >= (long)up - 2 && si.uptime <= (long)up + 10);
	double l1, l5, l15;
	int running, tasks, last;
	EXPECT_EQ(sscanf(get_file("/proc/loadavg"), "%lf %lf %lf %d/%d %d", &l1, &l5, &l15, &running, &tasks, &last), 6);
	CHECK(strstr(get_file("/proc/cpuinfo"), "processor\t: 0\n"));
	text = get_file("/proc/stat");
	CHECK(!strncmp(text, "cpu  ", 5) && strstr(text, "\ncpu0 ") && strstr(text, "\nbtime "));
	CHECK(!strncmp(get_file("/proc/version"), "Linux version ", 14));
	text = get_file("/proc/filesystems");
	CHECK(strstr(text, "nodev\tproc\n") && strstr(text, "nodev\ttmpfs\n"));
}

CASE(kernel_parameters)
{
	CHECK(atoi(get_file("/proc/sys/kernel/pid_max")) >= 301);
	CHECK(strlen(get_file("/proc/sys/kernel/hostname")) > 1);
	EXPECT_STR(get_file("/proc/sys/kernel/ostype"), "Linux\n");
	CHECK(atoi(get_file("/proc/sys/fs/pipe-max-size")) >= 65536);
	CHECK(atoi(get_file("/proc/sys/vm/overcommit_memory")) <= 2);
	char *id = get_file("/proc/sys/kernel/random/boot_id");
	EXPECT_EQ(strlen(id), 37);
	char a[64];
	strcpy(a, get_file("/proc/sys/kernel/random/uuid"));
	CHECK(strcmp(a, get_file("/proc/sys/kernel/random/uuid")) != 0);
	struct stat st;
	EXPECT_OK(stat("/proc/sys/kernel/ostype", &st));
	EXPECT_EQ(st.st_mode, S_IFREG | 0444);
	EXPECT_EQ(st.st_size, 0);
}

CASE(reading_in_pieces)
{
	char whole[4096], c;
	snprintf(whole, sizeof whole, "%s", get_file("/proc/self/limits"));
	int fd = EXPECT_OK(open("/proc/self/limits", O_RDONLY));
	for (int i = 0; i < 200; i++) {
		EXPECT_EQ(read(fd, &c, 1), 1);
		EXPECT_EQ(c, whole[i]);
	}
	EXPECT_EQ(pread(fd, &c, 1, 7), 1);
	EXPECT_EQ(c, whole[7]);
	EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
	EXPECT_EQ(read(fd, &c, 1), 1);
	EXPECT_EQ(c, whole[0]);
	EXPECT_EQ(pread(fd, &c, 1, 1 << 20), 0);
}
