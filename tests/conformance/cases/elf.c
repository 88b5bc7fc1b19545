/* The program loader on damaged, absurd and hostile files: what execve(2) answers, and what becomes of the process. The code
 * in them is nothing but breakpoints, so that none does any harm wherever it starts. */
#include "../harness.h"
#include <elf.h>
#include <stddef.h>
#include <sys/wait.h>

enum { TEXT = 0x1000, DATA = 0x2000, END = 0x3000, PROGRAMS = 6 };

struct image {
	Elf64_Ehdr head;
	Elf64_Phdr part[PROGRAMS];
	char interp[64];
	char rest[TEXT - sizeof(Elf64_Ehdr) - PROGRAMS * sizeof(Elf64_Phdr) - 64];
	unsigned char text[DATA - TEXT];
	unsigned char data[END - DATA];
};
_Static_assert(sizeof(struct image) == END, "no holes");

enum { HEADERS, CODE, VARIABLES, STACK, NOTE, LAST };

static Elf64_Phdr part(uint32_t type, uint32_t flags, uint64_t offset, uint64_t addr, uint64_t len)
{
	return (Elf64_Phdr){type, flags, offset, addr, addr, len, len, 0x1000};
}

/* A small program that is well formed. */
static struct image *whole(int type)
{
	static struct image i;
	uint64_t base = type == ET_EXEC ? 0x400000 : 0;
	memset(&i, 0, sizeof i);
	memcpy(i.head.e_ident, ELFMAG "\x02\x01\x01", 7);
	i.head.e_type = type;
	i.head.e_machine = EM_X86_64;
	i.head.e_version = 1;
	i.head.e_entry = base + TEXT + 16;
	i.head.e_phoff = offsetof(struct image, part);
	i.head.e_ehsize = sizeof i.head;
	i.head.e_phentsize = sizeof *i.part;
	i.head.e_phnum = PROGRAMS;
	i.part[HEADERS] = part(PT_LOAD, PF_R, 0, base, TEXT);
	i.part[CODE] = part(PT_LOAD, PF_R | PF_X, TEXT, base + TEXT, DATA - TEXT);
	i.part[VARIABLES] = part(PT_LOAD, PF_R | PF_W, DATA, base + DATA, END - DATA);
	i.part[STACK] = part(PT_GNU_STACK, PF_R | PF_W, 0, 0, 0);
	i.part[NOTE] = part(PT_NOTE, PF_R, 512, base + 512, 32);
	i.part[LAST] = part(PT_NULL, 0, 0, 0, 0);
	memset(i.text, 0xcc, sizeof i.text);
	memset(i.data, 0xcc, sizeof i.data);
	strcpy(i.interp, "./interp");
	return &i;
}

static void put(const char *name, const void *bytes, size_t len)
{
	int fd = EXPECT_OK(open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755));
	EXPECT_EQ(write(fd, bytes, len), len);
	EXPECT_OK(close(fd));
}

/* What comes of executing it: an errno's name, or how the process ends. */
static const char *outcome(const char *name)
{
	static char text[64];
	int answer[2], e = 0;
	EXPECT_OK(pipe2(answer, O_CLOEXEC));
	CHILD(p) {
		execl(name, name, NULL);
		e = errno;
		EXPECT_EQ(write(answer[1], &e, sizeof e), sizeof e);
	}
	EXPECT_OK(close(answer[1]));
	ssize_t n = EXPECT_OK(read(answer[0], &e, sizeof e));
	EXPECT_OK(close(answer[0]));
	int status = WAIT(p);
	if (n > 0)
		return conf_errname(e);
	snprintf(text, sizeof text, WIFSIGNALED(status) ? "SIG%s" : "%s%d", WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "exit ",
		 WEXITSTATUS(status));
	return text;
}

static const char *outcome_of(const struct image *i)
{
	put("program", i, sizeof *i);
	return outcome("./program");
}

