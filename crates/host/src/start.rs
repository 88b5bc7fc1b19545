//! What the process was started with. The Rust runtime changes some of it before `main`: it opens `/dev/null` for standard
//! descriptors that are missing, and ignores `SIGPIPE`. So this looks earlier, from the executable's initialisers.

use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};

static CLOSED: AtomicU8 = AtomicU8::new(0);
static IGNORED: AtomicU64 = AtomicU64::new(0);
static BLOCKED: AtomicU64 = AtomicU64::new(0);
/// As glibc passes them to initialisers.
static ARGUMENTS: AtomicPtr<*mut c_char> = AtomicPtr::new(core::ptr::null_mut());
static ENVIRONMENT: AtomicPtr<*mut c_char> = AtomicPtr::new(core::ptr::null_mut());

/// As system calls have it; the C library's own calls hide two signals.
#[repr(C)]
#[derive(Default)]
struct Action {
    handler: usize,
    flags: u64,
    restorer: u64,
    mask: u64,
}

const SET_LEN: usize = size_of::<u64>();

extern "C" fn look(_: i32, arguments: *mut *mut c_char, environment: *mut *mut c_char) {
    ARGUMENTS.store(arguments, Ordering::Relaxed);
    ENVIRONMENT.store(environment, Ordering::Relaxed);
    let mut mask = 0u64;
    // SAFETY: these only ask, about numbers, and fill local variables of the right form.
    unsafe {
        for fd in 0..3 {
            if libc::fcntl(fd, libc::F_GETFD) < 0 {
                CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
            }
        }
        for signal in 1..=64 {
            let (none, mut action) = (core::ptr::null::<Action>(), Action::default());
            libc::syscall(libc::SYS_rt_sigaction, signal, none, &raw mut action, SET_LEN);
            if action.handler == libc::SIG_IGN {
                IGNORED.fetch_or(1 << (signal - 1), Ordering::Relaxed);
            }
        }
        let none = core::ptr::null::<u64>();
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, none, &raw mut mask, SET_LEN);
    }
    BLOCKED.store(mask, Ordering::Relaxed);
}

#[used]
// SAFETY: the section holds pointers to functions of this type, which the C library calls once before `main`.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn(i32, *mut *mut c_char, *mut *mut c_char) = look;

/// Whether descriptor `fd` (0, 1 or 2) was closed.
#[must_use]
pub fn was_closed(fd: u8) -> bool {
    fd < 3 && CLOSED.load(Ordering::Relaxed) & (1 << fd) != 0
}

/// The signals that were ignored: bit 0 is signal 1.
#[must_use]
pub fn ignored_signals() -> u64 {
    IGNORED.load(Ordering::Relaxed)
}

/// The signals that were blocked.
#[must_use]
pub fn blocked_signals() -> u64 {
    BLOCKED.load(Ordering::Relaxed)
}

/// Wipes the arguments and the environment that the process was started with, and calls it `name` in lists of processes.
///
/// # Safety
/// Nobody has a reference to one of these strings, and there is only one thread.
pub unsafe fn forget(name: &CStr) {
    let lists = [ARGUMENTS.load(Ordering::Relaxed), ENVIRONMENT.load(Ordering::Relaxed)];
    let (mut shown, mut room) = (core::ptr::null_mut::<c_char>(), 0);
    // SAFETY: the C library passed two lists of strings, each with a null pointer at its end, which are the process's to
    // write. After `clearenv` the C library looks at them no more.
    unsafe {
        for list in lists {
            let mut at = list;
            while !at.is_null() && !(*at).is_null() {
                let len = CStr::from_ptr(*at).count_bytes();
                if shown.is_null() {
                    shown = *at;
                }
                // The kernel puts the strings one after the other, and shows what stands where the arguments were.
                if *at == shown.wrapping_add(room) {
                    room += len + 1;
                }
                core::ptr::write_bytes(*at, 0, len);
                at = at.add(1);
            }
        }
        libc::clearenv();
        if room > name.count_bytes() {
            core::ptr::copy_nonoverlapping(name.as_ptr(), shown, name.count_bytes());
        }
    }
}
