/* Network interfaces as every container has them: the loopback device, by ioctl and by netlink. */
#include "../harness.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

CASE(loopback_by_ioctl)
{
	int fd = EXPECT_OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct ifreq r = {.ifr_name = "lo"};
	EXPECT_OK(ioctl(fd, SIOCGIFINDEX, &r));
	EXPECT_EQ(r.ifr_ifindex, 1);
	EXPECT_OK(ioctl(fd, SIOCGIFFLAGS, &r));
	EXPECT_EQ(r.ifr_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING), IFF_UP | IFF_LOOPBACK | IFF_RUNNING);
	EXPECT_OK(ioctl(fd, SIOCGIFADDR, &r));
	EXPECT_EQ(((struct sockaddr_in *)&r.ifr_addr)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	EXPECT_OK(ioctl(fd, SIOCGIFNETMASK, &r));
	EXPECT_EQ(((struct sockaddr_in *)&r.ifr_addr)->sin_addr.s_addr, htonl(0xff000000));
	EXPECT_OK(ioctl(fd, SIOCGIFMTU, &r));
	EXPECT_EQ(r.ifr_mtu, 65536);
	strcpy(r.ifr_name, "none0");
	EXPECT_ERRNO(ioctl(fd, SIOCGIFFLAGS, &r), ENODEV);
	r.ifr_ifindex = 1;
	EXPECT_OK(ioctl(fd, SIOCGIFNAME, &r));
	EXPECT_STR(r.ifr_name, "lo");
	EXPECT_ERRNO(ioctl(0, SIOCGIFFLAGS, &r), ENOTTY);
}

CASE(loopback_by_library)
{
	struct ifaddrs *list;
	EXPECT_OK(getifaddrs(&list));
	bool found = false;
	for (struct ifaddrs *a = list; a; a = a->ifa_next)
		if (!strcmp(a->ifa_name, "lo") && a->ifa_addr && a->ifa_addr->sa_family == AF_INET)
			found |= ((struct sockaddr_in *)a->ifa_addr)->sin_addr.s_addr == htonl(INADDR_LOOPBACK);
	CHECK(found);
	EXPECT_EQ(if_nametoindex("lo"), 1);
	EXPECT_EQ(if_nametoindex("none0"), 0);
	EXPECT_EQ(errno, ENODEV);
}

CASE(netlink_link_dump)
{
	int fd = EXPECT_OK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} req = {{sizeof req, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 7, 0}, {.ifi_family = AF_UNSPEC}};
	EXPECT_EQ(send(fd, &req, sizeof req, 0), sizeof req);
	struct sockaddr_nl me;
	socklen_t len = sizeof me;
	EXPECT_OK(getsockname(fd, (void *)&me, &len));
	EXPECT_EQ(len, sizeof me);
	EXPECT_EQ(me.nl_pid, getpid()); /* the first socket's port is the process id */
	static char buf[32768] __attribute__((aligned(8)));
	bool lo = false, done = false;
	while (!done) {
		int n = EXPECT_OK(recv(fd, buf, sizeof buf, 0));
		for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, (unsigned)n); h = NLMSG_NEXT(h, n)) {
			EXPECT_EQ(h->nlmsg_seq, 7);
			EXPECT_EQ(h->nlmsg_pid, me.nl_pid);
			done |= h->nlmsg_type == NLMSG_DONE;
			if (h->nlmsg_type != RTM_NEWLINK)
				continue;
			CHECK(h->nlmsg_flags & NLM_F_MULTI);
			struct ifinfomsg *i = NLMSG_DATA(h);
			int left = IFLA_PAYLOAD(h);
			for (struct rtattr *a = IFLA_RTA(i); RTA_OK(a, left); a = RTA_NEXT(a, left))
				if (a->rta_type == IFLA_IFNAME && !strcmp(RTA_DATA(a), "lo"))
					lo = i->ifi_index == 1 && i->ifi_flags & IFF_LOOPBACK;
		}
	}
	CHECK(lo);
}

CASE(netlink_errors)
{
	EXPECT_ERRNO(socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE), ESOCKTNOSUPPORT);
	EXPECT_ERRNO(socket(AF_NETLINK, SOCK_RAW, 9999), EPROTONOSUPPORT);
	int fd = EXPECT_OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	struct nlmsghdr req = {sizeof req, 0xfff0, NLM_F_REQUEST | NLM_F_ACK, 9, 0};
	EXPECT_EQ(send(fd, &req, sizeof req, 0), sizeof req);
	char buf[256] __attribute__((aligned(8)));
	EXPECT_OK(recv(fd, buf, sizeof buf, 0));
	struct nlmsghdr *h = (void *)buf;
	EXPECT_EQ(h->nlmsg_type, NLMSG_ERROR);
	EXPECT_EQ(h->nlmsg_seq, 9);
	struct nlmsgerr *e = NLMSG_DATA(h);
	EXPECT_EQ(e->error, -EOPNOTSUPP);
	EXPECT_ERRNO(recv(fd, buf, sizeof buf, MSG_DONTWAIT), EAGAIN);
	CHILD(p) {
		become_user(1000, 1000);
		struct {
			struct nlmsghdr h;
			struct ifinfomsg i;
		} down = {{sizeof down, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 10, 0}, {.ifi_index = 1}};
		EXPECT_EQ(send(fd, &down, sizeof down, 0), sizeof down);
		EXPECT_OK(recv(fd, buf, sizeof buf, 0));
		EXPECT_EQ(h->nlmsg_type, NLMSG_ERROR);
		EXPECT_EQ(e->error, -EPERM);
	}
	JOIN(p);
}
