/* execve(2): what programs are accepted, what they are given, and what of a process outlives the change. */
#include "waits.h"
#include <elf.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/utsname.h>

static void put_program(const char *path, const char *text)
{
	put_file(path, text);
	EXPECT_OK(chmod(path, 0755));
}

/* Runs a shell text in a child, whose output is in "out" then. */
static void shell(const char *text)
{
	CHILD(p) {
		int fd = EXPECT_OK(open("out", O_WRONLY | O_CREAT | O_TRUNC, 0600));
		EXPECT_OK(dup2(fd, 1));
		execl("/bin/sh", "sh", "-c", text, NULL);
		_exit(127);
	}
	JOIN(p);
}

static char *const no_args[] = {"x", NULL};
static char *const no_env[] = {NULL};

CASE(errors)
{
	EXPECT_ERRNO(execve("none", no_args, no_env), ENOENT);
	EXPECT_ERRNO(execve("", no_args, no_env), ENOENT);
	EXPECT_ERRNO(execve("/", no_args, no_env), EACCES);
	EXPECT_ERRNO(execve("/dev/null", no_args, no_env), EACCES);
	EXPECT_ERRNO(execve((void *)8, no_args, no_env), EFAULT);
	put_file("plain", "#!/bin/true\n");
	EXPECT_ERRNO(execve("plain", no_args, no_env), EACCES); /* not even root may without an x bit */
	EXPECT_ERRNO(execve("plain/x", no_args, no_env), ENOTDIR);
	put_program("text", "no program\n");
	EXPECT_ERRNO(execve("text", no_args, no_env), ENOEXEC);
	put_program("empty", "");
	EXPECT_ERRNO(execve("empty", no_args, no_env), ENOEXEC);
	put_program("short", "\177ELF");
	EXPECT_ERRNO(execve("short", no_args, no_env), ENOEXEC);
	put_program("lost", "#!/no/such/interpreter\n");
	EXPECT_ERRNO(execve("lost", no_args, no_env), ENOENT);
	EXPECT_OK(symlink("loop", "loop"));
	EXPECT_ERRNO(execve("loop", no_args, no_env), ELOOP);
	EXPECT_ERRNO(execve("text", (void *)8, no_env), EFAULT);
	char *bad[] = {"x", (void *)8, NULL};
	EXPECT_ERRNO(execve("text", bad, no_env), EFAULT);
	EXPECT_ERRNO(execve("text", no_args, bad), EFAULT);
}

CASE(elf_errors)
{
	/* A program of our own, changed in one place each. */
	static char image[1 << 20];
	int fd = EXPECT_OK(open("/bin/true", O_RDONLY));
	ssize_t size = EXPECT_OK(read(fd, image, sizeof image));
	Elf64_Ehdr *head = (void *)image, good = *head;
	for (int i = 0; i < 4; i++) {
		*head = good;
		switch (i) {
		case 0: head->e_machine = EM_AARCH64; break;
		case 1: head->e_type = ET_REL; break;
		case 2: head->e_phentsize = 1; break;
		case 3: head->e_phnum = 0; break;
		}
		fd = EXPECT_OK(open("prog", O_WRONLY | O_CREAT | O_TRUNC, 0755));
		EXPECT_EQ(write(fd, image, size), size);
		EXPECT_OK(close(fd));
		EXPECT_ERRNO(execve("prog", no_args, no_env), ENOEXEC);
	}
}

CASE(text_is_busy)
{
	shell("cat /bin/true >prog; chmod 755 prog");
	int fd = EXPECT_OK(open("prog", O_WRONLY));
	EXPECT_ERRNO(execve("prog", no_args, no_env), ETXTBSY);
	EXPECT_OK(close(fd));
	CHILD(p) {
		execve("prog", no_args, no_env);
		_exit(9);
	}
	JOIN(p);
	shell("cat /bin/sleep >prog");
	int ready[2];
	EXPECT_OK(pipe2(ready, O_CLOEXEC));
	CHILD(q) {
		execl("prog", "sleep", "100", NULL);
		_exit(9);
	}
	EXPECT_OK(close(ready[1]));
	char c;
	EXPECT_EQ(read(ready[0], &c, 1), 0); /* it runs */
	EXPECT_ERRNO(open("prog", O_WRONLY), ETXTBSY);
	EXPECT_ERRNO(truncate("prog", 0), ETXTBSY);
	EXPECT_OK(close(EXPECT_OK(open("prog", O_RDONLY))));
	EXPECT_OK(unlink("prog"));
	EXPECT_OK(kill(q, SIGKILL));
	EXPECT_KILLED(q, SIGKILL);
}

