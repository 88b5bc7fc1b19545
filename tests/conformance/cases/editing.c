/* Lines and their editing: each key of termios(3) that edits or ends a line, by default, chosen or switched off, how it is
 * echoed with each flag, and keys that an ioctl types. */
#include "terminal.h"
#include <sys/utsname.h>

/* ---- Erasing a character. ---- */

CASE(erase_takes_a_character_back)
{
	struct pty t = quiet();
	LINE(t, "abx\177c\n", "abc\n");
	LINE(t, "x\177\177\177y\n", "y\n"); /* no further than the line's beginning */
	LINE(t, "done\n\177x\n", "done\n"); /* a line that is done can't be edited */
	EXPECT_READ(t.slave, "x\n");
}

CASE(erase_is_any_character)
{
	struct pty t = quiet();
	control_char(t.slave, VERASE, 'e');
	LINE(t, "aeb\177c\n", "b\177c\n");
}

CASE(erase_disabled)
{
	struct pty t = quiet();
	control_char(t.slave, VERASE, 0);
	LINE(t, "a\177\n", "a\177\n");
}

CASE(erase_echoed_as_a_blank)
{
	struct pty t = pty_new();
	TYPED(t, "ab\177", "ab\b \b");
	TYPED(t, "c\n", "c\r\n");
	EXPECT_READ(t.slave, "ac\n");
}

CASE(erase_of_nothing_echoes_nothing)
{
	struct pty t = pty_new();
	TYPED(t, "\177\025\027x", "x");
}

CASE(erase_of_a_control_character_takes_two_columns)
{
	struct pty t = pty_new();
	TYPED(t, "\001\177z", "^A\b \b\b \bz");
	local_flags(t.slave, ECHOCTL, 0);
	TYPED(t, "\001\177z", "\001z"); /* echoed as itself it had no column */
}

CASE(erase_of_a_tab_goes_back_over_its_columns)
{
	struct pty t = pty_new();
	TYPED(t, "ab\t\177", "ab\t\b\b\b\b\b\b");
	TYPED(t, "c\t\177", "c\t\b\b\b\b\b");
	TYPED(t, "\n", "\r\n");
}

CASE(erase_of_a_tab_counts_from_the_prompt)
{
	struct pty t = pty_new();
	PRINTED(t, "> ", "> ");
	TYPED(t, "a\t\177", "a\t\b\b\b\b\b");
}

CASE(erase_of_a_tab_after_a_tab)
{
	struct pty t = pty_new();
	TYPED(t, "\ta\t\177", "\ta\t\b\b\b\b\b\b\b");
	TYPED(t, "\177\177", "\b \b\b\b\b\b\b\b\b\b");
}

CASE(erase_of_a_tab_after_a_control_character)
{
	struct pty t = pty_new();
	TYPED(t, "\001\t\177", "^A\t\b\b\b\b\b\b");
}

CASE(erase_of_a_tab_after_utf8)
{
	struct pty t = pty_new();
	input_flags(t.slave, 0, IUTF8);
	TYPED(t, "\303\244\t\177", "\303\244\t\b\b\b\b\b\b\b"); /* one column, not two */
	input_flags(t.slave, IUTF8, 0);
	TYPED(t, "\n", "\r\n");
	TYPED(t, "\303\244\t\177", "\303\244\t\b\b\b\b\b\b");
}

CASE(erase_without_echoe_echoes_the_key)
{
	struct pty t = pty_new();
	local_flags(t.slave, ECHOE, 0);
	TYPED(t, "ab\177c\n", "ab^?c\r\n");
	EXPECT_READ(t.slave, "ac\n");
}

CASE(erase_of_utf8)
{
	struct pty t = pty_new();
	input_flags(t.slave, 0, IUTF8);
	TYPED(t, "a\342\202\254\177", "a\342\202\254\b \b");
	TYPED(t, "\360\237\230\200\177\n", "\360\237\230\200\b \b\r\n");
	EXPECT_READ(t.slave, "a\n");
}

CASE(erase_of_utf8_without_iutf8)
{
	struct pty t = pty_new();
	TYPED(t, "\303\244\177", "\303\244\b \b");
	TYPED(t, "\n", "\r\n");
	EXPECT_READ(t.slave, "\303\n");
}

CASE(erase_of_broken_utf8)
{
	struct pty t = quiet();
	input_flags(t.slave, 0, IUTF8);
	LINE(t, "a\244\244\177b\n", "b\n"); /* what continues is erased with what it continues */
	LINE(t, "\244\177c\n", "\244c\n"); /* and nothing, where nothing begins it */
}

/* ---- Erasing a word and a line. ---- */

