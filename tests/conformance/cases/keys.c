/* Keys of one's own choice, keys switched off, keys in all fashions of echo, and keys that an ioctl types. */
#include "terminal.h"

/* The next echo is this: nothing was echoed before it. */
static void expect_nothing_echoed(struct pty t)
{
	TYPED(t, "!", "!");
}

static char long_line[9000], long_got[9000];

static void type_long(int master, int count)
{
	memset(long_line, 'l', sizeof long_line);
	for (int done = 0; done < count;)
		done += EXPECT_OK(write(master, long_line, count - done < 1000 ? count - done : 1000));
}

CASE(erase_of_a_quoted_character)
{
	struct pty t = pty_new();
	TYPED(t, "\026\003", "^\b^C");
	TYPED(t, "\177", "\b \b\b \b");
	TYPED(t, "x\n", "x\r\n");
	EXPECT_READ(t.slave, "x\n");
}

CASE(kill_in_all_fashions)
{
	struct pty t = pty_new();
	TYPED(t, "abc\025", "abc\b \b\b \b\b \b");
	local_flags(t.slave, ECHOKE, 0);
	TYPED(t, "ab\025", "ab^U\r\n");
	local_flags(t.slave, ECHOK, 0);
	TYPED(t, "ab\025", "ab^U");
	local_flags(t.slave, 0, ECHOKE); /* nothing without ECHOK */
	TYPED(t, "ab\025", "ab^U");
	local_flags(t.slave, ECHOE, ECHOK); /* nor without ECHOE */
	TYPED(t, "ab\025", "ab^U\r\n");
	TYPED(t, "end\n", "end\r\n");
	EXPECT_READ(t.slave, "end\n");
}

CASE(kill_key_of_ones_own)
{
	struct pty t = pty_new();
	control_char(t.slave, VKILL, '@');
	TYPED(t, "ab@", "ab\b \b\b \b");
	TYPED(t, "c\025\n", "c^U\r\n");
	EXPECT_READ(t.slave, "c\025\n");
}

CASE(words_erased)
{
	struct pty t = quiet();
	static const struct {
		const char *keys, *line;
	} tries[] = {
		{"foo bar\027\n", "foo \n"},
		{"foo bar  \027\n", "foo \n"},
		{"foo.bar\027\n", "foo.\n"},
		{"foo.bar\027\027\n", "\n"},
		{"a_b1\027\n", "\n"}, /* letters, digits and _ are of a word */
		{"foo --\027\n", "\n"},
		{"\027x\n", "x\n"},
		{"one\ttwo\027\n", "one\t\n"},
	};
	for (unsigned i = 0; i < sizeof tries / sizeof *tries; i++) {
		type(t.master, tries[i].keys);
		EXPECT_READ(t.slave, tries[i].line);
	}
}

CASE(words_key_of_ones_own)
{
	struct pty t = quiet();
	control_char(t.slave, VWERASE, '%');
	type(t.master, "ab cd%e\027\n");
	EXPECT_READ(t.slave, "ab e\027\n");
	control_char(t.slave, VWERASE, 0);
	type(t.master, "ab cd%\027\n");
	EXPECT_READ(t.slave, "ab cd%\027\n");
}

CASE(quoted_end_of_line)
{
	struct pty t = quiet();
	type(t.master, "a\026\nb\n");
	EXPECT_READ(t.slave, "a\nb\n"); /* one line with a newline in it */
	type(t.master, "c\026\rd\n");
	EXPECT_READ(t.slave, "c\rd\n"); /* not mapped by ICRNL */
}

CASE(keys_without_iexten)
{
	struct pty t = quiet();
	control_char(t.slave, VEOL2, ';');
	local_flags(t.slave, IEXTEN, 0);
	type(t.master, "a b\027\022\026\017;x\177y\025z\n");
	EXPECT_READ(t.slave, "z\n"); /* erase and kill still work */
	type(t.master, "a b\027\022\026\017;\n");
	EXPECT_READ(t.slave, "a b\027\022\026\017;\n");
}

CASE(keys_without_icanon)
{
	struct pty t = quiet();
	local_flags(t.slave, ICANON, 0);
	type(t.master, "a\177\025\027\022\004\n");
	wait_readable(t.slave, 7);
	EXPECT_READ(t.slave, "a\177\025\027\022\004\n");
}

CASE(all_keys_switched_off)
{
	struct pty t = quiet();
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	memset(tio.c_cc, 0, sizeof tio.c_cc);
	EXPECT_OK(tcsetattr(t.slave, TCSANOW, &tio));
	type(t.master, "\003\034\177\025\004\021\023\032\022\017\027\026\n");
	EXPECT_READ(t.slave, "\003\034\177\025\004\021\023\032\022\017\027\026\n");
	EXPECT_EQ(write(t.master, "a\0b\n", 4), 4); /* a key that is off is not NUL */
	char buf[8];
	EXPECT_EQ(read(t.slave, buf, sizeof buf), 4);
	EXPECT_EQ(memcmp(buf, "a\0b\n", 4), 0);
}

