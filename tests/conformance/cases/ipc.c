/* System V IPC and POSIX message queues, in an IPC namespace of one's own where that can be had. */
#include "../harness.h"
#include <mqueue.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define PAGE 4096UL

static void own_namespace(void)
{
	if (unshare(CLONE_NEWIPC) < 0)
		SKIP("unshare(CLONE_NEWIPC): %s", conf_errname(errno));
}

CASE(shm_segments)
{
	own_namespace();
	int id = EXPECT_OK(shmget(1234, 5000, IPC_CREAT | IPC_EXCL | 0600));
	EXPECT_ERRNO(shmget(1234, 5000, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
	EXPECT_EQ(shmget(1234, 100, 0), id);
	EXPECT_ERRNO(shmget(1234, 6000, 0), EINVAL); /* larger than it is */
	EXPECT_ERRNO(shmget(4321, 100, 0), ENOENT);
	EXPECT_ERRNO(shmget(IPC_PRIVATE, 0, IPC_CREAT | 0600), EINVAL);
	char *a = EXPECT_OK(shmat(id, NULL, 0)), *b = EXPECT_OK(shmat(id, NULL, SHM_RDONLY));
	a[0] = 's';
	EXPECT_EQ(b[0], 's');
	EXPECT_EQ(fault_write(b).sig, SIGSEGV);
	struct shmid_ds ds;
	EXPECT_OK(shmctl(id, IPC_STAT, &ds));
	EXPECT_EQ(ds.shm_segsz, 5000);
	EXPECT_EQ(ds.shm_nattch, 2);
	EXPECT_EQ(ds.shm_cpid, getpid());
	EXPECT_EQ(ds.shm_perm.mode & 0777, 0600);
	CHILD(p) {
		EXPECT_OK(shmctl(id, IPC_STAT, &ds));
		EXPECT_EQ(ds.shm_nattch, 4); /* fork attaches */
		a[1] = 'c';
	}
	JOIN(p);
	EXPECT_EQ(b[1], 'c');
	EXPECT_OK(shmdt(b));
	EXPECT_ERRNO(shmdt(b), EINVAL);
	EXPECT_ERRNO(shmdt(a + 1), EINVAL);
	EXPECT_OK(shmctl(id, IPC_RMID, NULL));
	EXPECT_ERRNO(shmget(1234, 100, 0), ENOENT);
	a[2] = 'x'; /* lives until it's detached */
	EXPECT_OK(shmctl(id, IPC_STAT, &ds));
	CHECK(ds.shm_perm.mode & SHM_DEST);
	EXPECT_OK(shmdt(a));
	EXPECT_ERRNO(shmctl(id, IPC_STAT, &ds), EINVAL);
}

CASE(shm_addresses_and_permissions)
{
	own_namespace();
	int id = EXPECT_OK(shmget(IPC_PRIVATE, PAGE, 0600));
	char *space = EXPECT_OK(mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	EXPECT_ERRNO(shmat(id, space + 1, 0), EINVAL);
	EXPECT_ERRNO(shmat(id, space, 0), EINVAL); /* something is there */
	EXPECT_EQ(shmat(id, space, SHM_REMAP), space);
	EXPECT_OK(munmap(space, 4 * PAGE));
	EXPECT_EQ(shmat(id, space + PAGE + 5, SHM_RND), space + PAGE);
	CHILD(p) {
		become_user(1000, 1000);
		EXPECT_ERRNO(shmat(id, NULL, 0), EACCES);
		EXPECT_ERRNO(shmctl(id, IPC_RMID, NULL), EPERM);
	}
	JOIN(p);
}

static int sem_op(int id, int num, int op, int flags)
{
	struct sembuf b = {num, op, flags};
	return semop(id, &b, 1);
}

CASE(semaphores)
{
	own_namespace();
	int id = EXPECT_OK(semget(77, 3, IPC_CREAT | 0600));
	EXPECT_ERRNO(semget(77, 4, 0), EINVAL);
	EXPECT_EQ(semctl(id, 0, GETVAL), 0);
	EXPECT_OK(semctl(id, 1, SETVAL, 5));
	EXPECT_OK(sem_op(id, 1, -2, 0));
	EXPECT_EQ(semctl(id, 1, GETVAL), 3);
	EXPECT_EQ(semctl(id, 1, GETPID), getpid());
	EXPECT_ERRNO(sem_op(id, 1, -4, IPC_NOWAIT), EAGAIN);
	EXPECT_ERRNO(sem_op(id, 1, 0, IPC_NOWAIT), EAGAIN); /* wait for zero */
	EXPECT_OK(sem_op(id, 0, 0, IPC_NOWAIT));
	EXPECT_ERRNO(sem_op(id, 3, 1, 0), EFBIG);
	EXPECT_ERRNO(sem_op(id, 1, 32767, 0), ERANGE);
	EXPECT_ERRNO(semctl(id, 0, SETVAL, -1), ERANGE);
	/* All of one call or nothing. */
	struct sembuf both[2] = {{1, -1, IPC_NOWAIT}, {0, -1, IPC_NOWAIT}};
	EXPECT_ERRNO(semop(id, both, 2), EAGAIN);
	EXPECT_EQ(semctl(id, 1, GETVAL), 3);
	EXPECT_ERRNO(semop(id, both, 0), EINVAL);
	unsigned short all[3];
	EXPECT_OK(semctl(id, 0, GETALL, all));
	EXPECT_EQ(all[1], 3);
	struct timespec ts = {0, 20000000};
	EXPECT_ERRNO(semtimedop(id, both + 1, 1, &ts), EAGAIN);
	struct sembuf wait = {0, -1, 0};
	EXPECT_ERRNO(semtimedop(id, &wait, 1, &ts), EAGAIN);
	EXPECT_OK(semctl(id, 0, IPC_RMID));
	EXPECT_ERRNO(sem_op(id, 0, 1, 0), EINVAL);
}

CASE(semaphore_waits)
{
	own_namespace();
	int id = EXPECT_OK(semget(IPC_PRIVATE, 1, 0600));
	CHILD(p) {
		EXPECT_OK(sem_op(id, 0, -3, 0));
		EXPECT_ERRNO(sem_op(id, 0, -100, 0), EIDRM);
	}
	wait_asleep(p);
	EXPECT_OK(sem_op(id, 0, 1, 0));
	EXPECT_OK(sem_op(id, 0, 2, 0));
	while (semctl(id, 0, GETVAL) != 0 || semctl(id, 0, GETNCNT) != 1)
		sleep_ms(1);
	EXPECT_OK(semctl(id, 0, IPC_RMID));
	JOIN(p);
	id = EXPECT_OK(semget(IPC_PRIVATE, 1, 0600));
	CHILD(q) {
		EXPECT_OK(sem_op(id, 0, 5, SEM_UNDO));
	}
	JOIN(q);
	EXPECT_EQ(semctl(id, 0, GETVAL), 0); /* taken back at the end of the process */
	interrupt_every(20);
	EXPECT_ERRNO(sem_op(id, 0, -1, 0), EINTR);
}

struct message {
	long type;
	char text[16];
};

CASE(message_queues)
{
	own_namespace();
	int id = EXPECT_OK(msgget(55, IPC_CREAT | 0600));
	struct message m = {3, "three"};
	EXPECT_OK(msgsnd(id, &m, 6, 0));
	m = (struct message){1, "one"};
	EXPECT_OK(msgsnd(id, &m, 4, 0));
	m = (struct message){2, "two"};
	EXPECT_OK(msgsnd(id, &m, 4, 0));
	m.type = 0;
	EXPECT_ERRNO(msgsnd(id, &m, 4, 0), EINVAL);
	EXPECT_EQ(msgrcv(id, &m, 16, 2, 0), 4);
	EXPECT_STR(m.text, "two");
	EXPECT_EQ(msgrcv(id, &m, 16, -2, 0), 4); /* the lowest up to 2 */
	EXPECT_EQ(m.type, 1);
	EXPECT_ERRNO(msgrcv(id, &m, 3, 0, 0), E2BIG);
	EXPECT_EQ(msgrcv(id, &m, 3, 0, MSG_NOERROR), 3);
	EXPECT_ERRNO(msgrcv(id, &m, 16, 0, IPC_NOWAIT), ENOMSG);
	struct msqid_ds ds;
	EXPECT_OK(msgctl(id, IPC_STAT, &ds));
	EXPECT_EQ(ds.msg_qnum, 0);
	EXPECT_EQ(ds.msg_lrpid, getpid());
	EXPECT_EQ(ds.msg_qbytes, 16384);
	static struct {
		long type;
		char text[8193];
	} big = {1, ""};
	EXPECT_ERRNO(msgsnd(id, &big, 8193, 0), EINVAL);
	EXPECT_OK(msgsnd(id, &big, 8192, 0));
	EXPECT_OK(msgsnd(id, &big, 8192, 0));
	EXPECT_ERRNO(msgsnd(id, &big, 1, IPC_NOWAIT), EAGAIN);
	CHILD(p) {
		/* Removed while it waits, or before it came to wait. */
		CHECK(msgrcv(id, &m, 16, 99, 0) < 0 && (errno == EIDRM || errno == EINVAL));
	}
	wait_asleep(p);
	EXPECT_OK(msgctl(id, IPC_RMID, NULL));
	JOIN(p);
}

CASE(namespaces_are_apart)
{
	own_namespace();
	EXPECT_OK(shmget(99, PAGE, IPC_CREAT | 0600));
	CHILD(p) {
		EXPECT_OK(shmget(99, PAGE, 0));
		EXPECT_OK(unshare(CLONE_NEWIPC));
		EXPECT_ERRNO(shmget(99, PAGE, 0), ENOENT);
	}
	JOIN(p);
}

CASE(posix_queues)
{
	own_namespace();
	struct mq_attr attr = {.mq_maxmsg = 3, .mq_msgsize = 16}, got;
	mqd_t q = mq_open("/conformance", O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attr);
	if (q < 0 && errno == ENOSYS)
		SKIP("no POSIX message queues");
	EXPECT_OK(q);
	EXPECT_ERRNO(mq_open("/conformance", O_RDWR | O_CREAT | O_EXCL, 0600, &attr), EEXIST);
	EXPECT_ERRNO(mq_open("/none", O_RDWR), ENOENT);
	EXPECT_OK(mq_send(q, "low", 4, 1));
	EXPECT_OK(mq_send(q, "high", 5, 9));
	EXPECT_OK(mq_send(q, "low2", 5, 1));
	EXPECT_ERRNO(mq_send(q, "full", 5, 1), EAGAIN);
	EXPECT_ERRNO(mq_send(q, "much too long a message", 24, 1), EMSGSIZE);
	EXPECT_OK(mq_getattr(q, &got));
	EXPECT_EQ(got.mq_curmsgs, 3);
	EXPECT_EQ(got.mq_flags, O_NONBLOCK);
	char buf[16];
	unsigned prio;
	EXPECT_ERRNO(mq_receive(q, buf, 15, &prio), EMSGSIZE);
	EXPECT_EQ(mq_receive(q, buf, 16, &prio), 5);
	EXPECT_STR(buf, "high");
	EXPECT_EQ(prio, 9);
	EXPECT_EQ(mq_receive(q, buf, 16, &prio), 4);
	EXPECT_STR(buf, "low");
	EXPECT_EQ(mq_receive(q, buf, 16, &prio), 5);
	EXPECT_ERRNO(mq_receive(q, buf, 16, &prio), EAGAIN);
	EXPECT_OK(mq_unlink("/conformance"));
	EXPECT_ERRNO(mq_unlink("/conformance"), ENOENT);
	EXPECT_OK(mq_send(q, "x", 1, 0)); /* lives on while it's open */
}

CASE(posix_shared_memory)
{
	char name[64];
	snprintf(name, sizeof name, "/conformance-%d", getpid());
	int fd = EXPECT_OK(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	EXPECT_ERRNO(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	EXPECT_OK(ftruncate(fd, PAGE));
	char *m = EXPECT_OK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	CHILD(p) {
		int other = EXPECT_OK(shm_open(name, O_RDWR, 0));
		char *n = EXPECT_OK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0));
		n[0] = 'c';
		EXPECT_OK(shm_unlink(name));
	}
	JOIN(p);
	EXPECT_EQ(m[0], 'c');
	EXPECT_ERRNO(shm_open(name, O_RDWR, 0), ENOENT);
}

CASE(named_semaphores)
{
	char name[64];
	snprintf(name, sizeof name, "/conformance-%d", getpid());
	sem_t *s = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
	CHECK(s != SEM_FAILED);
	CHILD(p) {
		sem_t *t = sem_open(name, 0);
		CHECK(t != SEM_FAILED);
		EXPECT_OK(sem_post(t));
	}
	EXPECT_OK(sem_wait(s));
	EXPECT_ERRNO(sem_trywait(s), EAGAIN);
	JOIN(p);
	EXPECT_OK(sem_unlink(name));
}
