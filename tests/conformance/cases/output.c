/* What is written to a terminal on its way out: each output flag, the column, flow control, queues, waiting for it. */
#include "terminal.h"
#include <sys/uio.h>

static struct pty with_output(tcflag_t flags)
{
	struct pty t = pty_new();
	output_flags(t.slave, ~0U, flags);
	return t;
}

CASE(no_processing_leaves_all_as_it_is)
{
	struct pty t = with_output(ONLCR | OCRNL | OLCUC | XTABS);
	PRINTED(t, "a\r\n\tb\b", "a\r\n\tb\b");
}

CASE(new_line_becomes_two)
{
	struct pty t = with_output(OPOST | ONLCR);
	PRINTED(t, "\n\na\n", "\r\n\r\na\r\n");
	PRINTED(t, "\r\n", "\r\r\n");
}

CASE(carriage_return_becomes_a_new_line)
{
	struct pty t = with_output(OPOST | OCRNL);
	PRINTED(t, "a\rb\n", "a\nb\n");
	output_flags(t.slave, 0, ONLCR);
	PRINTED(t, "a\rb\n", "a\nb\r\n"); /* and is not mapped once more */
}

CASE(no_carriage_return_at_column_0)
{
	struct pty t = with_output(OPOST | ONOCR);
	PRINTED(t, "\r\ra\r\rb", "a\rb");
	PRINTED(t, "\nc\r", "\nc\r"); /* a new line alone does not go to column 0 */
}

CASE(new_line_alone_returns)
{
	struct pty t = with_output(OPOST | ONLRET | ONOCR);
	PRINTED(t, "a\n\rb", "a\nb");
}

CASE(new_line_alone_returns_with_onlcr)
{
	struct pty t = with_output(OPOST | ONLRET | ONLCR);
	PRINTED(t, "a\nb", "a\r\nb");
}

CASE(upper_case)
{
	struct pty t = with_output(OPOST | OLCUC);
	PRINTED(t, "aZ-\344", "AZ-\304"); /* as in Latin-1 */
}

CASE(tabs_become_blanks)
{
	struct pty t = with_output(OPOST | XTABS);
	PRINTED(t, "\t", "        ");
	PRINTED(t, "abc\tx", "abc     x");
	PRINTED(t, "\r\tx", "\r        x");
	PRINTED(t, "\r1234567\tx", "\r1234567 x");
	PRINTED(t, "\r12345678\tx", "\r12345678        x");
}

CASE(tabs_after_backspaces)
{
	struct pty t = with_output(OPOST | XTABS);
	PRINTED(t, "abc\b\b\tx", "abc\b\b       x");
	PRINTED(t, "\r\b\b\tx", "\r\b\b        x"); /* no column before the first */
}

CASE(tabs_after_control_characters)
{
	struct pty t = with_output(OPOST | XTABS);
	PRINTED(t, "a\033\001\tx", "a\033\001       x"); /* they take no column */
}

CASE(tabs_after_a_new_line)
{
	struct pty t = with_output(OPOST | XTABS);
	PRINTED(t, "abc\n\tx", "abc\n     x");
	output_flags(t.slave, 0, ONLCR);
	PRINTED(t, "\nabc\n\tx", "\r\nabc\r\n        x");
}

CASE(tabs_after_utf8)
{
	struct pty t = with_output(OPOST | XTABS);
	PRINTED(t, "\303\244\tx", "\303\244      x");
	input_flags(t.slave, 0, IUTF8);
	PRINTED(t, "\r\303\244\tx", "\r\303\244       x");
	PRINTED(t, "\r\342\202\254\360\237\230\200\tx", "\r\342\202\254\360\237\230\200      x");
}

CASE(tabs_counted_while_left_alone)
{
	struct pty t = with_output(OPOST);
	PRINTED(t, "a\tb", "a\tb");
	output_flags(t.slave, 0, XTABS);
	PRINTED(t, "\tx", "       x");
}

CASE(column_is_kept_while_there_is_no_processing)
{
	struct pty t = with_output(OPOST | XTABS);
	PRINTED(t, "abc", "abc");
	output_flags(t.slave, OPOST, 0);
	PRINTED(t, "defg", "defg");
	output_flags(t.slave, 0, OPOST);
	PRINTED(t, "\tx", "     x"); /* what was written raw is not counted */
}

CASE(column_counts_what_is_echoed)
{
	struct pty t = with_output(OPOST | XTABS);
	TYPED(t, "abc", "abc");
	PRINTED(t, "\tx", "     x");
}

CASE(echo_is_processed_as_output)
{
	struct pty t = with_output(OPOST | XTABS | OLCUC);
	TYPED(t, "a\tb", "A       B");
	TYPED(t, "\n", "\n");
}

CASE(echo_without_processing)
{
	struct pty t = with_output(0);
	TYPED(t, "a\001\t\n", "a^A\t\n");
}

CASE(each_write_in_one_piece)
{
	struct pty t = with_output(OPOST | ONLCR);
	static char lines[2000], got[4001];
	memset(lines, '\n', sizeof lines);
	EXPECT_EQ(write(t.slave, lines, sizeof lines), sizeof lines); /* counted as given, not as sent */
	for (int left = 4000; left > 0;)
		left -= EXPECT_OK(read(t.master, got, left));
	EXPECT_EQ(events_now(t.master, POLLIN), 0);
}

CASE(writev_is_one_stream)
{
	struct pty t = with_output(OPOST | ONLCR);
	struct iovec v[] = {{"a\n", 2}, {"", 0}, {"b", 1}};
	EXPECT_EQ(writev(t.slave, v, 3), 3);
	EXPECT_COMES(t.master, "a\r\nb");
}

