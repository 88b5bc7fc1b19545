/* The descriptor table: numbers, duplication, close-on-exec, status flags, limits, passing over sockets. */
#include "../harness.h"

CASE(open_takes_the_lowest_free)
{
	int a = EXPECT_OK(open("/dev/null", O_RDONLY));
	int b = EXPECT_OK(open("/dev/null", O_RDONLY));
	EXPECT_EQ(a, 3);
	EXPECT_EQ(b, 4);
	EXPECT_OK(close(a));
	EXPECT_EQ(open("/dev/null", O_RDONLY), 3);
	EXPECT_EQ(dup(b), 5);
	EXPECT_ERRNO(close(99), EBADF);
	EXPECT_ERRNO(close(-1), EBADF);
}
