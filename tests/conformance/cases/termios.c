/* The line discipline as programs see it: settings, lines and their editing, raw reads, echo, output, flow control, queues. */
#include "terminal.h"

CASE(settings_of_a_new_terminal)
{
	struct pty t = pty_new();
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	EXPECT_EQ(tio.c_iflag, ICRNL | IXON);
	EXPECT_EQ(tio.c_oflag, OPOST | ONLCR);
	EXPECT_EQ(tio.c_cflag, B38400 | CS8 | CREAD);
	EXPECT_EQ(tio.c_lflag, ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN);
	EXPECT_EQ(cfgetispeed(&tio), B38400);
	EXPECT_EQ(cfgetospeed(&tio), B38400);
	static const unsigned char cc[] = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0};
	EXPECT_EQ(memcmp(tio.c_cc, cc, sizeof cc), 0);
	struct winsize ws;
	EXPECT_OK(ioctl(t.slave, TIOCGWINSZ, &ws));
	EXPECT_EQ(ws.ws_row | ws.ws_col, 0);
}

CASE(settings_are_kept_as_given)
{
	struct pty t = pty_new();
	struct termios tio, seen;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	tio.c_iflag = ICRNL | IXANY | IUTF8 | IMAXBEL | BRKINT;
	tio.c_oflag = OPOST | OCRNL | XTABS;
	tio.c_lflag = ICANON | TOSTOP | NOFLSH | PENDIN;
	tio.c_cc[VINTR] = 'i';
	tio.c_cc[VEOL2] = 'e';
	cfsetspeed(&tio, B9600);
	EXPECT_OK(tcsetattr(t.slave, TCSANOW, &tio));
	EXPECT_OK(tcgetattr(t.slave, &seen));
	EXPECT_EQ(seen.c_iflag, tio.c_iflag);
	EXPECT_EQ(seen.c_oflag, tio.c_oflag);
	EXPECT_EQ(seen.c_lflag, tio.c_lflag);
	EXPECT_EQ(seen.c_cc[VINTR], 'i');
	EXPECT_EQ(seen.c_cc[VEOL2], 'e');
	EXPECT_EQ(cfgetospeed(&seen), B9600);
	EXPECT_EQ(seen.c_cflag & (CSIZE | CREAD | PARENB), CS8 | CREAD);
	tio.c_cflag = B9600 | CS5 | PARENB; /* a pair has eight bits and no parity */
	EXPECT_OK(ioctl(t.slave, TCSETS, &tio)); /* the library would complain */
	EXPECT_OK(tcgetattr(t.slave, &seen));
	EXPECT_EQ(seen.c_cflag & (CSIZE | CREAD | PARENB), CS8 | CREAD);
}

CASE(lines_one_a_read)
{
	struct pty t = quiet();
	type(t.master, "one\ntwo\nthr");
	EXPECT_READ(t.slave, "one\n");
	EXPECT_READ(t.slave, "two\n");
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
	char buf[16];
	EXPECT_ERRNO(read(t.slave, buf, sizeof buf), EAGAIN);
	EXPECT_EQ(events_now(t.slave, POLLIN), 0);
	type(t.master, "ee\n");
	wait_for(t.slave, POLLIN);
	EXPECT_EQ(read(t.slave, buf, 2), 2); /* in pieces, if asked for so */
	EXPECT_EQ(read(t.slave, buf, 2), 2);
	EXPECT_EQ(memcmp(buf, "re", 2), 0);
	EXPECT_READ(t.slave, "e\n");
	EXPECT_EQ(read(t.slave, buf, 0), 0);
}