CASE(word_erase_echo)
{
	struct pty t = pty_new();
	TYPED(t, "a bc \027", "a bc \b \b\b \b\b \b");
	local_flags(t.slave, ECHOE, 0);
	TYPED(t, "d\027", "d\b \b");
}

CASE(kill_takes_the_line_back)
{
	struct pty t = quiet();
	LINE(t, "wrong\025right\n", "right\n");
	LINE(t, "a\nb\025c\n", "a\n");
	EXPECT_READ(t.slave, "c\n");
}

CASE(kill_echoed_by_erasing)
{
	struct pty t = pty_new();
	TYPED(t, "a\001\025", "a^A\b \b\b \b\b \b");
}

CASE(echoprt_prints_what_is_erased)
{
	struct pty t = pty_new();
	local_flags(t.slave, 0, ECHOPRT);
	TYPED(t, "abc\177\177d", "abc\\cb/d");
	TYPED(t, "\n", "\r\n");
	EXPECT_READ(t.slave, "ad\n");
}

CASE(echoprt_is_not_ended_by_a_new_line)
{
	struct pty t = pty_new();
	local_flags(t.slave, 0, ECHOPRT);
	TYPED(t, "ab\177\nc", "ab\\b\r\n/c"); /* the next character does, on the next line */
}

