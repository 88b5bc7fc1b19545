//! /proc/cpuinfo: the host's processors as the `cpuid` instruction tells of them, which guests can execute too.

use kernel::sched::cpu_count;
use std::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};
use std::fmt::Write;
use std::sync::LazyLock;

/// A register of a leaf, and the names of its bits, as Linux calls them; `-` for those without a name.
struct Features {
    leaf: u32,
    sub: u32,
    register: fn(&CpuidResult) -> u32,
    names: &'static str,
}

const fn features(leaf: u32, sub: u32, register: fn(&CpuidResult) -> u32, names: &'static str) -> Features {
    Features { leaf, sub, register, names }
}

const FEATURES: &[Features] = &[
    features(
        1,
        0,
        |r| r.edx,
        "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse \
         sse2 ss ht tm ia64 pbe",
    ),
    features(
        0x8000_0001,
        0,
        |r| r.edx,
        "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow",
    ),
    features(
        1,
        0,
        |r| r.ecx,
        "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 \
         x2apic movbe popcnt tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor",
    ),
    features(
        0x8000_0001,
        0,
        |r| r.ecx,
        "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp \
         fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx - -",
    ),
    features(
        7,
        0,
        |r| r.ebx,
        "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx \
         smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl",
    ),
    features(0xd, 1, |r| r.eax, "xsaveopt xsavec xgetbv1 xsaves xfd"),
    features(
        7,
        1,
        |r| r.eax,
        "sha512 sm3 sm4 - avx_vnni avx512_bf16 - cmpccxadd - - fzrm fsrs fsrc - - - - - - - - amx_fp16 - avx_ifma",
    ),
    features(
        0x8000_0008,
        0,
        |r| r.ebx,
        "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd - - - - - - - - - - - - - amd_ppin",
    ),
    features(6, 0, |r| r.eax, "dtherm ida arat - pln - pts hwp hwp_notify hwp_act_window hwp_epp hwp_pkg_req"),
    features(
        7,
        0,
        |r| r.ecx,
        "- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme \
         avx512_vpopcntdq - la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd",
    ),
    features(
        7,
        0,
        |r| r.edx,
        "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - tsxldtrk - pconfig \
         arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 - - flush_l1d arch_capabilities",
    ),
];

/// A leaf, zeroes if the processor has none of that number.
fn leaf(leaf: u32, sub: u32) -> CpuidResult {
    let most = __cpuid(leaf & 0x8000_0000).eax;
    if leaf > most { CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 } } else { __cpuid_count(leaf, sub) }
}

fn flags() -> String {
    let mut names = Vec::new();
    for group in FEATURES {
        let bits = (group.register)(&leaf(group.leaf, group.sub));
        let set = group.names.split_whitespace().enumerate().filter(|(bit, _)| bits >> bit & 1 != 0);
        names.extend(set.map(|(_, name)| name).filter(|name| *name != "-" && *name != "osxsave"));
    }
    names.push("constant_tsc");
    names.push("nopl");
    names.push("cpuid");
    names.join(" ")
}

fn text_of(registers: &[u32]) -> String {
    let bytes: Vec<u8> = registers.iter().flat_map(|r| r.to_le_bytes()).collect();
    let text: String = bytes.iter().take_while(|b| **b != 0).filter(|b| b.is_ascii()).map(|b| *b as char).collect();
    text.trim().to_owned()
}

