//! `sys`: what programs ask sysfs for: how many processors there are and how they are arranged, memory nodes, the loopback
//! interface. All of it is fixed. Control groups show as an empty directory.

mod caches;

use crate::synth::{Static, SynthFs};
use kernel::sched::cpu_count;
use std::sync::Arc;

/// A sys file system.
#[must_use]
pub fn new() -> Arc<SynthFs> {
    const MAGIC: u64 = 0x6265_6572;
    let dev = vfs::anon::anonymous_dev();
    const ROOT: u64 = 1;
    // Most sandboxes never look: with many processors it is large.
    let (root, _) = Static::Later(ROOT + 1, Box::new(tree)).build(dev, &mut { ROOT });
    SynthFs::new("sysfs", MAGIC, dev, false, root)
}

fn line(text: impl std::fmt::Display) -> Static {
    Static::text(format!("{text}\n"))
}

/// The processors from `first` on, `count` of them, as a list of ranges.
fn cpu_list(first: usize, count: usize) -> String {
    let last = first + count.max(1) - 1;
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// The same as a mask: words of 32 bits, the highest first.
fn cpu_mask(first: usize, count: usize) -> String {
    let cpus = cpu_count();
    let word = |index: usize| {
        (0..32).filter(|bit| (first..first + count).contains(&(32 * index + bit))).map(|b| 1u32 << b).sum::<u32>()
    };
    let words = cpus.div_ceil(32).max(1);
    let digits = |index: usize| if index + 1 == words { (cpus - 32 * index).div_ceil(4).max(1) } else { 8 };
    let parts: Vec<String> = (0..words).rev().map(|i| format!("{:0width$x}", word(i), width = digits(i))).collect();
    parts.join(",")
}

/// Each processor is a core of its own in the one package.
fn topology(cpu: usize) -> Static {
    let all = cpu_count();
    let set = |first, count| (line(cpu_mask(first, count)), line(cpu_list(first, count)));
    let own = || set(cpu, 1);
    let package = || set(0, all);
    let mut entries = vec![
        ("cluster_id", line(65535)),
        ("core_id", line(cpu)),
        ("die_id", line(0)),
        ("physical_package_id", line(0)),
    ];
    let pairs = [
        (("cluster_cpus", "cluster_cpus_list"), own()),
        (("core_cpus", "core_cpus_list"), own()),
        (("thread_siblings", "thread_siblings_list"), own()),
        (("core_siblings", "core_siblings_list"), package()),
        (("die_cpus", "die_cpus_list"), package()),
        (("package_cpus", "package_cpus_list"), package()),
    ];
    for ((mask_name, list_name), (mask, list)) in pairs {
        entries.push((mask_name, mask));
        entries.push((list_name, list));
    }
    Static::dir(entries)
}

fn processors() -> Static {
    let all = cpu_count();
    let list = || line(cpu_list(0, all));
    let mut entries: Vec<(String, Static)> = (0..all)
        .map(|cpu| (format!("cpu{cpu}"), Static::dir([("topology", topology(cpu)), ("cache", caches::of(cpu))])))
        .collect();
    let rest = [
        ("online", list()),
        ("present", list()),
        ("possible", list()),
        ("offline", line("")),
        ("isolated", line("")),
        ("kernel_max", line(kernel::sched::CPUS_MAX - 1)),
    ];
    entries.extend(rest.map(|(name, node)| (name.to_owned(), node)));
    Static::Dir(0o555, entries)
}

fn nodes() -> Static {
    let all = cpu_count();
    let node =
        Static::dir([("cpulist", line(cpu_list(0, all))), ("cpumap", line(cpu_mask(0, all))), ("distance", line(10))]);
    let mut entries = vec![("node0", node)];
    for name in ["online", "possible", "has_cpu", "has_memory", "has_normal_memory"] {
        entries.push((name, line(0)));
    }
    Static::dir(entries)
}

fn huge_pages() -> Static {
    Static::dir([
        ("enabled", Static::setting("always madvise [never]\n")),
        ("defrag", Static::setting("always defer defer+madvise madvise [never]\n")),
        ("shmem_enabled", Static::setting("always within_size advise [never] deny force\n")),
        ("hpage_pmd_size", line(2 << 20)),
    ])
}

fn loopback() -> Static {
    const COUNTERS: &[&str] = &[
        "collisions",
        "multicast",
        "rx_bytes",
        "rx_dropped",
        "rx_errors",
        "rx_packets",
        "tx_bytes",
        "tx_dropped",
        "tx_errors",
        "tx_packets",
    ];
    Static::dir([
        ("addr_len", line(6)),
        ("address", line("00:00:00:00:00:00")),
        ("broadcast", line("00:00:00:00:00:00")),
        ("carrier", line(1)),
        ("dev_id", line("0x0")),
        ("dormant", line(0)),
        ("flags", line("0x9")),
        ("ifindex", line(1)),
        ("iflink", line(1)),
        ("link_mode", line(0)),
        ("mtu", line(65536)),
        ("operstate", line("unknown")),
        ("tx_queue_len", line(1000)),
        ("type", line(772)),
        ("uevent", Static::text("INTERFACE=lo\nIFINDEX=1\n")),
        ("statistics", Static::dir(COUNTERS.iter().map(|name| (*name, line(0))))),
    ])
}

fn tree() -> Vec<(String, Static)> {
    let empty = || Static::dir([]);
    let system = Static::dir([("cpu", processors()), ("node", nodes())]);
    let virtual_net = Static::dir([("lo", loopback())]);
    let entries = [
        ("block", empty()),
        ("bus", Static::dir([("pci", Static::dir([("devices", empty())])), ("cpu", empty())])),
        (
            "class",
            Static::dir([
                ("block", empty()),
                ("net", Static::dir([("lo", Static::link("../../devices/virtual/net/lo"))])),
                ("power_supply", empty()),
                ("thermal", empty()),
                ("tty", empty()),
            ]),
        ),
        ("dev", Static::dir([("block", empty()), ("char", empty())])),
        ("devices", Static::dir([("system", system), ("virtual", Static::dir([("net", virtual_net)]))])),
        ("firmware", empty()),
        ("fs", Static::dir([("cgroup", empty()), ("fuse", Static::dir([("connections", empty())]))])),
        ("hypervisor", empty()),
        (
            "kernel",
            Static::dir([
                ("address_bits", line(64)),
                ("cpu_byteorder", line("little")),
                ("debug", empty()),
                ("mm", Static::dir([("transparent_hugepage", huge_pages()), ("hugepages", empty())])),
                ("profiling", line(0)),
                ("security", empty()),
                ("uevent_seqnum", line(0)),
            ]),
        ),
        ("module", empty()),
        ("power", empty()),
    ];
    entries.map(|(name, node)| (name.to_owned(), node)).into()
}

#[cfg(test)]
mod tests {
    use crate::testing::list;
    use std::sync::Arc;
    use vfs::FileSystem;

    #[test]
    fn processors_are_there() {
        let fs: Arc<dyn FileSystem> = super::new();
        let caller = crate::testing::root();
        let mut at = fs.root();
        for name in ["devices", "system", "cpu", "cpu0"] {
            at = at.lookup(&caller, name.as_bytes()).unwrap();
        }
        assert_eq!(list(&fs, &at), ["cache", "topology"]);
    }
}