/* Runs the image with one change. */
#define WITH(type, change)                                                               \
	do {                                                                             \
		struct image *i = whole(type);                                           \
		change;                                                                  \
		RECORD(#type ": " #change, "%s", outcome_of(i));                         \
	} while (0)
#define ALWAYS(change)                                                                   \
	do {                                                                             \
		WITH(ET_EXEC, change);                                                   \
		WITH(ET_DYN, change);                                                    \
	} while (0)

CASE(whole_programs_start)
{
	EXPECT_STR(outcome_of(whole(ET_EXEC)), "SIGTRAP");
	EXPECT_STR(outcome_of(whole(ET_DYN)), "SIGTRAP");
}

CASE(absurd_headers)
{
	ALWAYS(i->head.e_ident[EI_MAG0] = 'E');
	ALWAYS(i->head.e_ident[EI_CLASS] = ELFCLASS32);
	ALWAYS(i->head.e_ident[EI_DATA] = ELFDATA2MSB);
	ALWAYS(i->head.e_ident[EI_VERSION] = 9);
	ALWAYS(i->head.e_ident[EI_OSABI] = 99);
	ALWAYS(i->head.e_version = 77);
	ALWAYS(i->head.e_type = ET_NONE);
	ALWAYS(i->head.e_type = ET_REL);
	ALWAYS(i->head.e_type = ET_CORE);
	ALWAYS(i->head.e_type = 0xffff);
	ALWAYS(i->head.e_machine = EM_386);
	ALWAYS(i->head.e_machine = EM_AARCH64);
	ALWAYS(i->head.e_ehsize = 0);
	ALWAYS(i->head.e_flags = 0xffffffff);
	ALWAYS(i->head.e_shoff = -1UL);
	ALWAYS(i->head.e_phentsize = 0);
	ALWAYS(i->head.e_phentsize = 55);
	ALWAYS(i->head.e_phentsize = 57);
	ALWAYS(i->head.e_phnum = 0);
	ALWAYS(i->head.e_phnum = 1);
	ALWAYS(i->head.e_phnum = 1170);
	ALWAYS(i->head.e_phnum = 1171);
	ALWAYS(i->head.e_phnum = 0xffff);
	ALWAYS(i->head.e_phoff = 0);
	ALWAYS(i->head.e_phoff = 1);
	ALWAYS(i->head.e_phoff = END - 8);
	ALWAYS(i->head.e_phoff = 1UL << 40);
	ALWAYS(i->head.e_phoff = INT64_MAX);
	ALWAYS(i->head.e_phoff = 1UL << 63);
	ALWAYS(i->head.e_phoff = -1UL);
	ALWAYS(i->head.e_entry = 0);
	ALWAYS(i->head.e_entry = 1UL << 46);
	ALWAYS(i->head.e_entry = 1UL << 47);
	ALWAYS(i->head.e_entry = 1UL << 63);
	ALWAYS(i->head.e_entry = -1UL);
}

CASE(absurd_segments)
{
	ALWAYS(i->part[CODE].p_memsz = 0);
	ALWAYS(i->part[CODE].p_filesz = i->part[CODE].p_memsz = 0);
	ALWAYS(i->part[CODE].p_filesz = 0);
	ALWAYS(i->part[CODE].p_filesz += 1);
	ALWAYS(i->part[CODE].p_flags = 0);
	ALWAYS(i->part[CODE].p_flags = PF_X);
	ALWAYS(i->part[CODE].p_flags = PF_R | PF_W | PF_X);
	ALWAYS(i->part[CODE].p_flags = 0xfffffff8);
	ALWAYS(i->part[CODE].p_type = PT_NULL);
	ALWAYS(i->part[CODE].p_offset += 1);
	ALWAYS(i->part[CODE].p_offset = 1UL << 40);
	ALWAYS(i->part[CODE].p_offset = INT64_MAX - 0xfff);
	ALWAYS(i->part[CODE].p_offset = -0x1000UL);
	ALWAYS(i->part[CODE].p_vaddr += 1);
	ALWAYS(i->part[CODE].p_vaddr = 0);
	ALWAYS(i->part[CODE].p_vaddr = 1UL << 46);
	ALWAYS(i->part[CODE].p_vaddr = (1UL << 47) - 0x1000);
	ALWAYS(i->part[CODE].p_vaddr = 1UL << 47);
	ALWAYS(i->part[CODE].p_vaddr = 1UL << 63);
	ALWAYS(i->part[CODE].p_vaddr = -0x1000UL);
	ALWAYS(i->part[CODE].p_memsz = i->part[CODE].p_filesz = 1UL << 46);
	ALWAYS(i->part[CODE].p_memsz = i->part[CODE].p_filesz = 1UL << 47);
	ALWAYS(i->part[CODE].p_memsz = i->part[CODE].p_filesz = -1UL);
	ALWAYS(i->part[VARIABLES].p_memsz += 1);
	ALWAYS(i->part[VARIABLES].p_memsz += 0x5000);
	ALWAYS(i->part[VARIABLES].p_memsz = 1UL << 45);
	ALWAYS(i->part[VARIABLES].p_memsz = 1UL << 48);
	ALWAYS(i->part[VARIABLES].p_memsz = -1UL);
	ALWAYS(i->part[VARIABLES].p_vaddr = i->part[CODE].p_vaddr);
	ALWAYS(i->part[VARIABLES].p_vaddr = i->part[CODE].p_vaddr - 0x1000);
	ALWAYS(i->part[VARIABLES].p_align = 0);
	ALWAYS(i->part[VARIABLES].p_align = 3);
	ALWAYS(i->part[HEADERS].p_align = 1 << 21);
	ALWAYS(i->part[HEADERS].p_align = 1UL << 40);
	ALWAYS(i->part[HEADERS].p_align = 1UL << 63);
	ALWAYS(i->part[HEADERS].p_align = -1UL);
	ALWAYS(i->part[HEADERS].p_type = i->part[CODE].p_type = i->part[VARIABLES].p_type = PT_NULL);
	ALWAYS(i->part[STACK].p_flags = PF_R | PF_W | PF_X);
	ALWAYS(i->part[STACK].p_flags = 0);
	ALWAYS(i->part[STACK].p_memsz = -1UL);
	ALWAYS(i->part[NOTE].p_type = PT_GNU_PROPERTY);
	ALWAYS(i->part[NOTE].p_type = PT_GNU_PROPERTY; i->part[NOTE].p_filesz = 1UL << 40);
	ALWAYS(i->part[NOTE].p_type = PT_TLS; i->part[NOTE].p_memsz = -1UL);
	ALWAYS(i->part[NOTE].p_type = PT_DYNAMIC; i->part[NOTE].p_offset = -1UL);
	ALWAYS(i->part[NOTE].p_type = PT_PHDR; i->part[NOTE].p_vaddr = -1UL);
}

/* Has the program ask for an interpreter. */
static void ask(struct image *i, uint64_t offset, uint64_t len)
{
	i->part[LAST] = part(PT_INTERP, PF_R, offset, 0, len);
}

CASE(absurd_interpreters)
{
	const uint64_t at = offsetof(struct image, interp);
	ALWAYS(ask(i, at, 9)); /* is not there */
	put("interp", "", 0);
	ALWAYS(ask(i, at, 9));
	put("interp", "#!/bin/sh\n", 10);
	ALWAYS(ask(i, at, 9));
	put("interp", whole(ET_DYN), 40);
	ALWAYS(ask(i, at, 9));
	put("interp", whole(ET_DYN), sizeof(struct image));
	ALWAYS(ask(i, at, 9));
	put("interp", whole(ET_EXEC), sizeof(struct image));
	WITH(ET_DYN, ask(i, at, 9));
	struct image *bad = whole(ET_DYN);
	bad->head.e_machine = EM_386;
	put("interp", bad, sizeof *bad);
	ALWAYS(ask(i, at, 9));
	bad = whole(ET_DYN);
	bad->part[CODE].p_memsz = -1UL;
	put("interp", bad, sizeof *bad);
	ALWAYS(ask(i, at, 9));
	bad = whole(ET_DYN);
	bad->head.e_entry = 1UL << 63;
	put("interp", bad, sizeof *bad);
	ALWAYS(ask(i, at, 9));
	EXPECT_OK(chmod("interp", 0644));
	ALWAYS(ask(i, at, 9));
	EXPECT_OK(unlink("interp"));
	EXPECT_OK(mkdir("interp", 0755));
	ALWAYS(ask(i, at, 9));
	ALWAYS(ask(i, at, 0));
	ALWAYS(ask(i, at, 1));
	ALWAYS(ask(i, at, 8)); /* without its end */
	ALWAYS(ask(i, at, 4096));
	ALWAYS(ask(i, at, 4097));
	ALWAYS(ask(i, at, -1UL));
	ALWAYS(ask(i, END - 4, 9));
	ALWAYS(ask(i, 1UL << 40, 9));
	ALWAYS(ask(i, -1UL, 9));
	ALWAYS(ask(i, at, 9); i->part[NOTE] = i->part[LAST]);
	ALWAYS(ask(i, at, 9); strcpy(i->interp, "./program"));
}

CASE(files_cut_short)
{
	static const int lengths[] = {0, 1, 3, 4, 16, 52, 63, 64, 65, 119, 120, 200, 399, 400, 401, 4095, 4096, 4097, 8191, 8192, 8193, END - 1};
	for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) {
		put("program", whole(ET_DYN), lengths[n]);
		RECORD("cut", "%d: %s", lengths[n], outcome("./program"));
	}
}

