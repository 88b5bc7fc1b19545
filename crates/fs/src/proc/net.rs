//! `/proc/PID/net`: a network with nothing but the loopback interface, in the tables' formats.

use super::root::pid_ino;
use super::target::Target;
use crate::synth::{Body, Entry, Static, StaticDir};
use abi::Errno;
use std::sync::Arc;
use vfs::{Caller, FileType, Inode};

/// Where the inode numbers start among those of a process.
const FIRST_INO: u64 = 256;

const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
";
const IF_INET6: &str = "00000000000000000000000000000001 01 80 10 80       lo\n";
const IGMP: &str = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";
const IPV6_ROUTE: &str = "\
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000001 00000000 80200001       lo
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";
const NETLINK: &str = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n";
const RAW: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
const SOCKSTAT: &str = "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\n\
                        UDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n";
const SOCKSTAT6: &str = "TCP6: inuse 0\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n";
const SNMP: &str = "\
Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits
Ip: 2 64 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
Icmp: InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps OutTimestampReps OutAddrMasks OutAddrMaskReps
Icmp: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors
Tcp: 1 200 120000 -1 0 0 0 0 0 0 0 0 0 0 0
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
Udp: 0 0 0 0 0 0 0 0 0
UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
UdpLite: 0 0 0 0 0 0 0 0 0
";
const V6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

/// A heading, padded as Linux pads the lines of the table below it.
fn padded(heading: &str, width: usize) -> Static {
    Static::text(format!("{heading:<width$}\n"))
}

fn files() -> Vec<(String, Static)> {
    let udp = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
    let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
    let route = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
    let entries: Vec<(&str, Static)> = vec![
        ("arp", Static::text("IP address       HW type     Flags       HW address            Mask     Device\n")),
        ("dev", Static::text(DEV)),
        ("dev_mcast", Static::text("")),
        ("if_inet6", Static::text(IF_INET6)),
        ("igmp", Static::text(IGMP)),
        ("ipv6_route", Static::text(IPV6_ROUTE)),
        ("netlink", Static::text(NETLINK)),
        ("packet", Static::text("sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n")),
        ("protocols", Static::text(PROTOCOLS)),
        ("psched", Static::text("000003e8 00000040 000f4240 3b9aca00\n")),
        ("ptype", Static::text("Type Device      Function\n")),
        ("raw", Static::text(RAW)),
        ("raw6", Static::text(format!("{V6} ref pointer drops\n"))),
        ("route", padded(route, 127)),
        ("snmp", Static::text(SNMP)),
        ("sockstat", Static::text(SOCKSTAT)),
        ("sockstat6", Static::text(SOCKSTAT6)),
        ("tcp", padded(tcp, 149)),
        ("tcp6", Static::text(format!("{V6}\n"))),
        ("udp", padded(udp, 127)),
        ("udp6", Static::text(format!("{V6} ref pointer drops\n"))),
        ("udplite", padded(udp, 127)),
        ("unix", Static::text("Num       RefCount Protocol Flags    Type St Inode Path\n")),
        ("stat", Static::dir([])),
    ];
    entries.into_iter().map(|(name, node)| (name.to_owned(), node)).collect()
}

const PROTOCOLS: &str = "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n";

/// The directory.
pub(super) struct NetDir {
    target: Target,
    files: StaticDir,
}

impl NetDir {
    pub fn new(target: &Target) -> NetDir {
        let mut next = pid_ino(target.tid, FIRST_INO);
        NetDir { target: target.clone(), files: StaticDir::new(files(), target.shared.dev, &mut next) }
    }
}

impl Body for NetDir {
    fn kind(&self) -> FileType {
        FileType::Directory
    }

    fn perm(&self) -> u32 {
        0o555
    }

    fn nlink(&self) -> u32 {
        self.files.nlink()
    }

    fn alive(&self) -> bool {
        self.target.alive()
    }

    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        self.files.lookup(caller, name)
    }

    fn list(&self, caller: &dyn Caller) -> Result<Vec<Entry>, Errno> {
        self.files.list(caller)
    }
}
