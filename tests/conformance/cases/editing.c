/* Lines and their editing: each key of termios(3) that edits or ends a line, and how it is echoed with each flag. */
#include "terminal.h"

/* ---- Erasing a character. ---- */

CASE(erase_takes_a_character_back)
{
	struct pty t = quiet();
	LINE(t, "abx\177c\n", "abc\n");
	LINE(t, "x\177\177\177y\n", "y\n"); /* no further than the line's beginning */
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

CASE(word_erase)
{
	struct pty t = quiet();
	LINE(t, "one two\027three\n", "one three\n");
	LINE(t, "one two  \t \027three\n", "one three\n");
	LINE(t, "one.two\027x\n", "one.x\n"); /* words are letters, digits and _ */
	LINE(t, "one_2two\027x\n", "x\n");
	LINE(t, "one...\027x\n", "x\n");
}

CASE(word_erase_echo)
{
	struct pty t = pty_new();
	TYPED(t, "a bc \027", "a bc \b \b\b \b\b \b");
	local_flags(t.slave, ECHOE, 0);
	TYPED(t, "d\027", "d\b \b");
}

CASE(word_erase_needs_iexten)
{
	struct pty t = quiet();
	local_flags(t.slave, IEXTEN, 0);
	LINE(t, "ab\027c\n", "ab\027c\n");
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

CASE(kill_echoed_as_the_key_and_a_new_line)
{
	struct pty t = pty_new();
	local_flags(t.slave, ECHOKE, 0);
	TYPED(t, "ab\025", "ab^U\r\n");
	local_flags(t.slave, ECHOK, 0);
	TYPED(t, "ab\025c", "ab^Uc"); /* no new line without ECHOK */
}

CASE(kill_with_echoke_needs_echok_and_echoe)
{
	struct pty t = pty_new();
	local_flags(t.slave, ECHOE, 0);
	TYPED(t, "ab\025", "ab^U\r\n");
	local_flags(t.slave, ECHOK, ECHOE);
	TYPED(t, "ab\025c", "ab^Uc");
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
}

CASE(literal_next_echo)
{
	struct pty t = pty_new();
	TYPED(t, "\026", "^\b");
	TYPED(t, "\003", "^C");
	local_flags(t.slave, ECHOCTL, 0);
	TYPED(t, "\026\003z", "\003z");
}

CASE(literal_next_needs_iexten)
{
	struct pty t = quiet();
	local_flags(t.slave, IEXTEN, 0);
	LINE(t, "a\026b\n", "a\026b\n");
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

CASE(end_of_line_characters)
{
	struct pty t = pty_new();
	control_char(t.slave, VEOL, ';');
	TYPED(t, "ab;", "ab;"); /* echoed as it is, without a new line */
	EXPECT_READ(t.slave, "ab;");
	TYPED(t, "c\n", "c\r\n");
	EXPECT_READ(t.slave, "c\n");
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