static uint64_t seed;

static uint64_t below(uint64_t n)
{
	seed = seed * 6364136223846793005 + 1442695040888963407;
	return (seed >> 33) % n;
}

static void damage(struct image *i)
{
	static const uint64_t values[] = {0, 1, 3, 7, 0xff, 0x1000, 0x1001, 0x7fffffff, 0x80000000, 0xffffffff, 1UL << 32, 1UL << 46,
					  (1UL << 47) - 1, 1UL << 47, INT64_MAX, 1UL << 63, -1UL, -0x1000UL};
	unsigned char *bytes = (unsigned char *)i;
	for (uint64_t times = 1 + below(3); times; times--) {
		uint64_t at = below(sizeof i->head + sizeof i->part);
		switch (below(3)) {
		case 0:
			bytes[at] ^= 1 << below(8);
			break;
		case 1:
			bytes[at] = below(256);
			break;
		default: /* a whole field */
			memcpy(bytes + (at & ~7), &values[below(sizeof values / sizeof *values)], 8);
		}
	}
}

CASE(random_damage)
{
	put("interp", whole(ET_DYN), sizeof(struct image));
	for (seed = 0; seed < 300; seed++) {
		uint64_t number = seed;
		seed = number * 0x9e3779b97f4a7c15 + 1;
		struct image *i = whole(below(2) ? ET_DYN : ET_EXEC);
		if (below(3) == 0)
			ask(i, offsetof(struct image, interp), 9);
		damage(i);
		RECORD("damage", "%lu: %s", number, outcome_of(i));
		seed = number;
	}
}