CASE(readable_counts)
{
	struct pty t = pty_new();
	type(t.master, "abc");
	EXPECT_COMES(t.master, "abc");
	EXPECT_EQ(readable_bytes(t.slave), 0); /* no line yet */
	type(t.master, "d\n");
	EXPECT_COMES(t.master, "d\r\n");
	EXPECT_EQ(readable_bytes(t.slave), 5);
	type(t.master, "ef");
	EXPECT_COMES(t.master, "ef");
	RECORD("a line and a half", "%d", readable_bytes(t.slave));
	EXPECT_READ(t.slave, "abcd\n");
	local_flags(t.slave, ICANON, 0);
	EXPECT_EQ(readable_bytes(t.slave), 2);
}

CASE(input_mapping)
{
	struct pty t = quiet();
	type(t.master, "a\rb\n");
	EXPECT_READ(t.slave, "a\n");
	EXPECT_READ(t.slave, "b\n");
	input_flags(t.slave, ICRNL, 0);
	type(t.master, "a\rb\n");
	EXPECT_READ(t.slave, "a\rb\n");
	input_flags(t.slave, 0, IGNCR);
	type(t.master, "a\rb\n");
	EXPECT_READ(t.slave, "ab\n");
	input_flags(t.slave, IGNCR, INLCR);
	local_flags(t.slave, ICANON, 0);
	type(t.master, "\n");
	EXPECT_READ(t.slave, "\r");
	input_flags(t.slave, INLCR, ISTRIP);
	type(t.master, "\341");
	EXPECT_READ(t.slave, "a");
	input_flags(t.slave, ISTRIP, IUCLC);
	type(t.master, "ABc");
	wait_readable(t.slave, 3);
	EXPECT_READ(t.slave, "abc");
}

CASE(output_mapping)
{
	struct pty t = pty_new();
	type(t.slave, "a\nb\r\n");
	EXPECT_COMES(t.master, "a\r\nb\r\r\n");
	output_flags(t.slave, ONLCR, OCRNL);
	type(t.slave, "a\nb\r");
	EXPECT_COMES(t.master, "a\nb\n");
	output_flags(t.slave, OCRNL, 0);
	type(t.slave, "\r");
	EXPECT_COMES(t.master, "\r");
	output_flags(t.slave, 0, ONOCR); /* none where the line begins */
	type(t.slave, "\ra\r");
	EXPECT_COMES(t.master, "a\r");
	output_flags(t.slave, ONOCR, XTABS);
	type(t.slave, "\rab\tc\t");
	EXPECT_COMES(t.master, "\rab      c       ");
	output_flags(t.slave, XTABS, OLCUC);
	type(t.slave, "up");
	EXPECT_COMES(t.master, "UP");
	output_flags(t.slave, OPOST, 0);
	type(t.slave, "a\n\tb");
	EXPECT_COMES(t.master, "a\n\tb");
}

CASE(raw_minimum)
{
	struct pty t = quiet();
	raw_mode(t.slave, 3, 0);
	type(t.master, "ab");
	wait_readable(t.slave, 2);
	EXPECT_EQ(events_now(t.slave, POLLIN), 0); /* the minimum counts for poll too */
	CHILD(p) {
		char buf[8];
		EXPECT_EQ(read(t.slave, buf, sizeof buf), 3);
	}
	wait_asleep(p);
	type(t.master, "c");
	JOIN(p);
	raw_mode(t.slave, 3, 0);
	type(t.master, "de");
	wait_readable(t.slave, 2);
	char buf[8];
	EXPECT_EQ(read(t.slave, buf, 2), 2); /* no more than asked for */
	type(t.master, "f");
	wait_readable(t.slave, 1);
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(read(t.slave, buf, sizeof buf), 1); /* less than the minimum, rather than to wait */
	EXPECT_ERRNO(read(t.slave, buf, sizeof buf), EAGAIN);
}

CASE(raw_without_minimum)
{
	struct pty t = quiet();
	char buf[8];
	raw_mode(t.slave, 0, 0);
	EXPECT_EQ(read(t.slave, buf, sizeof buf), 0);
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
	RECORD("nonblocking", "%zd", read(t.slave, buf, sizeof buf));
	type(t.master, "x");
	wait_for(t.slave, POLLIN);
	EXPECT_EQ(read(t.slave, buf, sizeof buf), 1);
}

