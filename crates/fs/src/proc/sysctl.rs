//! /proc/sys: Linux's settings with the values that hold here. Few can be changed.

use super::{Shared, terminals};
use crate::synth::{Static, written_word};
use abi::Errno;
use kernel::Uts;
use std::sync::Arc;
use vfs::Caller;

/// Settings of fixed value, by name.
type Table = &'static [(&'static str, &'static str)];

const KERNEL: Table = &[
    ("auto_msgmni", "0"),
    ("core_pattern", "core"),
    ("core_pipe_limit", "0"),
    ("core_uses_pid", "0"),
    ("ctrl-alt-del", "0"),
    ("dmesg_restrict", "1"),
    ("io_uring_disabled", "2"),
    ("kptr_restrict", "1"),
    ("msgmax", "8192"),
    ("msgmnb", "16384"),
    ("msgmni", "32000"),
    ("numa_balancing", "0"),
    ("nmi_watchdog", "0"),
    ("overflowgid", "65534"),
    ("overflowuid", "65534"),
    ("panic", "0"),
    ("panic_on_oops", "1"),
    ("perf_event_max_sample_rate", "100000"),
    ("perf_event_mlock_kb", "516"),
    ("perf_event_paranoid", "4"),
    ("pid_max", "4194304"),
    ("print-fatal-signals", "0"),
    ("printk", "4\t4\t1\t7"),
    ("randomize_va_space", "2"),
    ("sched_autogroup_enabled", "0"),
    ("sched_rr_timeslice_ms", "100"),
    ("sched_rt_period_us", "1000000"),
    ("sched_rt_runtime_us", "950000"),
    ("sem", "32000\t1024000000\t500\t32000"),
    ("shm_rmid_forced", "0"),
    ("shmall", "18446744073692774399"),
    ("shmmax", "18446744073692774399"),
    ("shmmni", "4096"),
    ("sysrq", "0"),
    ("tainted", "0"),
    ("threads-max", "32768"),
    ("timer_migration", "1"),
    ("unprivileged_bpf_disabled", "2"),
];

const KERNEL_FIXED: Table =
    &[("cap_last_cap", "40"), ("ngroups_max", "65536"), ("ostype", "Linux"), ("bootloader_type", "0")];

const VM: Table = &[
    ("dirty_background_bytes", "0"),
    ("dirty_background_ratio", "10"),
    ("dirty_bytes", "0"),
    ("dirty_expire_centisecs", "3000"),
    ("dirty_ratio", "20"),
    ("dirty_writeback_centisecs", "500"),
    ("laptop_mode", "0"),
    ("legacy_va_layout", "0"),
    ("max_map_count", "65530"),
    ("memfd_noexec", "0"),
    ("min_free_kbytes", "67584"),
    ("mmap_min_addr", "65536"),
    ("mmap_rnd_bits", "28"),
    ("nr_hugepages", "0"),
    ("nr_overcommit_hugepages", "0"),
    ("oom_dump_tasks", "1"),
    ("oom_kill_allocating_task", "0"),
    ("overcommit_kbytes", "0"),
    ("overcommit_memory", "0"),
    ("overcommit_ratio", "50"),
    ("page-cluster", "3"),
    ("panic_on_oom", "0"),
    ("stat_interval", "1"),
    ("swappiness", "60"),
    ("unprivileged_userfaultfd", "0"),
    ("vfs_cache_pressure", "100"),
    ("zone_reclaim_mode", "0"),
];

const FS: Table = &[
    ("aio-max-nr", "65536"),
    ("dir-notify-enable", "0"),
    ("file-max", "9223372036854775807"),
    ("lease-break-time", "45"),
    ("leases-enable", "1"),
    ("mount-max", "100000"),
    ("nr_open", "1048576"),
    ("overflowgid", "65534"),
    ("overflowuid", "65534"),
    ("pipe-max-size", "1048576"),
    ("pipe-user-pages-hard", "0"),
    ("pipe-user-pages-soft", "16384"),
    ("protected_fifos", "0"),
    ("protected_hardlinks", "1"),
    ("protected_regular", "0"),
    ("protected_symlinks", "0"),
    ("suid_dumpable", "0"),
];

const FS_FIXED: Table = &[
    ("aio-nr", "0"),
    ("dentry-state", "8192\t8192\t45\t0\t0\t0"),
    ("file-nr", "1024\t0\t9223372036854775807"),
    ("inode-nr", "8192\t0"),
    ("inode-state", "8192\t0\t0\t0\t0\t0\t0"),
];