CASE(scripts)
{
	put_program("show", "#!/bin/sh\nfor a; do printf '[%s]' \"$a\"; done >out; printf '{%s}' \"$0\" >>out\n");
	put_program("one", "#!./show\n");
	put_program("arg", "#!./show  a  b \t\nrest\n");
	put_program("tab", "#! \t./show\tx\n");
	put_program("unended", "#!./show last");
	static const struct {
		const char *prog, *want;
	} tries[] = {{"one", "[./one][p][q]{./show}"},
		     {"arg", "[a  b][./arg][p][q]{./show}"},
		     {"tab", "[x][./tab][p][q]{./show}"},
		     {"unended", "[last][./unended][p][q]{./show}"}};
	for (unsigned i = 0; i < sizeof tries / sizeof *tries; i++) {
		char path[32];
		snprintf(path, sizeof path, "./%s", tries[i].prog);
		CHILD(p) {
			execl(path, "ignored", "p", "q", NULL);
			_exit(9);
		}
		JOIN(p);
		EXPECT_STR(get_file("out"), tries[i].want);
	}
	put_program("nothing", "#!\n");
	EXPECT_ERRNO(execve("nothing", no_args, no_env), ENOEXEC);
	put_program("blank", "#!   \n");
	EXPECT_ERRNO(execve("blank", no_args, no_env), ENOEXEC);
	put_program("dir", "#!/\n");
	EXPECT_ERRNO(execve("dir", no_args, no_env), EACCES);
}

CASE(scripts_of_scripts)
{
	put_program("s0", "#!/bin/true\n");
	for (int i = 1; i <= 6; i++) {
		char name[8], text[16];
		snprintf(name, sizeof name, "s%d", i);
		snprintf(text, sizeof text, "#!./s%d\n", i - 1);
		put_program(name, text);
	}
	for (int i = 0; i <= 4; i++) {
		char name[8];
		snprintf(name, sizeof name, "s%d", i);
		CHILD(p) {
			execve(name, no_args, no_env);
			_exit(9);
		}
		JOIN(p);
	}
	EXPECT_ERRNO(execve("s5", no_args, no_env), ELOOP);
	EXPECT_ERRNO(execve("s6", no_args, no_env), ELOOP);
	put_program("self", "#!./self\n");
	EXPECT_ERRNO(execve("self", no_args, no_env), ELOOP);
}

CASE(long_first_lines)
{
	/* 256 bytes are looked at; an interpreter's name that is cut off is not used. */
	char text[400] = "#!/bin/true ";
	memset(text + 12, 'a', 380);
	strcpy(text + 392, "\n");
	put_program("longarg", text);
	CHILD(p) {
		execve("longarg", no_args, no_env);
		_exit(9);
	}
	JOIN(p);
	memset(text + 2, '/', 300);
	memcpy(text + 290, "bin/true\n", 10);
	put_program("longname", text);
	EXPECT_ERRNO(execve("longname", no_args, no_env), ENOEXEC);
}

CASE(arguments_and_environment)
{
	CHILD(p) {
		int fd = EXPECT_OK(open("out", O_WRONLY | O_CREAT, 0600));
		EXPECT_OK(dup2(fd, 1));
		execle("/bin/sh", "sh", "-c", "printf '%s|' \"$0\" \"$@\" \"$V\"; tr '\\0' , </proc/$$/cmdline", "zero", "", "a b", "\303\244",
		       NULL, (char *[]){"V=w w", NULL});
		_exit(9);
	}
	JOIN(p);
	CHECK(strstr(get_file("out"), "zero||a b|\303\244|w w|sh,-c,") == get_file("out"));
	CHECK(strstr(get_file("out"), ",zero,,a b,\303\244,"));
	CHILD(q) { /* nobody passes nothing: the first argument is made up */
		int fd = EXPECT_OK(open("out", O_WRONLY | O_TRUNC));
		EXPECT_OK(dup2(fd, 1));
		char *const none[] = {NULL};
		execve("/bin/pwd", none, no_env);
		_exit(9);
	}
	int status = WAIT(q);
	CHECK(WIFEXITED(status));
	CHECK(WEXITSTATUS(status) != 9);
}