CASE(stopped_by_call)
{
	struct pty t = pty_new();
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(write(t.slave, "x", 1), EAGAIN);
	EXPECT_OK(tcflow(t.slave, TCOOFF)); /* twice is once */
	EXPECT_OK(tcflow(t.slave, TCOON));
	EXPECT_EQ(write(t.slave, "y", 1), 1);
	EXPECT_COMES(t.master, "y");
}

CASE(stopped_write_is_interrupted)
{
	struct pty t = pty_new();
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	interrupt_every(20);
	EXPECT_ERRNO(write(t.slave, "x", 1), EINTR);
	interrupt_stop();
}

CASE(flow_keys_of_our_choice)
{
	struct pty t = quiet();
	control_char(t.slave, VSTOP, 's');
	control_char(t.slave, VSTART, 'q');
	type(t.master, "s");
	while (events_now(t.slave, POLLOUT))
		sleep_ms(1);
	type(t.master, "q");
	EXPECT_EQ(wait_for(t.slave, POLLOUT), POLLOUT);
	LINE(t, "a\023\021\n", "a\023\021\n");
}

CASE(flow_key_of_both_kinds_starts)
{
	struct pty t = quiet();
	control_char(t.slave, VSTOP, 'x');
	control_char(t.slave, VSTART, 'x');
	LINE(t, "xa\n", "a\n");
	EXPECT_EQ(events_now(t.slave, POLLOUT), POLLOUT);
	EXPECT_OK(tcflow(t.slave, TCOOFF));
}

CASE(any_key_starts_again)
{
	struct pty t = quiet();
	input_flags(t.slave, 0, IXANY);
	type(t.master, "\023");
	while (events_now(t.slave, POLLOUT))
		sleep_ms(1);
	type(t.master, "k\n");
	EXPECT_EQ(wait_for(t.slave, POLLOUT), POLLOUT);
	EXPECT_READ(t.slave, "k\n"); /* and is input */
}

CASE(stopped_by_call_is_not_started_by_a_key)
{
	struct pty t = quiet();
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	LINE(t, "\021a\n", "a\n");
	EXPECT_EQ(events_now(t.slave, POLLOUT), 0);
	EXPECT_OK(tcflow(t.slave, TCOON));
	EXPECT_EQ(events_now(t.slave, POLLOUT), POLLOUT);
}

CASE(turning_flow_control_off_starts_again)
{
	struct pty t = quiet();
	type(t.master, "\023");
	while (events_now(t.slave, POLLOUT))
		sleep_ms(1);
	input_flags(t.slave, IXON, 0);
	EXPECT_EQ(wait_for(t.slave, POLLOUT), POLLOUT);
}

CASE(interrupt_starts_output_again)
{
	struct pty t = quiet();
	type(t.master, "\023");
	while (events_now(t.slave, POLLOUT))
		sleep_ms(1);
	type(t.master, "\003");
	EXPECT_EQ(wait_for(t.slave, POLLOUT), POLLOUT);
}

CASE(stop_characters_sent_by_call)
{
	struct pty t = quiet();
	EXPECT_OK(tcflow(t.slave, TCIOFF));
	EXPECT_COMES(t.master, "\023");
	EXPECT_OK(tcflow(t.slave, TCION));
	EXPECT_COMES(t.master, "\021");
	control_char(t.slave, VSTOP, 0);
	EXPECT_OK(tcflow(t.slave, TCIOFF)); /* nothing to send */
	PRINTED(t, "x", "x");
}

CASE(stop_characters_are_lost_while_stopped_by_call)
{
	struct pty t = pty_new();
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	EXPECT_OK(tcflow(t.slave, TCIOFF));
	EXPECT_OK(tcflow(t.slave, TCOON));
	PRINTED(t, "x", "x");
}

CASE(stop_characters_pass_a_stop_by_key)
{
	struct pty t = quiet();
	type(t.master, "\023");
	while (events_now(t.slave, POLLOUT))
		sleep_ms(1);
	EXPECT_OK(tcflow(t.slave, TCIOFF));
	EXPECT_COMES(t.master, "\023");
	EXPECT_EQ(events_now(t.slave, POLLOUT), 0);
}

CASE(output_flushed_by_the_slave)
{
	struct pty t = pty_new();
	type(t.slave, "here");
	wait_for(t.master, POLLIN);
	EXPECT_OK(tcflush(t.slave, TCOFLUSH)); /* what has reached the other side is not taken back */
	type(t.slave, "new");
	EXPECT_COMES(t.master, "herenew");
}

CASE(output_queue_is_always_empty)
{
	struct pty t = pty_new();
	int n = -1;
	type(t.slave, "abc");
	EXPECT_OK(ioctl(t.slave, TIOCOUTQ, &n));
	EXPECT_EQ(n, 0); /* it is the other side's input at once */
	EXPECT_OK(ioctl(t.master, TIOCOUTQ, &n));
	EXPECT_EQ(n, 0);
	EXPECT_ERRNO(ioctl(t.slave, TIOCOUTQ, 8), EFAULT);
}

CASE(breaks_do_nothing)
{
	struct pty t = quiet();
	EXPECT_OK(ioctl(t.slave, TCSBRK, 0));
	EXPECT_OK(ioctl(t.slave, TCSBRK, 1));
	EXPECT_OK(ioctl(t.slave, TCSBRKP, 5));
	EXPECT_OK(ioctl(t.master, TCSBRK, 1));
	EXPECT_OK(ioctl(t.slave, TIOCSBRK));
	EXPECT_OK(ioctl(t.slave, TIOCCBRK));
	PRINTED(t, "x", "x");
}

CASE(drain_while_stopped)
{
	struct pty t = pty_new();
	type(t.slave, "abc");
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	EXPECT_OK(tcdrain(t.slave)); /* what was written has gone */
	EXPECT_COMES(t.master, "abc");
}