const NET_CORE: Table = &[
    ("default_qdisc", "pfifo_fast"),
    ("netdev_max_backlog", "1000"),
    ("optmem_max", "131072"),
    ("rmem_default", "212992"),
    ("rmem_max", "4194304"),
    ("somaxconn", "4096"),
    ("wmem_default", "212992"),
    ("wmem_max", "4194304"),
];

const NET_IPV4: Table = &[
    ("icmp_echo_ignore_all", "0"),
    ("icmp_echo_ignore_broadcasts", "1"),
    ("ip_default_ttl", "64"),
    ("ip_forward", "0"),
    ("ip_local_port_range", "32768\t60999"),
    ("ip_local_reserved_ports", ""),
    ("ip_nonlocal_bind", "0"),
    ("ip_unprivileged_port_start", "1024"),
    ("ping_group_range", "1\t0"),
    ("tcp_available_congestion_control", "reno cubic"),
    ("tcp_allowed_congestion_control", "reno cubic"),
    ("tcp_congestion_control", "cubic"),
    ("tcp_ecn", "2"),
    ("tcp_fastopen", "1"),
    ("tcp_fin_timeout", "60"),
    ("tcp_keepalive_intvl", "75"),
    ("tcp_keepalive_probes", "9"),
    ("tcp_keepalive_time", "7200"),
    ("tcp_max_syn_backlog", "2048"),
    ("tcp_max_tw_buckets", "131072"),
    ("tcp_mem", "289092\t385459\t578184"),
    ("tcp_moderate_rcvbuf", "1"),
    ("tcp_no_metrics_save", "0"),
    ("tcp_retries1", "3"),
    ("tcp_retries2", "15"),
    ("tcp_rmem", "4096\t131072\t6291456"),
    ("tcp_sack", "1"),
    ("tcp_slow_start_after_idle", "1"),
    ("tcp_syn_retries", "6"),
    ("tcp_synack_retries", "5"),
    ("tcp_syncookies", "1"),
    ("tcp_timestamps", "1"),
    ("tcp_tw_reuse", "2"),
    ("tcp_window_scaling", "1"),
    ("tcp_wmem", "4096\t16384\t4194304"),
    ("udp_rmem_min", "4096"),
    ("udp_wmem_min", "4096"),
];

const INOTIFY: Table = &[("max_queued_events", "16384"), ("max_user_instances", "128"), ("max_user_watches", "65536")];

const MQUEUE: Table = &[
    ("msg_default", "10"),
    ("msg_max", "10"),
    ("msgsize_default", "8192"),
    ("msgsize_max", "8192"),
    ("queues_max", "256"),
];

const IPV6_CONF: Table =
    &[("accept_ra", "0"), ("disable_ipv6", "0"), ("forwarding", "0"), ("hop_limit", "64"), ("mtu", "1280")];

fn settings(table: Table) -> Vec<(&'static str, Static)> {
    table.iter().map(|(name, value)| (*name, Static::setting(format!("{value}\n")))).collect()
}

fn fixed(table: Table) -> Vec<(&'static str, Static)> {
    table.iter().map(|(name, value)| (*name, Static::text(format!("{value}\n")))).collect()
}

