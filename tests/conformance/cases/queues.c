/* A terminal's queues and who stands at them: several readers and writers, full and stopped queues, long writes, signals. */
#include "terminal.h"

static struct pty output(tcflag_t oflag)
{
	struct pty t = quiet();
	output_flags(t.slave, ~0u, oflag);
	return t;
}

static struct pty raw_input(tcflag_t iflag)
{
	struct pty t = pty_new();
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	cfmakeraw(&tio);
	tio.c_iflag = iflag;
	EXPECT_OK(tcsetattr(t.slave, TCSANOW, &tio));
	return t;
}

CASE(column_across_writes)
{
	struct pty t = output(OPOST | XTABS);
	int other = EXPECT_OK(dup(t.slave)), again = EXPECT_OK(open(pty_name(t.master), O_WRONLY | O_NOCTTY));
	type(t.slave, "a");
	type(other, "b");
	type(again, "c");
	type(t.slave, "\tx");
	EXPECT_COMES(t.master, "abc     x");
}

CASE(delays_are_only_kept)
{
	tcflag_t delays = NL1 | CR3 | TAB1 | BS1 | VT1 | FF1 | OFILL | OFDEL;
	struct pty t = output(OPOST | delays);
	int64_t start = now_ms();
	type(t.slave, "a\n\r\t\b\v\fb");
	EXPECT_COMES(t.master, "a\n\r\t\b\v\fb");
	CHECK(now_ms() - start < 8000);
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	EXPECT_EQ(tio.c_oflag, OPOST | delays);
}

CASE(settings_between_writes)
{
	/* What has been written was processed then, whatever is set before it is read. */
	struct pty t = output(OPOST | ONLCR);
	type(t.slave, "a\n");
	output_flags(t.slave, ONLCR, 0);
	type(t.slave, "b\n");
	EXPECT_COMES(t.master, "a\r\nb\n");
}

CASE(stop_by_call_twice)
{
	struct pty t = output(0);
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	EXPECT_EQ(events_now(t.slave, POLLOUT), 0);
	EXPECT_OK(tcflow(t.slave, TCOON)); /* stops don't add up */
	EXPECT_EQ(events_now(t.slave, POLLOUT), POLLOUT);
	EXPECT_OK(tcflow(t.slave, TCOON));
}

CASE(echo_waits_while_stopped)
{
	struct pty t = pty_new();
	type(t.master, "\023");
	while (events_now(t.slave, POLLOUT))
		sleep_ms(1);
	type(t.master, "ab\n");
	EXPECT_READ(t.slave, "ab\n");
	EXPECT_EQ(events_now(t.master, POLLIN), 0);
	type(t.master, "\021");
	EXPECT_COMES(t.master, "ab\r\n");
}

