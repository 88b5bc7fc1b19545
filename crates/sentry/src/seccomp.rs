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
    for rule in rules.iter().filter(|rule| writable || rule.when == When::Always) {
        let next = p.label();
        p.jump_unless(Test::Eq(rule.call), next);
        append(&mut p, &rule.check);
        p.place(next);
    }
    p.ret(RET_TRAP);
    p.finish()
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

    #[test]
    fn what_the_platform_needs_is_allowed() {
        for (call, why) in systrap::HOST_CALLS {
            let found = ALLOWED.iter().any(|rule| i64::from(rule.call) == *call && rule.when == When::Always);
            assert!(found, "{call}: {why}");
        }
    }
}