CASE(arguments_too_long)
{
	static char big[(32 << 12) + 2];
	memset(big, 'x', sizeof big - 1);
	char *args[] = {"true", big, NULL};
	EXPECT_ERRNO(execve("/bin/true", args, no_env), E2BIG); /* one string, with its end, up to 32 pages */
	EXPECT_ERRNO(execve("/bin/true", no_args, args), E2BIG);
	CHILD(p) {
		big[sizeof big - 3] = 0;
		execve("/bin/true", args, no_env);
		_exit(9);
	}
	JOIN(p);
	CHILD(q) { /* all of them: a quarter of the stack's limit, and at least 128 KiB */
		struct rlimit rl = {1 << 20, 1 << 20};
		EXPECT_OK(setrlimit(RLIMIT_STACK, &rl));
		static char *many[300];
		static char piece[1000];
		memset(piece, 'y', sizeof piece - 1);
		for (int i = 0; i < 299; i++)
			many[i] = piece;
		EXPECT_ERRNO(execve("/bin/true", many, no_env), E2BIG);
		many[200] = NULL;
		execve("/bin/true", many, no_env);
		_exit(9);
	}
	JOIN(q);
}

CASE(auxiliary_vector)
{
	EXPECT_EQ(getauxval(AT_PAGESZ), 4096);
	EXPECT_EQ(getauxval(AT_CLKTCK), 100);
	EXPECT_EQ(getauxval(AT_UID), getuid());
	EXPECT_EQ(getauxval(AT_EUID), geteuid());
	EXPECT_EQ(getauxval(AT_GID), getgid());
	EXPECT_EQ(getauxval(AT_EGID), getegid());
	EXPECT_EQ(getauxval(AT_SECURE), 0);
	EXPECT_EQ(getauxval(AT_PHENT), sizeof(Elf64_Phdr));
	EXPECT_STR((char *)getauxval(AT_PLATFORM), "x86_64");
	const Elf64_Ehdr *vdso = (void *)getauxval(AT_SYSINFO_EHDR);
	CHECK(vdso && !memcmp(vdso->e_ident, ELFMAG, SELFMAG));
	const Elf64_Phdr *ph = (void *)getauxval(AT_PHDR);
	CHECK(ph && ph->p_type == PT_PHDR);
	CHECK(getauxval(AT_PHNUM) > 3);
	CHECK(getauxval(AT_RANDOM) != 0);
	CHECK(getauxval(AT_BASE) % 4096 == 0 && getauxval(AT_BASE) != 0);
	CHECK(getauxval(AT_ENTRY) != 0);
	CHECK(getauxval(AT_EXECFN) != 0);
	shell("LD_SHOW_AUXV=1 /bin/true | grep EXECFN | tr -d ' \\t'");
	EXPECT_STR(get_file("out"), "AT_EXECFN:/bin/true\n");
}

