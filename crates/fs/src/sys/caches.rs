//! The caches of a processor as the `cpuid` instruction lists them.

use super::{cpu_list, cpu_mask, line};
use crate::synth::Static;
use kernel::sched::cpu_count;
use std::arch::x86_64::{__cpuid, __cpuid_count};

/// More than any processor has.
const CACHES_MAX: u32 = 8;

/// The leaf that lists caches: one of Intel's or one of AMD's.
fn leaf() -> Option<u32> {
    const AMD: u32 = 0x8000_001d;
    const TOPOLOGY_EXTENSIONS: u32 = 1 << 22;
    let extended = __cpuid(0x8000_0000).eax;
    if extended >= AMD && __cpuid(0x8000_0001).ecx & TOPOLOGY_EXTENSIONS != 0 {
        return Some(AMD);
    }
    (__cpuid(0).eax >= 4).then_some(4)
}

/// The directory `cache` of a processor.
pub(super) fn of(cpu: usize) -> Static {
    let found = leaf().into_iter().flat_map(|leaf| (0..CACHES_MAX).map(move |at| __cpuid_count(leaf, at)));
    let found = found.take_while(|cache| cache.eax & 0x1f != 0);
    let directories = found.enumerate().map(|(index, cache)| {
        let kind = match cache.eax & 0x1f {
            1 => "Data",
            2 => "Instruction",
            _ => "Unified",
        };
        let level = cache.eax >> 5 & 7;
        let sharing = (cache.eax >> 14 & 0xfff) as usize + 1;
        let line_size = u64::from(cache.ebx & 0xfff) + 1;
        let partitions = u64::from(cache.ebx >> 12 & 0x3ff) + 1;
        let ways = u64::from(cache.ebx >> 22) + 1;
        let sets = u64::from(cache.ecx) + 1;
        let size = line_size.saturating_mul(partitions).saturating_mul(ways).saturating_mul(sets);
        // Cores are shown without hyperthreads: only the outer levels are shared.
        let (first, count) = if level >= 3 && sharing > 1 { (0, cpu_count()) } else { (cpu, 1) };
        let directory = Static::dir([
            ("coherency_line_size", line(line_size)),
            ("id", line(if count > 1 { 0 } else { cpu })),
            ("level", line(level)),
            ("number_of_sets", line(sets)),
            ("physical_line_partition", line(partitions)),
            ("shared_cpu_list", line(cpu_list(first, count))),
            ("shared_cpu_map", line(cpu_mask(first, count))),
            ("size", line(format_args!("{}K", size >> 10))),
            ("type", line(kind)),
            ("ways_of_associativity", line(ways)),
        ]);
        (format!("index{index}"), directory)
    });
    Static::Dir(0o555, directories.collect())
}
