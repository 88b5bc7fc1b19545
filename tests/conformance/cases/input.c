/* What is typed on its way in: each input flag, raw reads in all four cases of VMIN and VTIME, modes that change with data
 * pending, parity marks, limits, counts and flushes. */
#include "terminal.h"
#include <sys/uio.h>

/* ---- Mapping. ---- */

static struct pty raw_with(tcflag_t iflags)
{
	struct pty t = pty_new();
	raw_mode(t.slave, 1, 0);
	input_flags(t.slave, ~0U, iflags);
	return t;
}

#define TAKEN(t, text, want)                                                             \
	do {                                                                             \
		type((t).master, text);                                                  \
		EXPECT_COMES((t).slave, want);                                           \
	} while (0)

CASE(nothing_is_mapped)
{
	struct pty t = raw_with(0);
	TAKEN(t, "\r\n\003\004\177\021\023\341A", "\r\n\003\004\177\021\023\341A");
}

CASE(icrnl)
{
	struct pty t = raw_with(ICRNL);
	TAKEN(t, "a\rb\n", "a\nb\n");
}

CASE(inlcr)
{
	struct pty t = raw_with(INLCR);
	TAKEN(t, "a\nb\r", "a\rb\r");
}

CASE(icrnl_and_inlcr_exchange)
{
	struct pty t = raw_with(ICRNL | INLCR);
	TAKEN(t, "\r\n", "\n\r");
}

CASE(igncr_goes_before_icrnl)
{
	struct pty t = raw_with(IGNCR | ICRNL);
	TAKEN(t, "a\rb\n", "ab\n");
}

CASE(igncr_and_inlcr)
{
	struct pty t = raw_with(IGNCR | INLCR);
	TAKEN(t, "a\nb\rc", "a\rbc");
}

CASE(istrip)
{
	struct pty t = raw_with(ISTRIP);
	TAKEN(t, "\341\377b", "a\177b");
}

CASE(istrip_goes_before_the_other_flags)
{
	struct pty t = raw_with(ISTRIP | ICRNL);
	TAKEN(t, "\215x", "\nx");
}

CASE(istrip_makes_keys)
{
	struct pty t = quiet();
	input_flags(t.slave, 0, ISTRIP);
	LINE(t, "ab\377c\n", "ac\n"); /* 0377 is 0177 */
	LINE(t, "d\212", "d\n");
}

CASE(iuclc_needs_iexten)
{
	struct pty t = raw_with(IUCLC);
	TAKEN(t, "Ab", "Ab");
	local_flags(t.slave, 0, IEXTEN);
	TAKEN(t, "Ab\304", "ab\344");
}

CASE(parmrk_doubles_the_mark)
{
	struct pty t = raw_with(PARMRK);
	TAKEN(t, "a\377b", "a\377\377b");
	input_flags(t.slave, 0, ISTRIP);
	TAKEN(t, "a\377b", "a\177b");
}

CASE(parmrk_in_lines)
{
	struct pty t = quiet();
	input_flags(t.slave, 0, PARMRK);
	LINE(t, "a\377b\n", "a\377\377b\n");
}

CASE(inpck_and_break_flags_change_nothing_on_a_pair)
{
	struct pty t = raw_with(INPCK | IGNPAR | BRKINT | IGNBRK);
	TAKEN(t, "a\377", "a\377");
	EXPECT_OK(write(t.master, "", 1) == 1 ? 0 : -1); /* a byte of 0 is no break */
	char c = 1;
	EXPECT_EQ(read(t.slave, &c, 1), 1);
	EXPECT_EQ(c, 0);
}

CASE(a_byte_of_nought_in_a_line)
{
	struct pty t = quiet();
	char got[8];
	EXPECT_EQ(write(t.master, "a\0b\n", 4), 4);
	EXPECT_EQ(read(t.slave, got, sizeof got), 4);
	EXPECT_EQ(memcmp(got, "a\0b\n", 4), 0);
}

/* ---- Raw reads. ---- */

CASE(minimum_met_at_once)
{
	struct pty t = quiet();
	raw_mode(t.slave, 2, 0);
	type(t.master, "abc");
	wait_readable(t.slave, 3);
	EXPECT_READ(t.slave, "abc");
}