CASE(stopped_master)
{
	/* The master's own output can be stopped as well: then nothing can be typed. */
	struct pty t = output(0);
	EXPECT_OK(tcflow(t.master, TCOOFF));
	EXPECT_EQ(events_now(t.master, POLLOUT), 0);
	EXPECT_OK(fcntl(t.master, F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(write(t.master, "x", 1), EAGAIN);
	EXPECT_OK(tcflow(t.master, TCOON));
	type(t.master, "y\n");
	EXPECT_READ(t.slave, "y\n");
}

CASE(a_full_queue_takes_a_part)
{
	struct pty t = output(0);
	static char block[100000], got[100000];
	memset(block, 'b', sizeof block);
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
	ssize_t n = EXPECT_OK(write(t.slave, block, sizeof block));
	CHECK(n > 2000 && n < (ssize_t)sizeof block);
	long total = n + fill(t);
	EXPECT_EQ(events_now(t.slave, POLLOUT), 0);
	while (total > 0) {
		n = EXPECT_OK(read(t.master, got, sizeof got));
		total -= n;
	}
	EXPECT_EQ(total, 0);
	EXPECT_EQ(wait_for(t.slave, POLLOUT), POLLOUT);
}

CASE(a_signal_amid_a_long_write)
{
	struct pty t = output(0);
	static char block[100000];
	memset(block, 'b', sizeof block);
	interrupt_every(20);
	ssize_t n = write(t.slave, block, sizeof block); /* nobody reads: what went is the result */
	interrupt_stop();
	CHECK(n > 2000 && n < (ssize_t)sizeof block);
}

CASE(a_long_write_arrives_whole)
{
	struct pty t = output(OPOST | ONLCR);
	enum { LINES = 5000 };
	CHILD(p) {
		static char text[LINES * 10 + 1];
		for (int i = 0; i < LINES; i++)
			snprintf(text + i * 10, 11, "line %04d\n", i);
		EXPECT_EQ(write(t.slave, text, LINES * 10), LINES * 10);
	}
	FILE *f = fdopen(t.master, "r");
	char line[64], want[64];
	for (int i = 0; i < LINES; i++) {
		CHECK(fgets(line, sizeof line, f));
		snprintf(want, sizeof want, "line %04d\r\n", i);
		EXPECT_STR(line, want);
	}
	JOIN(p);
}

CASE(writers_take_turns)
{
	/* Short writes of two processes are not mixed up with each other. */
	struct pty t = output(0);
	enum { TURNS = 500 };
	for (int i = 0; i < 2; i++) {
		CHILD(p) {
			for (int n = 0; n < TURNS; n++)
				type(t.slave, i ? "<oneoneone>" : "(twotwotwo)");
		}
		(void)p;
	}
	for (int n = 0; n < 2 * TURNS; n++) {
		char got[16] = {0};
		for (ssize_t len = 0; len < 11;)
			len += EXPECT_OK(read(t.master, got + len, 11 - len));
		CHECK(!strcmp(got, "<oneoneone>") || !strcmp(got, "(twotwotwo)"));
	}
	while (wait(NULL) > 0)
		;
}

CASE(nothing_mapped)
{
	static char all[256], got[300];
	struct pty t = raw_input(0);
	for (int i = 0; i < 256; i++)
		all[i] = i;
	EXPECT_EQ(write(t.master, all, 256), 256);
	wait_readable(t.slave, 256);
	EXPECT_EQ(read(t.slave, got, sizeof got), 256);
	EXPECT_EQ(memcmp(all, got, 256), 0);
}

CASE(input_flow_control_sends_nothing)
{
	/* IXOFF is for drivers of lines; a pair just makes its writer wait. */
	struct pty t = raw_input(IXOFF);
	static char block[4096], got[8192];
	memset(block, 'b', sizeof block);
	EXPECT_EQ(write(t.master, block, sizeof block), (ssize_t)sizeof block);
	wait_readable(t.slave, 4000);
	EXPECT_EQ(events_now(t.master, POLLIN), 0);
	for (ssize_t left = sizeof block; left > 0;)
		left -= EXPECT_OK(read(t.slave, got, sizeof got));
	EXPECT_EQ(events_now(t.master, POLLIN), 0);
}

CASE(read_goes_on_after_a_handler)
{
	struct pty t = quiet();
	raw_mode(t.slave, 1, 0);
	struct gate ready = gate_new();
	CHILD(p) {
		count_signal(SIGUSR1, SA_RESTART);
		gate_open(&ready);
		EXPECT_READ(t.slave, "x");
		EXPECT_EQ(signals_seen[SIGUSR1], 1);
	}
	gate_wait(&ready);
	wait_asleep(p);
	EXPECT_OK(kill(p, SIGUSR1));
	wait_asleep(p);
	type(t.master, "x");
	JOIN(p);
}

CASE(two_readers_share_the_bytes)
{
	struct pty t = quiet();
	raw_mode(t.slave, 1, 0);
	char buf[8];
	CHILD(p) {
		EXPECT_EQ(read(t.slave, buf, 1), 1);
	}
	CHILD(q) {
		EXPECT_EQ(read(t.slave, buf, 1), 1);
	}
	wait_asleep(p);
	wait_asleep(q);
	type(t.master, "ab");
	JOIN(p);
	JOIN(q);
	EXPECT_EQ(readable_bytes(t.slave), 0);
}

CASE(flush_by_either_side)
{
	struct pty t = quiet();
	type(t.slave, "out");
	wait_readable(t.master, 3);
	EXPECT_OK(tcflush(t.slave, TCOFLUSH)); /* what has reached the master is out of reach */
	EXPECT_COMES(t.master, "out");
	type(t.slave, "out");
	wait_readable(t.master, 3);
	EXPECT_OK(tcflush(t.master, TCIFLUSH));
	EXPECT_EQ(readable_bytes(t.master), 0);
	type(t.slave, "x");
	EXPECT_COMES(t.master, "x");
	EXPECT_ERRNO(tcflush(t.slave, 3), EINVAL);
	EXPECT_ERRNO(tcflush(t.slave, -1), EINVAL);
	EXPECT_ERRNO(tcflow(t.slave, 9), EINVAL);
}

CASE(flush_while_a_reader_waits)
{
	struct pty t = quiet();
	raw_mode(t.slave, 3, 0);
	type(t.master, "ab");
	wait_readable(t.slave, 2);
	EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	CHILD(p) {
		EXPECT_READ(t.slave, "cde");
	}
	type(t.master, "cde");
	JOIN(p);
}

CASE(pending_input_flag_is_only_kept)
{
	struct pty t = quiet();
	local_flags(t.slave, 0, PENDIN);
	type(t.master, "ab\n");
	EXPECT_READ(t.slave, "ab\n");
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	CHECK(tio.c_lflag & PENDIN);
}

CASE(edited_elsewhere_and_signals)
{
	struct pty t = pty_control();
	count_signal(SIGINT, 0);
	local_flags(t.slave, 0, EXTPROC);
	type(t.master, "\003x");
	wait_readable(t.slave, 2);
	EXPECT_READ(t.slave, "\003x");
	EXPECT_EQ(signals_seen[SIGINT], 0);
	EXPECT_OK(ioctl(t.master, TIOCSIG, SIGINT)); /* so this is there for it */
	EXPECT_EQ(signals_seen[SIGINT], 1);
}