CASE(echoprt_of_utf8)
{
	struct pty t = pty_new();
	local_flags(t.slave, 0, ECHOPRT);
	input_flags(t.slave, 0, IUTF8);
	TYPED(t, "a\303\244\177b", "a\303\244\\\303\244/b");
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

/* ---- Other keys. ---- */

CASE(reprint_shows_the_line_again)
{
	struct pty t = pty_new();
	TYPED(t, "a\001b\022", "a^Ab^R\r\na^Ab");
	TYPED(t, "\n", "\r\n");
	EXPECT_READ(t.slave, "a\001b\n");
}

CASE(reprint_needs_echo_and_iexten)
{
	struct pty t = pty_new();
	local_flags(t.slave, ECHO, 0);
	LINE(t, "a\022\n", "a\022\n");
	local_flags(t.slave, IEXTEN, ECHO);
	TYPED(t, "a\022\n", "a^R\r\n");
	EXPECT_READ(t.slave, "a\022\n");
}

CASE(literal_next)
{
	struct pty t = quiet();
	LINE(t, "a\026\003\026\177\026\025\026\004\026\026\n", "a\003\177\025\004\026\n");
	LINE(t, "a\026\nb\n", "a\nb\n"); /* a line's end quoted is none */
	LINE(t, "c\026\rd\n", "c\rd\n"); /* not mapped by ICRNL */
}

CASE(literal_next_echo)
{
	struct pty t = pty_new();
	TYPED(t, "\026", "^\b");
	TYPED(t, "\003", "^C");
	local_flags(t.slave, ECHOCTL, 0);
	TYPED(t, "\026\003z", "\003z");
}

CASE(literal_next_needs_lines)
{
	struct pty t = quiet();
	local_flags(t.slave, ICANON | ISIG, 0);
	type(t.master, "\026\003x");
	wait_readable(t.slave, 3);
	EXPECT_READ(t.slave, "\026\003x");
}

CASE(discard_is_an_ordinary_character)
{
	struct pty t = pty_new(); /* Linux's terminals know VDISCARD and do nothing for it */
	TYPED(t, "a\017b\n", "a^Ob\r\n");
	EXPECT_READ(t.slave, "a\017b\n");
	PRINTED(t, "out", "out");
}

CASE(end_of_file_is_not_echoed)
{
	struct pty t = pty_new();
	TYPED(t, "a\004b", "ab");
	EXPECT_READ(t.slave, "a");
}

CASE(end_of_file_at_the_beginning)
{
	struct pty t = quiet();
	LINE(t, "\004", "");
	LINE(t, "x\n", "x\n"); /* not for good */
}

CASE(end_of_file_in_the_middle)
{
	struct pty t = quiet();
	LINE(t, "ab\004", "ab");
	LINE(t, "c\004\004", "c");
	EXPECT_READ(t.slave, "");
}

CASE(end_of_file_quoted)
{
	struct pty t = quiet();
	LINE(t, "a\026\004b\n", "a\004b\n");
}

CASE(end_of_file_disabled)
{
	struct pty t = quiet();
	control_char(t.slave, VEOF, 0);
	LINE(t, "a\004b\n", "a\004b\n");
}

CASE(second_end_of_line_needs_iexten)
{
	struct pty t = quiet();
	control_char(t.slave, VEOL2, '.');
	LINE(t, "a.", "a.");
	local_flags(t.slave, IEXTEN, 0);
	LINE(t, "a.b\n", "a.b\n");
}

CASE(echonl_echoes_new_lines_only)
{
	struct pty t = pty_new();
	local_flags(t.slave, ECHO, ECHONL);
	TYPED(t, "a\nb\n", "\r\n\r\n");
	local_flags(t.slave, ICANON, 0);
	type(t.master, "\n"); /* and only of lines */
	PRINTED(t, "x", "x");
}

CASE(echo_of_control_characters)
{
	struct pty t = pty_new();
	TYPED(t, "\001\033\036x", "^A^[^^x");
	TYPED(t, "\ty\r", "\ty\r\n"); /* not of tabs, or what becomes a new line */
	local_flags(t.slave, ECHOCTL, 0);
	TYPED(t, "\001\033z", "\001\033z");
}

CASE(echo_of_raw_input)
{
	struct pty t = pty_new();
	local_flags(t.slave, ICANON, 0);
	TYPED(t, "a\001\177\n", "a^A^?^J"); /* no key edits, nothing ends a line */
	EXPECT_READ(t.slave, "a\001\177\n");
}

/* ---- Lengths. ---- */

CASE(a_line_of_4095)
{
	struct pty t = quiet();
	static char line[4096], got[5000];
	memset(line, 'l', 4095);
	EXPECT_EQ(write(t.master, line, 4095), 4095);
	EXPECT_EQ(write(t.master, "\n", 1), 1);
	EXPECT_EQ(read(t.slave, got, sizeof got), 4096);
	EXPECT_EQ(got[4095], '\n');
}

CASE(a_full_line_can_be_erased)
{
	struct pty t = quiet();
	static char line[4096], got[5000];
	memset(line, 'l', sizeof line);
	EXPECT_EQ(write(t.master, line, 4095), 4095);
	EXPECT_EQ(write(t.master, "dropped", 7), 7);
	EXPECT_EQ(write(t.master, "\177x\n", 3), 3);
	EXPECT_EQ(read(t.slave, got, sizeof got), 4096);
	RECORD("its end", "%c%c%c", got[4092], got[4093], got[4094]);
}

CASE(a_full_line_can_be_killed)
{
	struct pty t = quiet();
	static char line[4095];
	memset(line, 'l', sizeof line);
	EXPECT_EQ(write(t.master, line, sizeof line), sizeof line);
	EXPECT_EQ(write(t.master, line, sizeof line), sizeof line);
	LINE(t, "\025short\n", "short\n");
}

CASE(a_full_line_does_not_block_the_master)
{
	struct pty t = quiet();
	static char line[4096];
	memset(line, 'l', sizeof line);
	for (int i = 0; i < 50; i++)
		EXPECT_EQ(write(t.master, line, sizeof line), sizeof line);
	EXPECT_EQ(wait_for(t.master, POLLOUT), POLLOUT);
}

CASE(a_long_line_in_pieces)
{
	struct pty t = quiet();
	static char line[3001], got[1000];
	memset(line, 'l', 3000);
	line[3000] = '\n';
	EXPECT_EQ(write(t.master, line, sizeof line), sizeof line);
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(read(t.slave, got, sizeof got), 1000);
	EXPECT_READ(t.slave, "\n");
}

/* ---- Keys of one's own choice, or none. ---- */

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
		{"one two  \t \027three\n", "one three\n"},
		{"one...\027x\n", "x\n"},
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
	type(t.master, "ab\004");
	wait_for(t.slave, POLLIN);
	EXPECT_EQ(read(t.slave, buf, 2), 2); /* took all up to the mark, and the mark */
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

CASE(typed_by_ioctl_takes_privilege)
{
	struct pty t = pty_control();
	local_flags(t.slave, ECHO, 0);
	FILE *f = fopen("/proc/sys/dev/tty/legacy_tiocsti", "r");
	struct utsname uts;
	EXPECT_OK(uname(&uts));
	int legacy = strverscmp(uts.release, "6.2") < 0; /* from then on it takes privilege unless this says otherwise */
	if (f && fscanf(f, "%d", &legacy) != 1)
		FAIL("no number in legacy_tiocsti");
	needs_root();
	struct pty u = pty_new();
	EXPECT_OK(ioctl(u.slave, TIOCSTI, "x")); /* root may, anywhere */
	CHILD(p) {
		become_user(4321, 4321);
		EXPECT_ERRNO(ioctl(u.slave, TIOCSTI, "x"), legacy ? EPERM : EIO);
		if (legacy)
			EXPECT_OK(ioctl(t.slave, TIOCSTI, "y"));
		else
			EXPECT_ERRNO(ioctl(t.slave, TIOCSTI, "y"), EIO);
	}
	JOIN(p);
}