CASE(minimum_of_more_than_asked_for)
{
	struct pty t = quiet();
	raw_mode(t.slave, 10, 0);
	type(t.master, "abc");
	wait_readable(t.slave, 3);
	char got[2];
	EXPECT_EQ(read(t.slave, got, 2), 2);
	EXPECT_EQ(readable_bytes(t.slave), 1);
}

CASE(minimum_and_poll)
{
	struct pty t = quiet();
	raw_mode(t.slave, 3, 0);
	type(t.master, "ab");
	wait_readable(t.slave, 2);
	EXPECT_EQ(events_now(t.slave, POLLIN), 0);
	raw_mode(t.slave, 3, 1); /* with a time, poll asks for one byte */
	EXPECT_EQ(events_now(t.slave, POLLIN), POLLIN);
	raw_mode(t.slave, 0, 0);
	EXPECT_EQ(events_now(t.slave, POLLIN), POLLIN);
}

CASE(minimum_not_met_is_interrupted)
{
	struct pty t = quiet();
	raw_mode(t.slave, 5, 0);
	interrupt_every(20);
	char got[8];
	EXPECT_ERRNO(read(t.slave, got, sizeof got), EINTR);
	type(t.master, "ab");
	wait_readable(t.slave, 2);
	EXPECT_EQ(read(t.slave, got, sizeof got), 2); /* what there was, rather than EINTR */
	interrupt_stop();
}

CASE(minimum_of_one_takes_all_there_is)
{
	struct pty t = quiet();
	raw_mode(t.slave, 1, 0);
	type(t.master, "abcdef");
	wait_readable(t.slave, 6);
	EXPECT_READ(t.slave, "abcdef");
}

CASE(no_minimum_and_no_time)
{
	struct pty t = quiet();
	raw_mode(t.slave, 0, 0);
	EXPECT_READ(t.slave, "");
	EXPECT_EQ(events_now(t.slave, POLLIN), 0);
	type(t.master, "ab");
	wait_readable(t.slave, 2);
	EXPECT_READ(t.slave, "ab");
	EXPECT_READ(t.slave, "");
}

CASE(time_alone_runs_from_the_call)
{
	struct pty t = quiet();
	raw_mode(t.slave, 0, 1);
	int64_t start = now_ms();
	EXPECT_READ(t.slave, "");
	CHECK(now_ms() - start >= 95);
}

CASE(time_alone_ends_with_the_first_byte)
{
	struct pty t = quiet();
	raw_mode(t.slave, 0, 100);
	int64_t start = now_ms();
	type(t.master, "a");
	EXPECT_READ(t.slave, "a");
	CHECK(now_ms() - start < 8000);
}

CASE(time_alone_and_nonblocking)
{
	struct pty t = quiet();
	raw_mode(t.slave, 0, 100);
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
	char c;
	EXPECT_ERRNO(read(t.slave, &c, 1), EAGAIN);
}

CASE(time_between_bytes)
{
	struct pty t = quiet();
	raw_mode(t.slave, 5, 1);
	int64_t start = now_ms();
	type(t.master, "ab");
	EXPECT_COMES(t.slave, "ab"); /* asks for two only */
	type(t.master, "cd");
	wait_readable(t.slave, 2);
	EXPECT_READ(t.slave, "cd"); /* ended by the time */
	CHECK(now_ms() - start >= 95);
}

CASE(time_between_bytes_needs_a_first)
{
	struct pty t = quiet();
	raw_mode(t.slave, 5, 1);
	struct gate ready = gate_new();
	CHILD(p) {
		gate_open(&ready);
		EXPECT_READ(t.slave, "x");
	}
	gate_wait(&ready);
	wait_asleep(p);
	sleep_ms(150);
	EXPECT_EQ(waitpid(p, NULL, WNOHANG), 0); /* without a byte it waits for good */
	type(t.master, "x");
	JOIN(p);
}

CASE(time_and_minimum_met)
{
	struct pty t = quiet();
	raw_mode(t.slave, 2, 100);
	int64_t start = now_ms();
	type(t.master, "ab");
	EXPECT_READ(t.slave, "ab");
	CHECK(now_ms() - start < 8000);
}

CASE(nonblocking_ignores_the_minimum)
{
	struct pty t = quiet();
	raw_mode(t.slave, 5, 0);
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
	char got[8];
	EXPECT_ERRNO(read(t.slave, got, 8), EAGAIN);
	type(t.master, "ab");
	wait_readable(t.slave, 2);
	EXPECT_EQ(read(t.slave, got, 8), 2);
}