fn dir(parts: Vec<Vec<(&'static str, Static)>>) -> Static {
    Static::dir(parts.into_iter().flatten())
}

/// A random uuid, version 4.
pub(super) fn random_uuid() -> String {
    let mut bytes = [0u8; 16];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let parts = [hex.get(..8), hex.get(8..12), hex.get(12..16), hex.get(16..20), hex.get(20..)];
    parts.map(Option::unwrap_or_default).join("-")
}

/// Longest host or domain name.
const NAME_MAX: usize = 64;

/// The host's or domain's name, which the superuser may change.
fn uts_name(shared: &Arc<Shared>, field: fn(&mut Uts) -> &mut Vec<u8>) -> Static {
    let (reader, writer) = (shared.clone(), shared.clone());
    let make = move |_: &dyn Caller| {
        let mut name = field(&mut reader.kernel()?.uts.lock()).clone();
        name.push(b'\n');
        Ok(name)
    };
    let take = move |_: &dyn Caller, data: &[u8]| {
        let end = data.iter().position(|b| matches!(b, b'\n' | 0)).unwrap_or(data.len()).min(NAME_MAX);
        *field(&mut writer.kernel()?.uts.lock()) = data.get(..end).unwrap_or_default().to_vec();
        Ok(())
    };
    Static::Writable(0o644, Box::new(make), Box::new(take))
}

fn random(shared: &Arc<Shared>) -> Static {
    Static::dir([
        ("boot_id", Static::text(format!("{}\n", shared.boot_id))),
        ("entropy_avail", Static::text("256\n")),
        ("poolsize", Static::text("256\n")),
        ("urandom_min_reseed_secs", Static::setting("60\n")),
        ("uuid", Static::made(|| format!("{}\n", random_uuid()).into_bytes())),
        ("write_wakeup_threshold", Static::setting("256\n")),
    ])
}

/// `ns_last_pid`: the last id that was given.
fn last_pid(shared: &Arc<Shared>) -> Static {
    let shared = shared.clone();
    let make = move |_: &dyn Caller| {
        let last = shared.kernel()?.tree.lock().last_id();
        Ok::<_, Errno>(format!("{last}\n").into_bytes())
    };
    Static::File(0o644, Box::new(make))
}

/// Writing to `drop_caches` does nothing: there is nothing that could be dropped.
fn drop_caches() -> Static {
    let take = |_: &dyn Caller, data: &[u8]| match written_word(data)?.parse() {
        Ok(1..=4) => Ok(()),
        _ => Err(Errno::EINVAL),
    };
    Static::Writable(0o200, Box::new(|_| Ok(Vec::new())), Box::new(take))
}

/// All of it.
pub(super) fn tree(shared: &Arc<Shared>) -> Vec<(String, Static)> {
    let kernel = vec![
        ("hostname", uts_name(shared, |uts| &mut uts.hostname)),
        ("domainname", uts_name(shared, |uts| &mut uts.domainname)),
        ("osrelease", Static::text(format!("{}\n", shared.about.release))),
        ("version", Static::text(format!("{}\n", shared.about.version))),
        ("ns_last_pid", last_pid(shared)),
        ("random", random(shared)),
        ("pty", terminals::pty(shared)),
        ("keys", Static::dir([("maxkeys", Static::setting("200\n")), ("maxbytes", Static::setting("20000\n"))])),
        (
            "seccomp",
            Static::dir([(
                "actions_avail",
                Static::text("kill_process kill_thread trap errno user_notif trace log allow\n"),
            )]),
        ),
        ("yama", Static::dir([("ptrace_scope", Static::setting("0\n"))])),
    ];
    let fs = vec![
        ("inotify", dir(vec![settings(INOTIFY)])),
        ("epoll", Static::dir([("max_user_watches", Static::setting("1048576\n"))])),
        ("mqueue", dir(vec![settings(MQUEUE)])),
        ("binfmt_misc", Static::dir([])),
    ];
    let conf = || dir(vec![settings(IPV6_CONF)]);
    let ipv6 = Static::dir([
        ("conf", Static::dir([("all", conf()), ("default", conf()), ("lo", conf())])),
        ("bindv6only", Static::setting("0\n")),
    ]);
    let ipv4_conf = || Static::dir([("forwarding", Static::setting("0\n")), ("rp_filter", Static::setting("0\n"))]);
    let ipv4 = vec![("conf", Static::dir([("all", ipv4_conf()), ("default", ipv4_conf()), ("lo", ipv4_conf())]))];
    let entries = [
        ("kernel", dir(vec![settings(KERNEL), fixed(KERNEL_FIXED), kernel])),
        ("vm", dir(vec![settings(VM), vec![("drop_caches", drop_caches())]])),
        ("fs", dir(vec![settings(FS), fixed(FS_FIXED), fs])),
        (
            "net",
            Static::dir([
                ("core", dir(vec![settings(NET_CORE)])),
                ("ipv4", dir(vec![settings(NET_IPV4), ipv4])),
                ("ipv6", ipv6),
                ("unix", Static::dir([("max_dgram_qlen", Static::setting("10\n"))])),
            ]),
        ),
        ("user", Static::dir([("max_user_namespaces", Static::setting("0\n"))])),
        ("abi", Static::dir([])),
        ("debug", Static::dir([])),
        ("dev", Static::dir([("tty", terminals::tty(shared))])),
    ];
    entries.map(|(name, node)| (name.to_owned(), node)).into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn uuids_have_their_version() {
        let uuid = super::random_uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
    }
}