CASE(raw_with_a_time)
{
	struct pty t = quiet();
	char buf[8];
	raw_mode(t.slave, 0, 2);
	int64_t start = now_ms();
	EXPECT_EQ(read(t.slave, buf, sizeof buf), 0);
	CHECK(now_ms() - start >= 190);
	CHECK(now_ms() - start < 8000);
	type(t.master, "x");
	EXPECT_EQ(read(t.slave, buf, sizeof buf), 1);
	raw_mode(t.slave, 5, 1); /* the time runs from the first byte */
	type(t.master, "yz");
	EXPECT_COMES(t.slave, "yz");
}

CASE(switching_modes_keeps_the_input)
{
	struct pty t = pty_new();
	type(t.master, "ab");
	EXPECT_COMES(t.master, "ab");
	local_flags(t.slave, ICANON, 0);
	EXPECT_READ(t.slave, "ab");
	type(t.master, "cd");
	EXPECT_COMES(t.master, "cd");
	local_flags(t.slave, 0, ICANON);
	EXPECT_READ(t.slave, "cd"); /* what was there when lines came back is a line */
}

CASE(flushing_settings)
{
	struct pty t = pty_new();
	struct termios tio;
	type(t.master, "ab\n");
	EXPECT_COMES(t.master, "ab\r\n");
	EXPECT_OK(tcgetattr(t.slave, &tio));
	EXPECT_OK(tcsetattr(t.slave, TCSANOW, &tio));
	EXPECT_EQ(readable_bytes(t.slave), 3);
	EXPECT_OK(tcsetattr(t.slave, TCSADRAIN, &tio));
	EXPECT_EQ(readable_bytes(t.slave), 3);
	EXPECT_OK(tcsetattr(t.slave, TCSAFLUSH, &tio));
	EXPECT_EQ(readable_bytes(t.slave), 0);
}

CASE(flushing_queues)
{
	struct pty t = pty_new();
	type(t.master, "ab\n");
	EXPECT_COMES(t.master, "ab\r\n");
	EXPECT_OK(tcflush(t.slave, TCOFLUSH));
	EXPECT_EQ(readable_bytes(t.slave), 3);
	EXPECT_OK(tcflush(t.slave, TCIFLUSH));
	EXPECT_EQ(readable_bytes(t.slave), 0);
	type(t.master, "cd\n");
	EXPECT_COMES(t.master, "cd\r\n");
	EXPECT_OK(tcflush(t.slave, TCIOFLUSH));
	EXPECT_EQ(readable_bytes(t.slave), 0);
	type(t.master, "e\n");
	EXPECT_READ(t.slave, "e\n");
}

