//! The Sentry's own seccomp filter: what [`crate::allowed`] lists, and nothing else.

use crate::Failure;
use crate::allowed::{ALLOWED, Check, Rule, When};
use host::seccomp::{Instruction, Program, Test, Word};

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const RET_KILL: u32 = 0x8000_0000;
const RET_TRAP: u32 = 0x0003_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_ALLOW: u32 = 0x7fff_0000;

/// Installs the filter on all threads. `writable` adds the calls that change host files.
///
/// # Errors
/// If the host has no seccomp.
pub fn install(writable: bool) -> Result<(), Failure> {
    let program = program(ALLOWED, writable).ok_or_else(|| Failure::ours("the seccomp list does not fit"))?;
    host::confine::install_filter(&program).map_err(|error| {
        Failure::ours(format!("cannot install a seccomp filter: {error}; needs CONFIG_SECCOMP_FILTER"))
    })
}

fn program(rules: &[Rule], writable: bool) -> Option<Vec<Instruction>> {
    let mut p = Program::new();
    let native = p.label();
    p.load(Word::Arch);
    p.jump_if(Test::Eq(AUDIT_ARCH_X86_64), native);
    p.ret(RET_KILL);
    p.place(native);
    p.load(Word::Number);
    let mut rules: Vec<_> = rules.iter().filter(|rule| writable || rule.when == When::Always).collect();
    rules.sort_unstable_by_key(|rule| rule.call);
    search(&mut p, &rules);
    p.finish()
}

/// Finds the rule of the call in the accumulator, of these, which are in the order of their calls. By halves: when a
/// filter is installed, the kernel tries it with each call's number.
fn search(p: &mut Program, rules: &[&Rule]) {
    /// So few are tried one by one.
    const FEW: usize = 3;
    let (low, high) = rules.split_at(rules.len() / 2);
    if let Some(middle) = high.first()
        && rules.len() > FEW
    {
        let (lower, higher) = (p.label(), p.label());
        p.jump_unless(Test::Ge(middle.call), lower);
        // Too far for a test's own jump.
        p.goto(higher);
        p.place(lower);
        search(p, low);
        p.place(higher);
        return search(p, high);
    }
    for rule in rules {
        let next = p.label();
        p.jump_unless(Test::Eq(rule.call), next);
        append(p, &rule.check);
        p.place(next);
    }
    p.ret(RET_TRAP);
}

/// The end of a rule whose call has matched.
fn append(p: &mut Program, check: &Check) {
    match check {
        Check::Any => p.ret(RET_ALLOW),
        Check::Fails(errno) => p.ret(RET_ERRNO | errno),
        Check::OneOf(arg, values) => {
            let fine = p.label();
            p.load(Word::ArgLow(*arg));
            for value in *values {
                p.jump_if(Test::Eq(*value), fine);
            }
            p.ret(RET_TRAP);
            p.place(fine);
            p.ret(RET_ALLOW);
        }
        Check::Without(arg, bits) => {
            let bad = p.label();
            p.load(Word::ArgLow(*arg));
            p.jump_if(Test::AnyOf(*bits), bad);
            p.ret(RET_ALLOW);
            p.place(bad);
            p.ret(RET_TRAP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_and_names_each_call_once() {
        assert!(program(ALLOWED, true).is_some_and(|p| p.len() < 4096));
        for (index, rule) in ALLOWED.iter().enumerate() {
            assert!(!rule.why.is_empty());
            assert!(ALLOWED[index + 1..].iter().all(|other| other.call != rule.call), "{} twice", rule.call);
        }
    }

    /// What a program says of a call whose arguments are 0.
    fn verdict(program: &[Instruction], call: u32) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let [c0, c1, on_true, on_false, rest @ ..] = program[at].to_bytes();
            let k = u32::from_ne_bytes(rest);
            at += 1;
            match u16::from_ne_bytes([c0, c1]) {
                0x20 => accumulator = [call, AUDIT_ARCH_X86_64].get(k as usize / 4).copied().unwrap_or(0),
                0x05 => at += k as usize,
                0x06 => return k,
                test => {
                    let holds = match test {
                        0x15 => accumulator == k,
                        0x35 => accumulator >= k,
                        0x45 => accumulator & k != 0,
                        other => panic!("instruction {other:#x}"),
                    };
                    at += usize::from(if holds { on_true } else { on_false });
                }
            }
        }
    }

    #[test]
    fn each_rule_holds_for_its_call_and_no_other_call_has_one() {
        for writable in [false, true] {
            let program = program(ALLOWED, writable).unwrap();
            for call in 0..1024 {
                let rule = ALLOWED.iter().find(|rule| rule.call == call && (writable || rule.when == When::Always));
                let expected = match rule.map(|rule| &rule.check) {
                    None => RET_TRAP,
                    Some(Check::Fails(errno)) => RET_ERRNO | errno,
                    Some(Check::OneOf(_, values)) if !values.contains(&0) => RET_TRAP,
                    Some(_) => RET_ALLOW,
                };
                assert_eq!(verdict(&program, call), expected, "{call}");
            }
        }
    }

    #[test]
    fn what_the_platform_needs_is_allowed() {
        for (call, why) in systrap::HOST_CALLS {
            let found = ALLOWED.iter().any(|rule| i64::from(rule.call) == *call && rule.when == When::Always);
            assert!(found, "{call}: {why}");
        }
    }
}