CASE(readv_is_one_read)
{
	struct pty t = quiet();
	char a[2], b[8];
	struct iovec v[] = {{a, 2}, {b, 8}};
	type(t.master, "one\ntwo\n");
	EXPECT_EQ(readv(t.slave, v, 2), 4);
	EXPECT_EQ(memcmp(b, "e\n", 2), 0);
	EXPECT_READ(t.slave, "two\n");
}

/* ---- Modes that change with data pending. ---- */

CASE(half_a_line_is_readable_without_lines)
{
	struct pty t = pty_new();
	TYPED(t, "half", "half");
	EXPECT_EQ(events_now(t.slave, POLLIN), 0);
	local_flags(t.slave, ICANON, 0);
	EXPECT_EQ(events_now(t.slave, POLLIN), POLLIN);
	EXPECT_READ(t.slave, "half");
}

CASE(lines_become_bytes)
{
	struct pty t = pty_new();
	TYPED(t, "a\nb\nc", "a\r\nb\r\nc");
	local_flags(t.slave, ICANON, 0);
	EXPECT_EQ(readable_bytes(t.slave), 5);
	EXPECT_READ(t.slave, "a\nb\nc");
}

CASE(a_mark_of_the_end_becomes_a_byte)
{
	struct pty t = pty_new();
	TYPED(t, "ab\004c", "abc");
	local_flags(t.slave, ICANON, 0);
	char got[8];
	ssize_t n = EXPECT_OK(read(t.slave, got, sizeof got));
	RECORD("read", "%zd: %d %d %d", n, got[0], n > 2 ? got[2] : -1, n > 3 ? got[3] : -1);
}

CASE(bytes_become_a_line)
{
	struct pty t = pty_new();
	local_flags(t.slave, ICANON, 0);
	TYPED(t, "abc", "abc");
	local_flags(t.slave, 0, ICANON);
	EXPECT_EQ(events_now(t.slave, POLLIN), POLLIN);
	EXPECT_EQ(readable_bytes(t.slave), 3);
	TYPED(t, "d\n", "d\r\n");
	EXPECT_READ(t.slave, "abc");
	EXPECT_READ(t.slave, "d\n");
}

CASE(bytes_with_new_lines_become_one_line)
{
	struct pty t = pty_new();
	local_flags(t.slave, ICANON, 0);
	input_flags(t.slave, ICRNL, 0);
	TYPED(t, "a\nb", "a^Jb");
	local_flags(t.slave, 0, ICANON);
	EXPECT_READ(t.slave, "a\nb");
}

CASE(bytes_that_became_a_line_can_not_be_edited)
{
	struct pty t = pty_new();
	local_flags(t.slave, ICANON, 0);
	TYPED(t, "abc", "abc");
	local_flags(t.slave, 0, ICANON);
	TYPED(t, "\177\025x\n", "x\r\n");
	EXPECT_READ(t.slave, "abc");
	EXPECT_READ(t.slave, "x\n");
}

CASE(back_and_forth_without_input)
{
	struct pty t = pty_new();
	local_flags(t.slave, ICANON, 0);
	local_flags(t.slave, 0, ICANON);
	EXPECT_EQ(events_now(t.slave, POLLIN), 0);
	TYPED(t, "a\n", "a\r\n");
	EXPECT_READ(t.slave, "a\n");
}

CASE(the_mode_that_changes_wakes_a_reader)
{
	struct pty t = pty_new();
	TYPED(t, "ab", "ab");
	CHILD(p) {
		EXPECT_READ(t.slave, "ab");
	}
	wait_asleep(p);
	local_flags(t.slave, ICANON, 0);
	JOIN(p);
}

CASE(extproc_leaves_lines_to_the_other_side)
{
	struct pty t = pty_new();
	local_flags(t.slave, 0, EXTPROC);
	type(t.master, "ab\177\003\025");
	wait_readable(t.slave, 5);
	EXPECT_READ(t.slave, "ab\177\003\025"); /* no editing, no signals, no waiting for a new line */
	type(t.slave, "x");
	EXPECT_COMES(t.master, "x"); /* nor echo */
}