/* Exits with 1 if the vector state is not as new, else with 10 and whether the process is dumpable. */
extern const unsigned char probe[], probe_end[];
__asm__(".pushsection .rodata\n"
	"probe: push %rax\n stmxcsr (%rsp)\n cmpl $0x1f80, (%rsp)\n jne 1f\n"
	"fnstcw (%rsp)\n cmpw $0x37f, (%rsp)\n jne 1f\n"
	"movq %xmm15, %rax\n test %rax, %rax\n jne 1f\n"
	"mov $157, %eax\n mov $3, %edi\n syscall\n"
	"lea 10(%rax), %edi\n jmp 2f\n"
	"1: mov $1, %edi\n"
	"2: mov $231, %eax\n syscall\n"
	"probe_end: .popsection");

static void put_probe(void)
{
	struct image *i = whole(ET_DYN);
	memcpy(i->text + 16, probe, probe_end - probe);
	put("program", i, sizeof *i);
}

static void spoil_vector_state(void)
{
	unsigned mxcsr = 0x9fc0;
	unsigned short control = 0x27f;
	uint64_t some = 0x123456789;
	__asm__ volatile("ldmxcsr %0\n fldcw %1\n movq %2, %%xmm15" ::"m"(mxcsr), "m"(control), "m"(some) : "xmm15");
}

/* Also with more to run than there are processors. */
CASE(vector_state_is_new)
{
	put_probe();
	pid_t busy[4];
	for (int i = 0; i < 4; i++) {
		CHILD(p) {
			for (;;)
				__asm__ volatile("pause");
		}
		busy[i] = p;
		for (int j = 0; j < 5; j++) {
			spoil_vector_state();
			EXPECT_STR(outcome("./program"), "exit 11");
		}
	}
	for (int i = 0; i < 4; i++) {
		EXPECT_OK(kill(busy[i], SIGKILL));
		EXPECT_KILLED(busy[i], SIGKILL);
	}
}

/* Nobody may look into a process whose program its user can't read. */
CASE(unreadable_programs_are_not_dumpable)
{
	needs_root();
	EXPECT_OK(chmod(".", 0755));
	put_probe();
	EXPECT_OK(chmod("program", 0711));
	EXPECT_STR(outcome("./program"), "exit 11");
	become_user(1000, 1000);
	EXPECT_ERRNO(open("program", O_RDONLY), EACCES);
	EXPECT_STR(outcome("./program"), "exit 10");
}