CASE(flow_control_keys)
{
	struct pty t = quiet();
	type(t.master, "\023"); /* ^S */
	while (events_now(t.slave, POLLOUT)) /* taken in when the slave has become unwritable */
		sleep_ms(1);
	EXPECT_OK(fcntl(t.slave, F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(write(t.slave, "x", 1), EAGAIN);
	type(t.master, "\021"); /* ^Q */
	EXPECT_EQ(wait_for(t.slave, POLLOUT), POLLOUT);
	type(t.slave, "y");
	EXPECT_COMES(t.master, "y");
	type(t.master, "ab\n"); /* neither key is input */
	EXPECT_READ(t.slave, "ab\n");
	input_flags(t.slave, 0, IXANY);
	type(t.master, "\023");
	while (events_now(t.slave, POLLOUT))
		sleep_ms(1);
	type(t.master, "z");
	EXPECT_EQ(wait_for(t.slave, POLLOUT), POLLOUT);
	input_flags(t.slave, IXON | IXANY, 0);
	type(t.master, "\023\n");
	wait_for(t.slave, POLLIN);
	char buf[8];
	EXPECT_EQ(read(t.slave, buf, sizeof buf), 2 + (buf[0] == 'z'));
}

CASE(flow_control_by_call)
{
	struct pty t = quiet();
	EXPECT_OK(tcflow(t.slave, TCOOFF));
	EXPECT_EQ(events_now(t.slave, POLLOUT), 0);
	CHILD(p) {
		type(t.slave, "late");
	}
	wait_asleep(p);
	EXPECT_EQ(events_now(t.master, POLLIN), 0);
	EXPECT_OK(tcflow(t.slave, TCOON));
	EXPECT_COMES(t.master, "late");
	JOIN(p);
	EXPECT_OK(tcflow(t.slave, TCIOFF)); /* sends the stop character */
	EXPECT_COMES(t.master, "\023");
	EXPECT_OK(tcflow(t.slave, TCION));
	EXPECT_COMES(t.master, "\021");
}

CASE(lines_of_nothing)
{
	struct pty t = pty_new();
	EXPECT_EQ(write(t.slave, "", 0), 0);
	EXPECT_EQ(write(t.master, "", 0), 0);
	EXPECT_ERRNO(write(t.slave, (void *)8, 4), EFAULT);
	EXPECT_ERRNO(write(t.master, (void *)8, 4), EFAULT);
	type(t.master, "x\n");
	wait_for(t.slave, POLLIN);
	EXPECT_ERRNO(read(t.slave, (void *)8, 4), EFAULT);
}

CASE(extended_settings)
{
	struct pty t = pty_new();
	struct {
		tcflag_t iflag, oflag, cflag, lflag;
		cc_t line, cc[19];
		speed_t ispeed, ospeed;
	} two;
	EXPECT_EQ(sizeof two, 44);
	EXPECT_OK(ioctl(t.slave, _IOR('T', 0x2a, two), &two)); /* TCGETS2 */
	EXPECT_EQ(two.lflag, ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN);
	EXPECT_EQ(two.ispeed, 38400);
	EXPECT_EQ(two.ospeed, 38400);
	two.lflag &= ~ECHO;
	EXPECT_OK(ioctl(t.slave, _IOW('T', 0x2b, two), &two)); /* TCSETS2 */
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	CHECK(!(tio.c_lflag & ECHO));
	struct {
		unsigned short iflag, oflag, cflag, lflag;
		unsigned char line, cc[8];
	} old;
	EXPECT_OK(ioctl(t.slave, TCGETA, &old));
	EXPECT_EQ(old.iflag, ICRNL | IXON);
	EXPECT_EQ(old.cc[VINTR], 3);
}

CASE(settings_wait_for_output)
{
	/* TCSADRAIN waits until what was written has gone to the other side; on a pair that is at once. */
	struct pty t = pty_new();
	struct termios tio;
	EXPECT_OK(tcgetattr(t.slave, &tio));
	type(t.slave, "out");
	EXPECT_OK(tcsetattr(t.slave, TCSADRAIN, &tio));
	EXPECT_OK(tcdrain(t.slave));
	EXPECT_COMES(t.master, "out");
}

CASE(locked_settings)
{
	struct pty t = pty_new();
	struct termios lock, tio;
	EXPECT_OK(ioctl(t.slave, TIOCGLCKTRMIOS, &lock));
	EXPECT_EQ(lock.c_lflag, 0);
	needs_root();
	lock.c_lflag = ECHO;
	EXPECT_OK(ioctl(t.slave, TIOCSLCKTRMIOS, &lock));
	EXPECT_OK(tcgetattr(t.slave, &tio));
	tio.c_lflag &= ~(ECHO | ISIG);
	EXPECT_OK(tcsetattr(t.slave, TCSANOW, &tio));
	EXPECT_OK(tcgetattr(t.slave, &tio));
	CHECK(tio.c_lflag & ECHO);
	CHECK(!(tio.c_lflag & ISIG));
}