CASE(descriptors_and_directory)
{
	EXPECT_OK(mkdir("d", 0755));
	int keep = EXPECT_OK(open("kept", O_RDWR | O_CREAT, 0600)), lost = EXPECT_OK(open("lost", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	EXPECT_EQ(write(keep, "abc", 3), 3);
	EXPECT_OK(dup2(keep, 8));
	EXPECT_OK(dup3(lost, 41, O_CLOEXEC));
	CHILD(p) {
		EXPECT_OK(chdir("d"));
		umask(027);
		execl("/bin/sh", "sh", "-c", "[ -e /proc/self/fd/8 ] && [ ! -e /proc/self/fd/41 ] && echo -n d >&8 && echo >new && pwd >../cwd", NULL);
		_exit(9);
	}
	JOIN(p);
	EXPECT_STR(get_file("kept"), "abcd"); /* one offset */
	struct stat st;
	EXPECT_OK(stat("d/new", &st));
	EXPECT_EQ(st.st_mode & 0777, 0640);
	CHECK(strstr(get_file("cwd"), "/d\n"));
}

CASE(signals_that_were_caught)
{
	count_signal(SIGUSR1, 0);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	block(SIGHUP);
	struct gate ready = gate_new();
	CHILD(p) {
		EXPECT_OK(dup2(ready.fd[1], 9));
		execl("/bin/sh", "sh", "-c", "kill -USR2 $$; echo -n g >&9; kill -USR1 $$; sleep 100", NULL);
		_exit(9);
	}
	gate_wait(&ready); /* past the ignored one */
	EXPECT_KILLED(p, SIGUSR1); /* caught before, its default now */
}

CASE(identity_stays)
{
	CHILD(p) {
		EXPECT_OK(setpgid(0, 0));
		nice(3);
		EXPECT_OK(prctl(PR_SET_NAME, "before"));
		char text[256];
		snprintf(text, sizeof text, "[ $(nice) = 3 ] && [ $$ = %d ] && [ $PPID = %d ] && [ \"$(cat /proc/$$/comm)\" = sh ]", getpid(),
			 getppid());
		execl("/bin/sh", "sh", "-c", text, NULL);
		_exit(9);
	}
	JOIN(p);
}

static void *exec_now(void *arg)
{
	(void)arg;
	execl("/bin/sh", "sh", "-c", "[ $$ = $WANT ]", NULL);
	_exit(9);
}

static void *spin(void *arg)
{
	for (;;)
		*(volatile char *)&arg = 0;
	return NULL;
}

CASE(from_a_thread)
{
	/* The thread takes over the process's id, and all others are gone. */
	CHILD(p) {
		char pid[16];
		snprintf(pid, sizeof pid, "%d", getpid());
		setenv("WANT", pid, 1);
		thread_start(spin, NULL);
		thread_start(exec_now, NULL);
		for (;;)
			pause();
	}
	JOIN(p);
}

CASE(failure_leaves_the_threads)
{
	put_program("text", "no program\n");
	CHILD(p) {
		thread_start(spin, NULL);
		EXPECT_ERRNO(execve("text", no_args, no_env), ENOEXEC);
		EXPECT_ERRNO(execve("none", no_args, no_env), ENOENT);
		int n = 0;
		char *text = get_file("/proc/self/status");
		CHECK(sscanf(strstr(text, "\nThreads:"), "\nThreads: %d", &n) == 1);
		EXPECT_EQ(n, 2);
	}
	JOIN(p);
}

CASE(by_descriptor)
{
	int fd = EXPECT_OK(open("/bin/sh", O_RDONLY | O_CLOEXEC)), path = EXPECT_OK(open("/bin/sh", O_PATH | O_CLOEXEC));
	char *const args[] = {"sh", "-c", "exit 4", NULL};
	CHILD(p) {
		fexecve(fd, args, no_env);
	}
	EXPECT_EXIT(p, 4);
	CHILD(q) {
		syscall(SYS_execveat, path, "", args, no_env, AT_EMPTY_PATH);
	}
	EXPECT_EXIT(q, 4);
	EXPECT_ERRNO(syscall(SYS_execveat, path, "", args, no_env, 0), ENOENT);
	EXPECT_ERRNO(syscall(SYS_execveat, 99, "x", args, no_env, 0), EBADF);
	EXPECT_ERRNO(syscall(SYS_execveat, fd, "x", args, no_env, 0), ENOTDIR);
	EXPECT_ERRNO(syscall(SYS_execveat, fd, "", args, no_env, AT_EMPTY_PATH | 0x40), EINVAL);
	EXPECT_OK(symlink("/bin/sh", "link"));
	EXPECT_ERRNO(syscall(SYS_execveat, AT_FDCWD, "link", args, no_env, AT_SYMLINK_NOFOLLOW), ELOOP);
	put_program("script", "#!/bin/sh\nexit 6\n");
	int script = EXPECT_OK(open("script", O_RDONLY)), closed = EXPECT_OK(open("script", O_RDONLY | O_CLOEXEC));
	CHILD(r) {
		fexecve(script, args, no_env);
	}
	EXPECT_EXIT(r, 6);
	EXPECT_ERRNO(fexecve(closed, args, no_env), ENOENT); /* its interpreter could not open it any more */
}

CASE(set_user_id)
{
	needs_root();
	shell("cat /usr/bin/id >prog");
	EXPECT_OK(chown("prog", 1234, 2345));
	EXPECT_OK(chmod("prog", 06755));
	CHILD(p) {
		int fd = EXPECT_OK(open("out", O_WRONLY | O_CREAT | O_TRUNC, 0666));
		EXPECT_OK(dup2(fd, 1));
		become_user(4321, 4322);
		execl("prog", "id", "-u", NULL);
		_exit(9);
	}
	JOIN(p);
	EXPECT_STR(get_file("out"), "1234\n");
	CHILD(q) { /* unless new privileges are given up */
		int fd = EXPECT_OK(open("out", O_WRONLY | O_CREAT | O_TRUNC, 0666));
		EXPECT_OK(dup2(fd, 1));
		become_user(4321, 4322);
		EXPECT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		execl("prog", "id", "-u", NULL);
		_exit(9);
	}
	JOIN(q);
	EXPECT_STR(get_file("out"), "4321\n");
}

/* Where a program's parts are. */
static char *addresses(void)
{
	shell("grep -v heap /proc/self/maps | cut -d- -f1");
	return strdup(get_file("out"));
}

CASE(addresses_are_random_unless_asked)
{
	CHECK(strcmp(addresses(), addresses()) != 0);
	EXPECT_OK(personality(ADDR_NO_RANDOMIZE));
	char *first = addresses();
	CHECK(strlen(first) > 100);
	EXPECT_STR(addresses(), first);
}
