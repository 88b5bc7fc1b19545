//! The settings of terminals: /proc/sys/kernel/pty and /proc/sys/dev/tty.

use super::Shared;
use crate::synth::{Static, written_word};
use abi::Errno;
use kernel::tty::Terminals;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use vfs::Caller;

/// A number that `read` and `write` get and set; `write` says whether it may be that.
fn number(shared: &Arc<Shared>, read: fn(&Terminals) -> u32, write: fn(&Terminals, u32) -> bool) -> Static {
    let (reader, writer) = (shared.clone(), shared.clone());
    let make = move |_: &dyn Caller| Ok::<_, Errno>(format!("{}\n", read(&reader.kernel()?.terminals)).into_bytes());
    let take = move |_: &dyn Caller, data: &[u8]| {
        let value = written_word(data)?.parse().map_err(|_| Errno::EINVAL)?;
        if write(&writer.kernel()?.terminals, value) { Ok(()) } else { Err(Errno::EINVAL) }
    };
    Static::Writable(0o644, Box::new(make), Box::new(take))
}

/// Sets a limit, which like Linux's is an `int`.
fn set_limit(limit: &AtomicU32, value: u32) -> bool {
    let fits = i32::try_from(value).is_ok();
    if fits {
        limit.store(value, Ordering::Relaxed);
    }
    fits
}

/// How many pairs there are and may be.
pub(super) fn pty(shared: &Arc<Shared>) -> Static {
    let max = number(shared, |t| t.max.load(Ordering::Relaxed), |t, value| set_limit(&t.max, value));
    let reserve = number(shared, |t| t.reserve.load(Ordering::Relaxed), |t, value| set_limit(&t.reserve, value));
    let shared = shared.clone();
    let nr = move |_: &dyn Caller| Ok::<_, Errno>(format!("{}\n", shared.kernel()?.terminals.count()).into_bytes());
    Static::dir([("max", max), ("nr", Static::File(0o444, Box::new(nr))), ("reserve", reserve)])
}

/// What terminals allow.
pub(super) fn tty(shared: &Arc<Shared>) -> Static {
    let legacy_tiocsti = number(
        shared,
        |t| t.legacy_tiocsti.load(Ordering::Relaxed).into(),
        |t, value| {
            if value <= 1 {
                t.legacy_tiocsti.store(value == 1, Ordering::Relaxed);
            }
            value <= 1
        },
    );
    Static::dir([("ldisc_autoload", Static::setting("1\n")), ("legacy_tiocsti", legacy_tiocsti)])
}