CASE(extproc_still_knows_an_end)
{
	struct pty t = pty_new();
	local_flags(t.slave, 0, EXTPROC);
	LINE(t, "\004", "");
	type(t.master, "a\004");
	wait_readable(t.slave, 2);
	EXPECT_READ(t.slave, "a\004");
}

CASE(extproc_and_output)
{
	struct pty t = pty_new();
	local_flags(t.slave, 0, EXTPROC);
	PRINTED(t, "a\n", "a\r\n");
}

/* ---- Counts and flushes. ---- */

CASE(lines_are_counted_when_done)
{
	struct pty t = pty_new();
	int n;
	TYPED(t, "ab", "ab");
	EXPECT_EQ(readable_bytes(t.slave), 0);
	TYPED(t, "\n\n", "\r\n\r\n");
	EXPECT_EQ(readable_bytes(t.slave), 4);
	EXPECT_OK(ioctl(t.slave, TIOCINQ, &n));
	EXPECT_EQ(n, 4);
}

CASE(marks_of_the_end_are_not_counted)
{
	struct pty t = pty_new();
	TYPED(t, "ab\004c\n", "abc\r\n");
	EXPECT_EQ(readable_bytes(t.slave), 4);
}

CASE(counts_of_the_master)
{
	struct pty t = pty_new();
	type(t.slave, "abc");
	wait_for(t.master, POLLIN);
	EXPECT_EQ(readable_bytes(t.master), 3);
}

CASE(input_flushed_with_half_a_line)
{
	struct pty t = pty_new();
	TYPED(t, "ab\ncd", "ab\r\ncd");
	EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	TYPED(t, "e\n", "e\r\n");
	EXPECT_READ(t.slave, "e\n");
}

CASE(input_flushed_by_the_master)
{
	struct pty t = pty_new();
	TYPED(t, "ab\n", "ab\r\n");
	EXPECT_OK(tcflush(t.master, TCOFLUSH)); /* what was taken in stays */
	EXPECT_EQ(readable_bytes(t.slave), 3);
	type(t.slave, "out");
	wait_for(t.master, POLLIN);
	EXPECT_OK(tcflush(t.master, TCIFLUSH));
	EXPECT_EQ(events_now(t.master, POLLIN), 0);
}

CASE(input_flushed_with_new_settings)
{
	struct pty t = pty_new();
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	TYPED(t, "ab\ncd", "ab\r\ncd");
	EXPECT_OK(tcsetattr(t.slave, TCSAFLUSH, &tio));
	EXPECT_EQ(readable_bytes(t.slave), 0);
	TYPED(t, "e\n", "e\r\n");
	EXPECT_READ(t.slave, "e\n");
}

CASE(input_flushed_by_a_signal_unless_noflsh)
{
	struct pty t = quiet();
	LINE(t, "gone\003a\n", "a\n");
	LINE(t, "gone\034b\n", "b\n");
	LINE(t, "gone\032c\n", "c\n");
	local_flags(t.slave, 0, NOFLSH);
	LINE(t, "kept\003d\n", "keptd\n");
}

CASE(input_is_bounded)
{
	struct pty t = quiet();
	raw_mode(t.slave, 1, 0);
	EXPECT_OK(fcntl(t.master, F_SETFL, O_NONBLOCK));
	static char block[4096];
	memset(block, 'b', sizeof block);
	long total = 0;
	ssize_t n;
	while ((n = write(t.master, block, sizeof block)) > 0 && total < 1 << 20)
		total += n;
	EXPECT_EQ(errno, EAGAIN);
	wait_readable(t.slave, 4095);
	EXPECT_EQ(readable_bytes(t.slave), 4095);
	EXPECT_EQ(read(t.slave, block, 4095), 4095); /* more might be carried across while it reads */
}

CASE(imaxbel_rings_for_what_is_too_much)
{
	struct pty t = pty_new();
	input_flags(t.slave, 0, IMAXBEL);
	static char line[4095], got[4096];
	memset(line, 'l', sizeof line);
	EXPECT_EQ(write(t.master, line, sizeof line), sizeof line);
	for (int left = sizeof line; left > 0;)
		left -= EXPECT_OK(read(t.master, got, left));
	type(t.master, "x");
	char c;
	EXPECT_EQ(read(t.master, &c, 1), 1);
	RECORD("echo", "%d", c);
}