CASE(end_of_file_key_of_ones_own)
{
	struct pty t = pty_new();
	control_char(t.slave, VEOF, '$');
	TYPED(t, "a\004", "a^D");
	type(t.master, "$"); /* not echoed */
	EXPECT_READ(t.slave, "a\004");
	expect_nothing_echoed(t);
	type(t.master, "\n");
	EXPECT_READ(t.slave, "!\n");
}

CASE(end_of_file_amid_lines)
{
	struct pty t = quiet();
	type(t.master, "a\004b\n\004c\n");
	EXPECT_READ(t.slave, "a");
	EXPECT_READ(t.slave, "b\n");
	EXPECT_READ(t.slave, "");
	EXPECT_READ(t.slave, "c\n");
}

CASE(line_before_an_end_of_file_in_pieces)
{
	struct pty t = quiet();
	char buf[4];
	type(t.master, "abcd\004");
	EXPECT_EQ(read(t.slave, buf, 3), 3);
	EXPECT_READ(t.slave, "d"); /* and no empty read follows */
	type(t.master, "x\n");
	EXPECT_READ(t.slave, "x\n");
}

CASE(other_ends_of_line_are_echoed)
{
	struct pty t = pty_new();
	control_char(t.slave, VEOL, ';');
	control_char(t.slave, VEOL2, '\005');
	TYPED(t, "a;", "a;");
	EXPECT_READ(t.slave, "a;");
	TYPED(t, "b\005", "b^E");
	EXPECT_READ(t.slave, "b\005");
	TYPED(t, "c;\177", "c;"); /* nothing to erase behind it */
	EXPECT_READ(t.slave, "c;");
}

CASE(echo_of_typeahead_comes_at_once)
{
	struct pty t = pty_new();
	TYPED(t, "ahead\nmore", "ahead\r\nmore");
	EXPECT_EQ(readable_bytes(t.slave) >= 6, 1);
	type(t.slave, "out");
	EXPECT_COMES(t.master, "out");
}

CASE(backslash_is_no_key)
{
	struct pty t = quiet();
	type(t.master, "a\\\177b\\\025c\n");
	EXPECT_READ(t.slave, "c\n");
}

CASE(line_of_4096_characters)
{
	struct pty t = quiet();
	type_long(t.master, 4096); /* the last is dropped */
	type(t.master, "\n");
	EXPECT_EQ(read(t.slave, long_got, sizeof long_got), 4096);
	EXPECT_EQ(long_got[4094], 'l');
	EXPECT_EQ(long_got[4095], '\n');
	type(t.master, "next\n");
	EXPECT_READ(t.slave, "next\n");
}

CASE(full_line_ended_by_end_of_file)
{
	struct pty t = quiet();
	type_long(t.master, 4200);
	type(t.master, "\004");
	EXPECT_EQ(read(t.slave, long_got, sizeof long_got), 4095);
	type(t.master, "x\n");
	EXPECT_READ(t.slave, "x\n");
}

CASE(keys_of_flow_control_are_taken_out)
{
	struct pty t = quiet();
	raw_mode(t.slave, 1, 0);
	type(t.master, "a\021b\023");
	wait_readable(t.slave, 4);
	EXPECT_READ(t.slave, "a\021b\023");
	input_flags(t.slave, 0, IXON);
	control_char(t.slave, VSTART, 'q');
	control_char(t.slave, VSTOP, 's');
	type(t.master, "asbqc\021");
	wait_readable(t.slave, 4);
	EXPECT_READ(t.slave, "abc\021");
	EXPECT_EQ(events_now(t.slave, POLLOUT), POLLOUT);
}

CASE(typed_by_ioctl_is_like_typed)
{
	needs_root();
	struct pty t = pty_control();
	count_signal(SIGINT, 0);
	for (const char *c = "ab\177\n"; *c; c++)
		EXPECT_OK(ioctl(t.slave, TIOCSTI, c));
	EXPECT_COMES(t.master, "ab\b \b\r\n");
	EXPECT_READ(t.slave, "a\n");
	EXPECT_OK(ioctl(t.slave, TIOCSTI, "\003"));
	EXPECT_EQ(signals_seen[SIGINT], 1);
}

CASE(typed_by_ioctl_on_the_master)
{
	/* The byte is what the master reads, as if the slave had written it. */
	needs_root();
	struct pty t = quiet();
	EXPECT_OK(ioctl(t.master, TIOCSTI, "m"));
	EXPECT_OK(ioctl(t.master, TIOCSTI, "\n"));
	EXPECT_COMES(t.master, "m\n");
	EXPECT_EQ(readable_bytes(t.slave), 0);
	EXPECT_EQ(events_now(t.slave, POLLIN), 0);
}

CASE(typed_by_ioctl_errors)
{
	needs_root();
	struct pty t = pty_new();
	EXPECT_ERRNO(ioctl(t.slave, TIOCSTI, NULL), EFAULT);
	EXPECT_ERRNO(ioctl(t.master, TIOCSTI, (void *)8), EFAULT);
	int fd = EXPECT_OK(open(pty_name(t.master), O_RDONLY | O_NOCTTY));
	EXPECT_OK(ioctl(fd, TIOCSTI, "r")); /* the mode of opening does not matter */
	int null = EXPECT_OK(open("/dev/null", O_RDWR));
	EXPECT_ERRNO(ioctl(null, TIOCSTI, "x"), ENOTTY);
}
