/* Linux asynchronous I/O (io_setup and its relatives). */
#include "../harness.h"
#include <linux/aio_abi.h>
#include <sys/eventfd.h>

static aio_context_t context(unsigned depth)
{
	aio_context_t ctx = 0;
	if (syscall(SYS_io_setup, depth, &ctx) < 0 && errno == ENOSYS)
		SKIP("no io_setup");
	CHECK(ctx != 0);
	return ctx;
}

static struct iocb request(int op, int fd, void *buf, size_t len, off_t at)
{
	return (struct iocb){.aio_lio_opcode = op,
			     .aio_fildes = fd,
			     .aio_buf = (uintptr_t)buf,
			     .aio_nbytes = len,
			     .aio_offset = at,
			     .aio_data = 0x1234};
}

CASE(read_and_write)
{
	aio_context_t ctx = context(8);
	char in[8] = {0};
	int fd = EXPECT_OK(open("f", O_RDWR | O_CREAT, 0600)), ev = EXPECT_OK(eventfd(0, 0));
	struct iocb w = request(IOCB_CMD_PWRITE, fd, "hello", 5, 3), r = request(IOCB_CMD_PREAD, fd, in, 8, 3), *list[1] = {&w};
	struct io_event e;
	EXPECT_EQ(syscall(SYS_io_submit, ctx, 1, list), 1);
	EXPECT_EQ(syscall(SYS_io_getevents, ctx, 1, 1, &e, NULL), 1);
	EXPECT_EQ(e.res, 5);
	EXPECT_EQ(e.data, 0x1234);
	EXPECT_EQ(e.obj, (uintptr_t)&w);
	r.aio_flags = IOCB_FLAG_RESFD;
	r.aio_resfd = ev;
	list[0] = &r;
	EXPECT_EQ(syscall(SYS_io_submit, ctx, 1, list), 1);
	uint64_t count;
	EXPECT_EQ(read(ev, &count, 8), 8);
	EXPECT_EQ(count, 1);
	EXPECT_EQ(syscall(SYS_io_getevents, ctx, 0, 1, &e, NULL), 1);
	EXPECT_EQ(e.res, 5);
	EXPECT_STR(in, "hello");
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
	EXPECT_OK(syscall(SYS_io_destroy, ctx));
	EXPECT_ERRNO(syscall(SYS_io_destroy, ctx), EINVAL);
}

CASE(errors)
{
	aio_context_t ctx = context(4), bad = 1;
	int fd = EXPECT_OK(open("f", O_RDONLY | O_CREAT, 0600));
	struct iocb r = request(IOCB_CMD_PWRITE, fd, "x", 1, 0), *list[1] = {&r};
	struct io_event e;
	EXPECT_ERRNO(syscall(SYS_io_setup, 0, &ctx), EINVAL);
	bad = 0;
	EXPECT_ERRNO(syscall(SYS_io_setup, 0, &bad), EINVAL);
	EXPECT_ERRNO(syscall(SYS_io_submit, ctx, -1L, list), EINVAL);
	EXPECT_EQ(syscall(SYS_io_submit, ctx, 0, list), 0);
	EXPECT_ERRNO(syscall(SYS_io_submit, ctx, 1, list), EBADF); /* not open for writing */
	r = request(99, fd, "x", 1, 0);
	EXPECT_ERRNO(syscall(SYS_io_submit, ctx, 1, list), EINVAL);
	r = request(IOCB_CMD_PREAD, 99, "x", 1, 0);
	EXPECT_ERRNO(syscall(SYS_io_submit, ctx, 1, list), EBADF);
	struct timespec ts = {0, 10000000};
	EXPECT_EQ(syscall(SYS_io_getevents, ctx, 1, 1, &e, &ts), 0); /* nothing came */
	EXPECT_ERRNO(syscall(SYS_io_getevents, 1, 1, 1, &e, &ts), EINVAL);
	EXPECT_ERRNO(syscall(SYS_io_getevents, ctx, 2, 1, &e, &ts), EINVAL);
}