/// What does not differ between processors.
struct Model {
    vendor: String,
    family: u32,
    model: u32,
    stepping: u32,
    name: String,
    /// Of the largest cache, in KiB.
    cache: u32,
    clflush: u32,
    level: u32,
    physical_bits: u32,
    virtual_bits: u32,
    /// Of the time-stamp counter, in kHz; 0 if the processor does not tell.
    khz: u32,
    flags: String,
}

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let (first, version, sizes) = (leaf(0, 0), leaf(1, 0), leaf(0x8000_0008, 0));
    let base = version.eax >> 8 & 0xf;
    let family = if base == 0xf { base + (version.eax >> 20 & 0xff) } else { base };
    let low = version.eax >> 4 & 0xf;
    let model = if base == 0xf || base == 6 { low | (version.eax >> 16 & 0xf) << 4 } else { low };
    let brand = (0x8000_0002..=0x8000_0004).map(|at| leaf(at, 0));
    let brand: Vec<u32> = brand.flat_map(|r| [r.eax, r.ebx, r.ecx, r.edx]).collect();
    Model {
        vendor: text_of(&[first.ebx, first.edx, first.ecx]),
        family,
        model,
        stepping: version.eax & 0xf,
        name: text_of(&brand),
        cache: leaf(0x8000_0006, 0).ecx >> 16,
        clflush: (version.ebx >> 8 & 0xff) * 8,
        level: first.eax,
        physical_bits: sizes.eax & 0xff,
        virtual_bits: sizes.eax >> 8 & 0xff,
        khz: khz(),
        flags: flags(),
    }
});

/// What the processor or the hypervisor tells of its speed.
fn khz() -> u32 {
    let hypervisor = leaf(1, 0).ecx >> 31 != 0;
    if hypervisor && __cpuid(0x4000_0000).eax >= 0x4000_0010 {
        return __cpuid(0x4000_0010).eax;
    }
    let (crystal, base) = (leaf(0x15, 0), leaf(0x16, 0));
    if crystal.eax != 0 && crystal.ebx != 0 && crystal.ecx != 0 {
        let hz = u64::from(crystal.ecx) * u64::from(crystal.ebx) / u64::from(crystal.eax);
        return u32::try_from(hz / 1000).unwrap_or(0);
    }
    match base.eax {
        0 => host::tsc::khz(),
        mhz => mhz.saturating_mul(1000),
    }
}

/// The file.
pub(super) fn text() -> Vec<u8> {
    let m = &*MODEL;
    let cpus = cpu_count();
    let mhz = format!("{}.{:03}", m.khz / 1000, m.khz % 1000);
    let bogomips = format!("{}.{:02}", m.khz / 500, m.khz / 5 % 100);
    let mut text = String::new();
    for cpu in 0..cpus {
        let _ = write!(
            text,
            "processor\t: {cpu}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: {}\nstepping\t: {}\n",
            m.vendor, m.family, m.model, m.name, m.stepping
        );
        let _ = write!(
            text,
            "microcode\t: 0xffffffff\ncpu MHz\t\t: {mhz}\ncache size\t: {} KB\nphysical id\t: 0\nsiblings\t: {cpus}\n\
             core id\t\t: {cpu}\ncpu cores\t: {cpus}\napicid\t\t: {cpu}\ninitial apicid\t: {cpu}\nfpu\t\t: yes\n\
             fpu_exception\t: yes\ncpuid level\t: {}\nwp\t\t: yes\nflags\t\t: {}\nbugs\t\t:\n",
            m.cache, m.level, m.flags
        );
        let _ = write!(
            text,
            "bogomips\t: {bogomips}\nclflush size\t: {0}\ncache_alignment\t: {0}\naddress sizes\t: {1} bits physical, {2} \
             bits virtual\npower management:\n\n",
            m.clflush, m.physical_bits, m.virtual_bits
        );
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    #[test]
    fn flags_are_among_the_hosts() {
        let host = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let line = host.lines().find(|l| l.starts_with("flags")).unwrap();
        let host: Vec<&str> = line.split_whitespace().collect();
        let own = String::from_utf8(super::text()).unwrap();
        let line = own.lines().find(|l| l.starts_with("flags")).unwrap();
        let unknown: Vec<&str> = line.split_whitespace().filter(|f| !host.contains(f)).collect();
        // The host may hide some that it does not use.
        assert!(unknown.len() < 8, "{unknown:?}");
        assert!(line.contains(" sse2 ") && line.contains(" lm "));
    }
}
